"""What every rendered object must obey, whatever the values: Kubernetes' own schemas, the restricted Pod Security
Standard, and no credential in sight. It renders nothing and returns all that it found. Read stories.py for the cases.
"""

import functools
import json
import re

import kubernetes_validate
from kubernetes_validate import ValidationError

from chart import container, kind, pods

# The oldest that Chart.yaml takes, one between, and the newest.
KUBERNETES = ("1.30", "1.34", "1.37")
SECRETISH = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|_KEY|URL)$")
CREDENTIALS = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@\"]*:[^@/\s\"]+@")
VERSIONED = ("helm.sh/chart", "app.kubernetes.io/version", "app.kubernetes.io/managed-by")
# What the restricted standard lets a pod mount.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


@functools.lru_cache(maxsize=None)
def against_schema(text, version):
    try:
        kubernetes_validate.validate(json.loads(text), version, strict=True)
    except ValidationError as error:
        return f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message[:200]}"
    return None


def schemas(objects):
    # The operator's kinds are not Kubernetes' own: a story of theirs holds them.
    own = [one for one in objects if not one["apiVersion"].startswith("monitoring.coreos.com/")]
    found = [against_schema(json.dumps(one, sort_keys=True), version) for one in own for version in KUBERNETES]
    return [said for said in found if said]


def restricted(template):
    """The restricted Pod Security Standard, and what we promise beyond it."""
    spec, only = template["spec"], container(template)
    pod, own = spec.get("securityContext", {}), only.get("securityContext", {})
    wanted = {
        "no host namespaces": not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")),
        "no host ports": not any("hostPort" in port for port in only.get("ports", [])),
        "never root": pod.get("runAsNonRoot") is True and pod.get("runAsUser", 1) > 0,
        "seccomp RuntimeDefault": pod.get("seccompProfile") == {"type": "RuntimeDefault"},
        "not privileged": not own.get("privileged"),
        "no privilege escalation": own.get("allowPrivilegeEscalation") is False,
        "drops ALL capabilities": own.get("capabilities") == {"drop": ["ALL"]},
        "root file system read-only": own.get("readOnlyRootFilesystem") is True,
        "no account token": spec.get("automountServiceAccountToken") is False,
        "volumes of allowed types": all(VOLUMES & set(volume) for volume in spec["volumes"]),
        "every emptyDir limited": all("sizeLimit" in one["emptyDir"] for one in spec["volumes"] if "emptyDir" in one),
        "/tmp can be written": "/tmp" in mounted(template, "emptyDir"),
        "memory limited": "memory" in only["resources"].get("limits", {}),
        "no mutable tag": re.search(r"(@sha256:[0-9a-f]{64}|:[0-9][^:/]*)$", only["image"]),
    }
    return [f"not so: {promise}" for promise, kept in wanted.items() if not kept]


def mounted(template, source):
    names = {volume["name"] for volume in template["spec"]["volumes"] if source in volume}
    return [mount["mountPath"] for mount in container(template)["volumeMounts"] if mount["name"] in names]


def credentials(objects):
    shown = CREDENTIALS.findall(json.dumps(objects))
    literal = [f"{one['name']} is a literal" for _, template in pods(objects) for one in container(template)["env"]
               if SECRETISH.search(one["name"]) and "value" in one]
    return literal + [f"a URL with a password: {url}" for url in shown] + [
        f"Secret {one['metadata']['name']} is rendered" for one in kind(objects, "Secret")]


def names(objects):
    every = [(one["kind"], one["metadata"]["name"]) for one in objects]
    bad = [name for _, name in every if len(name) > 63 or not re.fullmatch(r"[a-z0-9][a-z0-9-]*[a-z0-9]", name)]
    twice = [f"{one} is rendered twice" for one in set(every) if every.count(one) > 1]
    return [f"{name}: {len(name)} characters, or no name" for name in bad] + twice


def selects(selector, template):
    return all(template["metadata"]["labels"].get(key) == value for key, value in selector.items())


def selectors(objects):
    """Each selector hits the pods of one owner, and none of them by a label that an upgrade changes."""
    found = []
    for one in kind(objects, "Deployment") + kind(objects, "PodDisruptionBudget") + kind(objects, "Service"):
        selector = one["spec"]["selector"].get("matchLabels", one["spec"]["selector"])
        hit = [owner for owner, template in pods(objects) if selects(selector, template)]
        name = f"{one['kind']} {one['metadata']['name']}"
        found += [f"{name} selects the pods of {len(hit)} owners"] if len(hit) != 1 else []
        found += [f"{name} selects by {key}" for key in VERSIONED if key in selector]
    return found


def budgets(objects):
    return [f"{one['metadata']['name']} can block a node drain" for one in kind(objects, "PodDisruptionBudget")
            if "minAvailable" in one["spec"] or one["spec"]["maxUnavailable"] in (0, "0%")
            or one["spec"].get("unhealthyPodEvictionPolicy") != "AlwaysAllow"]


def broken(objects):
    """Everything that any rule finds."""
    found = schemas(objects) + credentials(objects) + names(objects) + selectors(objects) + budgets(objects)
    for owner, template in pods(objects):
        found += [f"{owner['metadata']['name']}: {said}" for said in restricted(template)]
    return found
