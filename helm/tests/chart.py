"""A chart and what helm makes of it, and the parts of what it made.

It asks helm 3 and helm 4 alike and judges nothing. Read rules.py for what every object must obey, stories.py for the
cases.
"""

import functools
import json
import pathlib
import re
import subprocess

import yaml

CHART = pathlib.Path(__file__).parents[1] / "longshore"

# The least that renders: what values.yaml calls required.
LEAST = {
    "image": {"repository": "registry.example/longshore"},
    "database": {"existingSecret": "ledger"},
    "broker": {"existingSecret": "rabbit"},
    "storage": {"location": "s3://jobs/prod"},
    "pools": {"all": {}},
}

# Every value that adds something to a pod, and names that YAML or Go could take for something else.
FULL = {
    **LEAST,
    "image": {"repository": "registry.example/longshore", "digest": "sha256:" + "0" * 64, "pullSecrets": ["registry"]},
    "csvImport": {"existingSecret": "warehouse"},
    "storage": {"location": "s3://jobs/prod", "existingSecret": "bucket"},
    "config": {
        "storage": {"max_input_bytes": 10737418240, "http_ports": [80, 8443], "allow_http": True},
        "worker": {"lease": 7.5},
        "transcode": {"limits": {"max_memory_bytes": 0}},
        "csv_import": {"schema": 'im"ports\\'},
        "log": {"level": "info,longshore_runtime::worker=debug", "format": "text"},
    },
    "poolDefaults": {"replicas": 3, "slots": 3},
    "pools": {
        "on": {"kinds": ["image.resize", "csv.import"], "slots": 4, "prefetchExtra": 0, "nodeSelector": {"zone": "1"}},
        "1": {"kinds": ["media.transcode"], "drainGrace": 7200, "replicas": 0, "pdb": {"enabled": False},
              "tolerations": [{"key": "gpu", "operator": "Exists"}], "podAnnotations": {"evict": "no"},
              "extraEnv": [{"name": "RUST_BACKTRACE", "value": "1"}], "priorityClassName": "batch",
              "extraVolumes": [{"name": "in", "emptyDir": {"sizeLimit": "1Gi"}}],
              "extraVolumeMounts": [{"name": "in", "mountPath": "/in", "readOnly": True}]},
    },
    "api": {"service": {"type": "LoadBalancer", "annotations": {"lb": "internal"}}, "tls": {"existingSecret": "door"}},
    "metrics": {"podMonitor": {"enabled": True, "labels": {"release": "prom"}, "interval": "15s", "existingSecret": "prometheus-key"}},
    "traces": {"endpoint": "http://collector:4318", "existingSecret": "collector"},
    "global": {"of": "an umbrella chart"},
}


class Refused(Exception):
    """helm's own words about values that it does not render."""


class Helm:
    """One or both helms over one chart; remembers what it rendered."""

    def __init__(self, bin_dir, chart=CHART, programs=("helm3", "helm4")):
        self.programs, self.chart = [str(bin_dir / program) for program in programs], chart
        self.ask = functools.lru_cache(maxsize=None)(self.ask)

    def ask(self, program, values, release):
        # JSON, for PyYAML and Go do not agree on what a bare y is.
        line = [program, "template", release, str(self.chart), "--namespace", "ns", "--values", "-"]
        done = subprocess.run(line, input=values, capture_output=True, text=True, timeout=60)
        if done.returncode:
            return None, " ".join(done.stderr.split())
        return [found for found in yaml.safe_load_all(done.stdout) if found], None

    def render(self, values, release="rel"):
        """The objects, the same whoever renders them."""
        answers = [self.ask(program, json.dumps(values), release) for program in self.programs]
        refused = [said for _, said in answers if said]
        if len(refused) == len(answers):
            raise Refused(" | ".join(refused))
        assert not refused, f"one helm renders what the other refuses: {refused}"
        assert all(objects == answers[0][0] for objects, _ in answers), "helm 3 and helm 4 render different objects"
        return answers[0][0]

    def refuses(self, values, *words):
        """Every helm refuses, and each says all of these words."""
        for program in self.programs:
            objects, said = self.ask(program, json.dumps(values), "rel")
            assert objects is None, f"{program} renders {json.dumps(values)}"
            missing = [word for word in words if word not in said]
            assert not missing, f"{program} does not say {missing}: {said}"


def least(**values):
    return {**LEAST, **values}


def kind(objects, name):
    return [found for found in objects if found["kind"] == name]


def named(objects, kind_name, end):
    found = [one for one in kind(objects, kind_name) if one["metadata"]["name"].endswith(end)]
    assert len(found) == 1, f"{len(found)} objects {kind_name} ending in {end}"
    return found[0]


def pods(objects):
    """(owner, pod template) of everything that makes pods."""
    return [(found, found["spec"]["template"]) for found in objects if "template" in (found.get("spec") or {})]


def container(template):
    every = template["spec"].get("initContainers", []) + template["spec"]["containers"]
    assert len(every) == 1, "one container a pod"
    return every[0]


def env(template):
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container(template)["env"]}


def worker(objects, pool):
    return named(objects, "Deployment", f"-worker-{pool}")["spec"]["template"]


def config(objects):
    """The settings file as text."""
    return kind(objects, "ConfigMap")[0]["data"]["config.toml"]


def defaults(chart=CHART):
    return yaml.safe_load((chart / "values.yaml").read_text())


def documented(chart=CHART):
    """(key, what it is) of each @param line."""
    return re.findall(r"^ *# @param (\S+) (.+)$", (chart / "values.yaml").read_text(), re.M)
