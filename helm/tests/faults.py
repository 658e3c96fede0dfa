"""Faults planted into a copy of the chart, each with the story that must find it: none that cannot fail counts.

The chart itself is never touched. Read stories.py for what is promised, check.py for how they are told.
"""

import shutil
import tempfile
from pathlib import Path

import stories
from chart import CHART, Helm, Refused

T = "templates/"
# By the story that must notice: file, what stands there, and what is put instead.
FAULTS = {
    stories.values_that_name_nothing_are_refused_and_told_all_that_is_missing: [
        (T + "validate.yaml", "if $mistakes", "if false"),
        (T + "_mistakes.tpl", "if not .Values.pools", "if false"),
    ],
    stories.the_least_values_render_and_break_no_rule: [
        (T + "_pod.tpl", "runAsNonRoot: true", "runAsNonRoot: false"),
        (T + "_pod.tpl", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"),
        (T + "_pod.tpl", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"),
        (T + "_pod.tpl", "drop: [ALL]", "drop: [NET_RAW]"),
        (T + "_pod.tpl", "type: RuntimeDefault", "type: Unconfined"),
        (T + "_pod.tpl", "sizeLimit: {{ .Values.tmp.sizeLimit }}", "medium: Memory"),
        (T + "migrate-job.yaml", "automountServiceAccountToken: false", "automountServiceAccountToken: true"),
        (T + "_budget.tpl", "unhealthyPodEvictionPolicy: AlwaysAllow", "unhealthyPodEvictionPolicy: IfHealthyBudget"),
        ("Chart.yaml", 'appVersion: "0.1.0"', 'appVersion: "latest"'),
        (T + "_pod.tpl", "- name: LONGSHORE_CONFIG", "- {name: PGPASSWORD, value: hunter2}\n- name: LONGSHORE_CONFIG"),
        (T + "_names.tpl", "app.kubernetes.io/name:", "helm.sh/chart:"),
    ],
    stories.every_value_together_renders_and_breaks_no_rule: [
        (T + "_budget.tpl", "maxUnavailable: {{", "minAvailable: {{"),
        (T + "_names.tpl", "longshore-pool: {{ . | quote }}", "longshore-pool: {{ . }}"),
        (T + "worker-deployments.yaml", "enableServiceLinks: false", "enableServiceLink: false"),
    ],
    stories.both_helms_lint_it_without_a_warning: [
        ("Chart.yaml", "version: 0.1.0", "version: one"),
    ],
    stories.each_pool_is_a_deployment_of_its_own_with_its_values_over_the_defaults: [
        (T + "_pools.tpl", "mergeOverwrite (deepCopy .root.Values.poolDefaults) (deepCopy .pool)",
         "merge (deepCopy .root.Values.poolDefaults) (deepCopy .pool)"),
    ],
    stories.a_worker_is_not_killed_before_its_drain_is_over: [
        (T + "_pools.tpl", "add (int .drainGrace) 30", "add (int .drainGrace) 0"),
        (T + "worker-deployments.yaml", 'terminationGracePeriodSeconds: {{ include "longshore.pool.grace" $pool }}',
         "terminationGracePeriodSeconds: 30"),
    ],
    stories.a_grace_period_shorter_than_the_drain_is_refused_by_the_pools_name: [
        (T + "_mistakes.tpl", "lt $grace $least", "lt $grace 1"),
    ],
    stories.a_key_nobody_knows_is_refused_by_its_name: [
        ("values.schema.json", '"additionalProperties": false', '"additionalProperties": true'),
    ],
    stories.a_null_never_takes_a_limit_away: [
        ("values.yaml", "  terminationGracePeriodSeconds: 0", "  terminationGracePeriodSeconds: null"),
        ("values.schema.json", '"required": ["sizeLimit"]', '"required": []'),
    ],
    stories.api_and_workers_trace_to_the_collector_and_nobody_does_without_one: [
        (T + "_pod.tpl", "if $values.traces.endpoint", "if true"),
        (T + "_pod.tpl", "if $traces.existingSecret", "if false"),
        (T + "_pod.tpl", 'ternary "api" "worker"', 'ternary "worker" "api"'),
    ],
    stories.api_workers_and_migration_take_their_urls_from_existing_secrets: [
        (T + "migrate-job.yaml", '"from" .Values.database', '"from" .Values.broker'),
        (T + "_pod.tpl", '"from" $values.broker', '"from" $values.database'),
        (T + "worker-deployments.yaml", "envFrom:", "env2From:"),
    ],
    stories.a_credential_in_the_values_is_refused: [
        (T + "_mistakes.tpl", "regexMatch `[a-z]", "regexMatch `[!]"),
        (T + "_mistakes.tpl", '"DATABASE_URL"', '"DATABASE"'),
    ],
    stories.a_setting_that_belongs_elsewhere_is_refused_with_the_place: [
        (T + "_mistakes.tpl", '(list "worker" "drain_grace"', '(list "worker" "drain"'),
    ],
    stories.storage_is_one_place_that_all_pods_see: [
        (T + "_mistakes.tpl", 'not (hasPrefix "s3://" $storage.location)', "false"),
        (T + "_pod.tpl", '{name: storage, mountPath: {{ include "longshore.storageDir" .root }}}',
         "{name: storage, mountPath: /elsewhere}"),
    ],
    stories.the_settings_file_keeps_integers_and_zeros_and_is_where_the_program_looks: [
        (T + "_config.tpl", "ternary (int64 .) .", "ternary . ."),
        (T + "_pod.tpl", "value: /etc/longshore/config.toml", "value: /etc/longshore.toml"),
    ],
    stories.liveness_asks_nobody_and_readiness_asks_everybody: [
        (T + "_pod.tpl", '"liveness" "/healthz"', '"liveness" "/readyz"'),
    ],
    stories.probes_and_service_reach_the_port_that_the_program_listens_on: [
        (T + "_config.tpl", "0.0.0.0:7071", "0.0.0.0:7072"),
        (T + "api-service.yaml", "targetPort: http", "targetPort: web"),
    ],
    stories.an_api_with_a_certificate_is_asked_over_https_alone: [
        (T + "_pod.tpl", '$.scheme | default "HTTP"', '"HTTP"'),
        (T + "_config.tpl", "%s/tls.key", "%s/key.pem"),
        (T + "podmonitor.yaml", "scheme: https", "scheme: http"),
    ],
    stories.the_operator_is_pointed_at_every_server_pod_and_no_other: [
        (T + "podmonitor.yaml", "values: [api, worker]", "values: [api]"),
        (T + "podmonitor.yaml", 'list "http" "probes"', 'list "http"'),
        (T + "podmonitor.yaml", "toYaml . | nindent 4", "toYaml dict | nindent 4"),
    ],
    stories.the_migration_needs_nothing_that_the_release_brings: [
        (T + "migrate-job.yaml", "restartPolicy: Never", "restartPolicy: Never\n      serviceAccountName: ours"),
    ],
    stories.nothing_but_its_own_values_the_image_and_the_settings_restarts_a_worker: [
        (T + "worker-deployments.yaml", 'include "longshore.config" $ | sha256sum', "toJson $.Values | sha256sum"),
        (T + "worker-deployments.yaml", 'include "longshore.config" $ | sha256sum', "quote 1"),
    ],
    stories.a_release_with_the_longest_name_still_has_valid_names: [
        (T + "_names.tpl", "trunc 35", "trunc 63"),
    ],
    stories.a_platform_may_choose_the_users_itself: [
        (T + "_pod.tpl", "if lt (int $id) 0", "if false"),
    ],
    stories.whoever_installs_it_is_told_what_runs_and_how_it_ends: [
        (T + "NOTES.txt", 'include "longshore.pool.grace" $pool', "$pool.terminationGracePeriodSeconds"),
    ],
    stories.every_value_is_documented_and_the_readme_has_them_all: [
        ("values.yaml", "# @param tmp.sizeLimit", "# @param tmp.size"),
        ("values.yaml", "failureThreshold: 60", "failureThreshold: 61"),
    ],
    stories.the_readmes_example_renders: [
        ("README.md", "drainGrace: 600", "drainGraze: 600"),
    ],
}


def plant(fault, room):
    """A copy of the chart with the fault in it."""
    file, old, new = fault
    copy = Path(shutil.copytree(CHART, room / "longshore"))
    text = (copy / file).read_text()
    assert old in text, f"{file} does not hold {old!r} any more; plant another fault"
    (copy / file).write_text(text.replace(old, new))
    return copy


def unnoticed(story, fault, bin_dir):
    """What to say when the story is told to its end, or nothing."""
    with tempfile.TemporaryDirectory() as room:
        helm = Helm(bin_dir, plant(fault, Path(room)))
        try:
            story(helm)
        except (AssertionError, Refused):
            return None
    file, old, new = fault
    return f"{file}: {new!r} instead of {old!r}, and `{story.__name__}` does not notice"


def pairs():
    return [(story, fault) for story, faults in FAULTS.items() for fault in faults]


def stories_never_broken():
    return set(stories.all_stories().values()) - set(FAULTS)
