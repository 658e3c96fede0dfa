"""The stories of the chart, each a promise to whoever installs it, told under helm 3 and helm 4.

No cluster is asked. A story takes a Helm and fails by an assertion. Read faults.py for how each was seen failing.
"""

import inspect
import json
import subprocess
import tomllib

import rules
import table
from chart import (FULL, LEAST, config, container, defaults, documented, env, kind, least, named, pods, worker)

SLACK = 30


def values_that_name_nothing_are_refused_and_told_all_that_is_missing(helm):
    keys = "image.repository: database.existingSecret: broker.existingSecret: storage.location: pools:".split()
    helm.refuses({}, *keys)
    for key in ("image", "database", "broker", "storage", "pools"):
        helm.refuses({name: value for name, value in LEAST.items() if name != key}, f"{key}")


def the_least_values_render_and_break_no_rule(helm):
    objects = helm.render(LEAST)
    assert not rules.broken(objects), rules.broken(objects)
    kinds = sorted(one["kind"] for one in objects)
    assert kinds == ["ConfigMap", "Deployment", "Deployment", "Job", "PodDisruptionBudget", "PodDisruptionBudget",
                     "Service", "ServiceAccount"], kinds


def every_value_together_renders_and_breaks_no_rule(helm):
    objects = helm.render(FULL)
    assert not rules.broken(objects), rules.broken(objects)
    assert len(kind(objects, "PodDisruptionBudget")) == 2, "pool 1 has none"


