"""The profile "restricted" of Kubernetes' pod security standards, and what this chart promises on top of it.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

#: Kinds of volumes that the profile allows.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
#: Capabilities that may be added.
ADDED = {"NET_BIND_SERVICE"}
#: Settings of the pod that share the node's own.
SHARED = ["hostNetwork", "hostPID", "hostIPC"]
PROFILES = {"RuntimeDefault", "Localhost"}


def pods(manifests):
    """Every template of a pod, with the name of what it belongs to; wherever it is hidden."""

    def search(node, name):
        if isinstance(node, list):
            for part in node:
                yield from search(part, name)
        elif isinstance(node, dict):
            if "containers" in node:
                yield name, node
            for part in node.values():
                yield from search(part, name)

    for manifest in manifests:
        yield from search(manifest, f"{manifest['kind']}/{manifest['metadata']['name']}")


def faults(spec):
    """What the profile refuses of a pod."""
    pod = spec.get("securityContext", {})
    found = [f"{key} is set" for key in SHARED if spec.get(key)]
    found += [f"sysctls {pod['sysctls']}"] if pod.get("sysctls") else []
    for volume in spec.get("volumes", []):
        found += [f"volume {volume['name']}: {kind}" for kind in volume.keys() - {"name"} - VOLUMES]
    for kind in ["containers", "initContainers", "ephemeralContainers"]:
        for container in spec.get(kind, []):
            found += [f"{container['name']}: {fault}" for fault in container_faults(container, pod)]
    return found


def container_faults(container, pod):
    own = container.get("securityContext", {})
    both = {**pod, **own}
    capabilities = own.get("capabilities", {})
    if own.get("privileged"):
        yield "is privileged"
    if own.get("procMount", "Default") != "Default":
        yield "has a procMount"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "may escalate its privileges"
    if both.get("runAsNonRoot") is not True:
        yield "may run as root"
    if both.get("runAsUser") == 0:
        yield "runs as root"
    if both.get("seccompProfile", {}).get("type") not in PROFILES:
        yield "has no seccomp profile"
    if capabilities.get("drop") != ["ALL"] or not set(capabilities.get("add", [])) <= ADDED:
        yield "keeps capabilities"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "takes a port of the node"


def promises(spec):
    """What this chart promises beyond the profile."""
    if spec.get("automountServiceAccountToken") is not False:
        yield "mounts a token"
    for container in spec["containers"]:
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{container['name']}: writes to its root file system"