def both_helms_lint_it_without_a_warning(helm):
    for program in helm.programs:
        line = [program, "lint", "--strict", "--quiet", str(helm.chart), "--values", "-"]
        done = subprocess.run(line, input=json.dumps(FULL),
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def each_pool_is_a_deployment_of_its_own_with_its_values_over_the_defaults(helm):
    objects = helm.render(FULL)
    on, one = named(objects, "Deployment", "-worker-on"), named(objects, "Deployment", "-worker-1")
    # A 0 of the pool's own wins over a default, and a pool may be called what YAML takes for true or a number.
    assert (on["spec"]["replicas"], one["spec"]["replicas"]) == (3, 0)
    on, one = env(on["spec"]["template"]), env(one["spec"]["template"])
    both = lambda name: (on[f"LONGSHORE_WORKER_{name}"], one[f"LONGSHORE_WORKER_{name}"])
    assert both("KINDS") == ("image.resize,csv.import", "media.transcode")
    assert both("SLOTS") == ("4", "3") and both("PREFETCH_EXTRA") == ("0", "2")
    assert "LONGSHORE_WORKER_KINDS" not in env(worker(helm.render(LEAST), "all")), "no kinds means all"


def a_worker_is_not_killed_before_its_drain_is_over(helm):
    pools = {"quick": {"drainGrace": 0}, "long": {"drainGrace": 7200}, "own": {"terminationGracePeriodSeconds": 900}}
    objects = helm.render(least(pools=pools))
    graces = {pool: worker(objects, pool)["spec"]["terminationGracePeriodSeconds"] for pool in pools}
    assert graces == {"quick": SLACK, "long": 7200 + SLACK, "own": 900}, graces
    for pool in pools:
        assert graces[pool] >= int(env(worker(objects, pool))["LONGSHORE_WORKER_DRAIN_GRACE"]) + SLACK


def a_grace_period_shorter_than_the_drain_is_refused_by_the_pools_name(helm):
    short = {"drainGrace": 600, "terminationGracePeriodSeconds": 600 + SLACK - 1}
    helm.refuses(least(pools={"fine": {}, "video": short}), "pools.video.terminationGracePeriodSeconds", "629", "630")
    # Half of the contradiction may come from the defaults.
    inherited = {"pools": {"video": {"drainGrace": 600}}, "poolDefaults": {"terminationGracePeriodSeconds": 100}}
    helm.refuses(least(**inherited), "pools.video.terminationGracePeriodSeconds")
    helm.render(least(pools={"video": {**short, "terminationGracePeriodSeconds": 600 + SLACK}}))


def a_key_nobody_knows_is_refused_by_its_name(helm):
    helm.refuses(least(pools={"all": {"replcas": 2}}), "pools/all", "replcas")
    helm.refuses(least(pools={"all": {"scratch": {"sizelimit": "1Gi"}}}), "pools/all/scratch", "sizelimit")
    helm.refuses(least(poolDefaults={"slot": 2}), "poolDefaults", "slot")
    for section in ("api", "image", "database", "broker", "storage", "migrations", "probes", "podSecurity", "tmp", "metrics"):
        helm.refuses(least(**{section: {**LEAST.get(section, {}), "mistyped": 1}}), section, "mistyped")
    helm.refuses(least(mistyped=1), "mistyped")
    helm.refuses(least(pools={"No Name": {}}), "No Name")


def a_null_never_takes_a_limit_away(helm):
    """helm 4.3 drops keys whose default is null and helm 3 keeps them; both drop a default that a user nulls."""
    def nulls(value, path=""):
        if isinstance(value, dict):
            return [found for key, below in value.items() for found in nulls(below, f"{path}.{key}")]
        return [path] if value is None else []
    assert not nulls(defaults(helm.chart)), nulls(defaults(helm.chart))
    for gone in ("tmp", "storage", "poolDefaults"):
        helm.refuses(least(**{gone: None}), gone)
    for outer, inner in (("api", "scratch"), ("api", "terminationGracePeriodSeconds"), ("poolDefaults", "drainGrace"),
                         ("tmp", "sizeLimit"), ("probes", "liveness")):
        helm.refuses(least(**{outer: {inner: None}}), outer, inner)
    helm.refuses(least(poolDefaults={"scratch": {"sizeLimit": None}}), "sizeLimit")
    helm.refuses(least(pools={"all": {"scratch": {"sizeLimit": None}}}), "sizeLimit")
    helm.refuses(least(pools={"all": None}), "pools/all")


def api_workers_and_migration_take_their_urls_from_existing_secrets(helm):
    objects = helm.render(FULL)
    secret = lambda name, key: {"secretKeyRef": {"name": name, "key": key}}
    for owner, template in pods(objects):
        found, server = env(template), owner["kind"] == "Deployment"
        assert found["LONGSHORE_DATABASE_URL"] == secret("ledger", "database-url"), found
        assert found.get("LONGSHORE_AMQP_URL") == (secret("rabbit", "amqp-url") if server else None), found
        imports = secret("warehouse", "database-url") if server else None
        assert found.get("LONGSHORE_CSV_IMPORT_DATABASE_URL") == imports, found
        bucket = [{"secretRef": {"name": "bucket"}}] if server else None
        assert container(template).get("envFrom") == bucket, container(template).get("envFrom")
    assert len(pods(objects)) == 4


def a_credential_in_the_values_is_refused(helm):
    helm.refuses(least(config={"database": {"url": "x"}}), "config.database.url", "database.existingSecret")
    helm.refuses(least(config={"broker": {"urls": ["amqp://mq"]}}), "config.broker.urls", "broker.existingSecret")
    helm.refuses(least(config={"csv_import": {"database_url": "x"}}), "config.csv_import.database_url")
    helm.refuses(least(storage={"location": "s3://key:secret@jobs"}), "storage: holds a URL with a password")
    helm.refuses(least(config={"log": {"level": "http://:pw@host"}}), "config: holds a URL with a password")
    variable = lambda name: [{"name": name, "value": "hunter2"}]
    helm.refuses(least(pools={"all": {"extraEnv": variable("AWS_SECRET_ACCESS_KEY")}}), "pools.all.extraEnv")
    helm.refuses(least(api={"extraEnv": variable("PGPASSWORD")}), "api.extraEnv", "PGPASSWORD")
    helm.refuses(least(migrations={"extraEnv": variable("LONGSHORE_DATABASE_URL")}), "migrations.extraEnv")


def a_setting_that_belongs_elsewhere_is_refused_with_the_place(helm):
    for key in ("kinds", "slots", "prefetch_extra", "drain_grace"):
        camel = key.split("_")[0] + "".join(word.title() for word in key.split("_")[1:])
        helm.refuses(least(config={"worker": {key: 0}}), f"config.worker.{key}: set pools.NAME.{camel}")
    helm.refuses(least(config={"listen": "x", "data_dir": "y"}), "config.listen:", "config.data_dir:")
    drain = [{"name": "LONGSHORE_WORKER_DRAIN_GRACE", "value": "9000"}]
    helm.refuses(least(poolDefaults={"extraEnv": drain}), "LONGSHORE_WORKER_DRAIN_GRACE is set by the chart")


def storage_is_one_place_that_all_pods_see(helm):
    helm.refuses(least(storage={}), "storage.location", "s3://", "storage.existingClaim")
    helm.refuses(least(storage={"location": "/var/jobs"}), "storage.location", "storage.existingClaim")
    helm.refuses(least(storage={"location": "s3://a", "existingClaim": "b"}), "keep one")
    objects = helm.render(least(storage={"existingClaim": "jobs"}))
    assert not rules.broken(objects), rules.broken(objects)
    location = tomllib.loads(config(objects))["storage"]["location"]
    for owner, template in pods(objects):
        claims = rules.mounted(template, "persistentVolumeClaim")
        assert claims == ([location] if owner["kind"] == "Deployment" else []), claims


def the_settings_file_keeps_integers_and_zeros_and_is_where_the_program_looks(helm):
    objects = helm.render(FULL)
    told = tomllib.loads(config(objects))
    assert told["storage"] == {"location": "s3://jobs/prod", **FULL["config"]["storage"]}, told["storage"]
    assert type(told["storage"]["max_input_bytes"]) is int, "5e9 is no integer to the program"
    assert told["worker"] == {"lease": 7.5, "listen": "0.0.0.0:7071"}
    assert told["transcode"]["limits"] == {"max_memory_bytes": 0}
    for _, template in (pair for pair in pods(objects) if pair[0]["kind"] == "Deployment"):
        place = rules.mounted(template, "configMap")[0]
        assert env(template)["LONGSHORE_CONFIG"] == f"{place}/config.toml"
        assert told["data_dir"] in rules.mounted(template, "emptyDir"), "its scratch can be written"


def liveness_asks_nobody_and_readiness_asks_everybody(helm):
    for owner, template in pods(helm.render(LEAST)):
        if owner["kind"] != "Deployment":
            continue
        only, port = container(template), container(template)["ports"][0]
        probes = {name: only[f"{name}Probe"] for name in ("startup", "readiness", "liveness")}
        paths = {name: probe["httpGet"]["path"] for name, probe in probes.items()}
        assert paths == {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}, paths
        assert all(probe["httpGet"]["port"] == port["name"] for probe in probes.values())
        patience = {name: probe["periodSeconds"] * probe["failureThreshold"] for name, probe in probes.items()}
        assert patience["liveness"] > patience["readiness"], "a restart kills running attempts, so it comes last"


def probes_and_service_reach_the_port_that_the_program_listens_on(helm):
    objects = helm.render(LEAST)
    told = tomllib.loads(config(objects))
    api, pool = (container(named(objects, "Deployment", end)["spec"]["template"]) for end in ("-api", "-worker-all"))
    assert told["listen"].endswith(f":{api['ports'][0]['containerPort']}")
    assert told["worker"]["listen"].endswith(f":{pool['ports'][0]['containerPort']}")
    assert kind(objects, "Service")[0]["spec"]["ports"][0]["targetPort"] == api["ports"][0]["name"]


def an_api_with_a_certificate_is_asked_over_https_alone(helm):
    for values, scheme in ((LEAST, "HTTP"), (FULL, "HTTPS")):
        objects = helm.render(values)
        api = container(named(objects, "Deployment", "-api")["spec"]["template"])
        probes = [api[name]["httpGet"]["scheme"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
        assert probes == [scheme] * 3, probes
        workers = [container(template) for owner, template in pods(objects) if "-worker-" in owner["metadata"]["name"]]
        assert all(one["livenessProbe"]["httpGet"]["scheme"] == "HTTP" for one in workers)
    template = named(helm.render(FULL), "Deployment", "-api")["spec"]["template"]
    volume, = [one for one in template["spec"]["volumes"] if one["name"] == "tls"]
    mount, = [one for one in container(template)["volumeMounts"] if one["name"] == "tls"]
    files = tomllib.loads(config(helm.render(FULL)))["api"]["tls"]
    assert volume["secret"]["secretName"] == "door"
    assert files == {"cert": f"{mount['mountPath']}/tls.crt", "key": f"{mount['mountPath']}/tls.key"}, files
    monitor, = kind(helm.render(FULL), "PodMonitor")
    asked = {one["port"]: one.get("scheme", "http") for one in monitor["spec"]["podMetricsEndpoints"]}
    assert asked == {"http": "https", "probes": "http"}, asked


def the_operator_is_pointed_at_every_server_pod_and_no_other(helm):
    assert not kind(helm.render(LEAST), "PodMonitor"), "a cluster without the operator would refuse it"
    objects = helm.render(FULL)
    monitor, = kind(objects, "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prom"
    spec = monitor["spec"]
    assert not set(rules.VERSIONED) & set(spec["selector"]["matchLabels"])
    among, = spec["selector"]["matchExpressions"]
    assert among["operator"] == "In"
    ports = {one["port"] for one in spec["podMetricsEndpoints"]}
    assert all(one["path"] == "/metrics" and one["interval"] == "15s" for one in spec["podMetricsEndpoints"])
    for owner, template in pods(objects):
        labels, server = template["metadata"]["labels"], owner["kind"] == "Deployment"
        hit = rules.selects(spec["selector"]["matchLabels"], template) and labels.get(among["key"]) in among["values"]
        assert hit == server, owner["metadata"]["name"]
        own = {port["name"] for port in container(template).get("ports", [])} & ports
        assert len(own) == server, f"{owner['metadata']['name']} is scraped at {own}"
    # A worker's own port knows no keys.
    keys = {one["port"]: one.get("authorization", {}).get("credentials") for one in spec["podMetricsEndpoints"]}
    assert keys == {"http": {"name": "prometheus-key", "key": "api-key"}, "probes": None}, keys
    open_to_all, = kind(helm.render(least(metrics={"podMonitor": {"enabled": True}})), "PodMonitor")
    assert not any("authorization" in one for one in open_to_all["spec"]["podMetricsEndpoints"])
    helm.refuses(least(metrics={"podMonitor": {"interval": "often"}}), "interval")


def api_and_workers_trace_to_the_collector_and_nobody_does_without_one(helm):
    services = []
    for owner, template in pods(helm.render(FULL)):
        found, server = env(template), owner["kind"] == "Deployment"
        assert found.get("OTEL_EXPORTER_OTLP_ENDPOINT") == ("http://collector:4318" if server else None), found
        headers = {"secretKeyRef": {"name": "collector", "key": "otlp-headers"}} if server else None
        assert found.get("OTEL_EXPORTER_OTLP_HEADERS") == headers, found
        services += [found["OTEL_SERVICE_NAME"]] if server else []
    assert sorted(services) == ["rel-longshore-api"] + 2 * ["rel-longshore-worker"], services
    bare = [name for _, template in pods(helm.render(LEAST)) for name in env(template) if name.startswith("OTEL_")]
    assert not bare, bare
    helm.refuses(least(traces={"endpoint": "collector:4318"}), "endpoint")
    helm.refuses(least(config={"traces": {"endpoint": "http://c:4318"}}), "config.traces.endpoint: set traces.endpoint")


def the_migration_needs_nothing_that_the_release_brings(helm):
    """As a hook before the install it runs when no other object is there yet."""
    job = named(helm.render(FULL), "Job", "-migrate")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation", "its log stays"
    spec = job["spec"]["template"]["spec"]
    assert "serviceAccountName" not in spec and not rules.mounted(job["spec"]["template"], "configMap")
    assert container(job["spec"]["template"])["args"] == ["migrate"]
    assert not kind(helm.render(least(migrations={"enabled": False})), "Job")


def nothing_but_its_own_values_the_image_and_the_settings_restarts_a_worker(helm):
    pools = {"a": {}, "b": {"slots": 5}}
    before = helm.render(least(pools=pools))
    elsewhere = [
        {"pools": {**pools, "a": {"slots": 9, "drainGrace": 60, "podAnnotations": {"x": "y"}}}},
        {"pools": {**pools, "c": {}}}, {"pools": {"b": pools["b"]}},
        {"api": {"replicas": 9, "resources": {"limits": {"cpu": 2}}}}, {"api": {"enabled": False}},
        {"migrations": {"enabled": False}}, {"serviceAccount": {"annotations": {"role": "r"}}},
    ]
    for change in elsewhere:
        after = helm.render(least(**{"pools": pools, **change}))
        assert worker(after, "b") == worker(before, "b"), f"restarted by {change}"
    for change in ({"config": {"worker": {"lease": 20}}}, {"pools": {**pools, "b": {"slots": 6}}}):
        after = helm.render(least(**{"pools": pools, **change}))
        assert worker(after, "b") != worker(before, "b"), f"not restarted by {change}"


def a_release_with_the_longest_name_still_has_valid_names(helm):
    objects = helm.render(least(pools={"p" * 20: {}}), release="r" * 53)
    assert not rules.names(objects) and not rules.selectors(objects), rules.names(objects)
    helm.refuses(least(pools={"p" * 21: {}}), "p" * 21)


def a_platform_may_choose_the_users_itself(helm):
    ids = {"runAsUser": -1, "runAsGroup": -1, "fsGroup": -1}
    for owner, template in pods(helm.render(least(podSecurity=ids))):
        assert not set(ids) & set(template["spec"]["securityContext"]), owner["metadata"]["name"]
        assert not rules.restricted(template), rules.restricted(template)
    helm.refuses(least(podSecurity={"runAsUser": 0}), "runAsUser")


def whoever_installs_it_is_told_what_runs_and_how_it_ends(helm):
    # Only helm 4 prints the notes without a cluster.
    line = [helm.programs[-1], "install", "rel", str(helm.chart), "--dry-run=client", "--values", "-"]
    done = subprocess.run(line, input=json.dumps(FULL), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.split("NOTES:")[1]
    for told in ("service/rel-longshore-api 7070:80", "1: 0 x 3 slots for media.transcode", "for 7200 s",
                 "waits 7230 s", "on: 3 x 4 slots for image.resize, csv.import", "no worker runs",
                 'has the labels {"release":"prom"}', "podMonitorSelector"):
        assert told in notes, f"{told!r} is not in {notes}"


def every_value_is_documented_and_the_readme_has_them_all(helm):
    told = [key for key, _ in documented(helm.chart)]
    leaves = table.leaves(defaults(helm.chart))
    assert told == list(leaves), set(told) ^ set(leaves)
    readme = (helm.chart / "README.md").read_text()
    assert table.rendered(helm.chart) in readme, "run helm/tests/check.py table and put what it prints into the README"


def the_readmes_example_renders(helm):
    objects = helm.render(table.example(helm.chart))
    assert not rules.broken(objects), rules.broken(objects)
    assert len(kind(objects, "Deployment")) == 3, "the API and two pools"


def all_stories():
    mine = [(name, thing) for name, thing in globals().items() if inspect.isfunction(thing) and name != "all_stories"]
    return {name: story for name, story in mine if inspect.getmodule(story).__name__ == __name__}
