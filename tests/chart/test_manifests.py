"""What Helm makes of the chart: the same with both versions, valid for every Kubernetes, and safe."""

import copy
import json
import os

import pytest
import yaml

import chart
import schemas
import security

#: Kinds whose body is a file of its own, which changes for reasons of its own; see the last tests.
BODIES = {"PrometheusRule": "spec", "ConfigMap": "data"}


def golden(text):
    """Without blank lines, in which the Helms differ, and without the bodies of alerts and dashboard."""
    kept = []
    for part in text.split("\n---\n"):
        document = yaml.safe_load(part)
        if document and (document["kind"] == "PrometheusRule" or document["metadata"]["name"].endswith("-dashboard")):
            part = part[: part.index(f"\n{BODIES[document['kind']]}:")]
        kept.append("\n".join(line for line in part.splitlines() if line.strip()))
    return "\n---\n".join(kept).removeprefix("---\n") + "\n"


@pytest.mark.parametrize("feature", chart.FEATURES)
@pytest.mark.parametrize("helm", chart.HELMS)
def test_the_chart_is_without_fault(helm, feature):
    done = chart.lint(helm, feature)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("feature", chart.FEATURES)
@pytest.mark.parametrize("helm", chart.HELMS)
def test_it_renders_as_committed(helm, feature):
    path = chart.GOLDEN / f"{feature}.yaml"
    rendered = golden(chart.render(helm, feature))
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(rendered)
    assert path.read_text() == rendered, "UPDATE_GOLDEN=1 make chart-test writes it anew; look at the difference"


def test_nothing_golden_is_left_over():
    assert sorted(path.stem for path in chart.GOLDEN.iterdir()) == chart.FEATURES


@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_kubernetes_takes_every_manifest(version):
    faults, kinds = [], set()
    for feature in chart.FEATURES:
        for manifest in chart.manifests(feature):
            kinds.add(manifest["kind"])
            faults += [f"{feature}, {manifest['kind']} {fault}" for fault in schemas.faults(manifest, version)]
    assert not faults
    assert kinds >= {"Deployment", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "PrometheusRule", "ServiceMonitor"}


def test_the_oldest_kubernetes_is_the_one_that_the_chart_claims():
    claimed = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())["kubeVersion"]
    oldest = ".".join(schemas.VERSIONS[0].split(".")[:2])
    assert claimed == f">={oldest}.0-0"
    print("validated for Kubernetes", ", ".join(schemas.VERSIONS))


@pytest.mark.parametrize("kind", ["Deployment", "Service", "ServiceMonitor", "PodMonitor", "PrometheusRule"])
def test_a_misspelt_field_is_found(kind):
    feature = "replicas" if kind == "PodMonitor" else "everything"
    manifest = next(m for m in chart.manifests(feature) if m["kind"] == kind)
    assert not schemas.faults(manifest, schemas.VERSIONS[-1])
    broken = copy.deepcopy(manifest)
    broken["spec"]["misspelt"] = {}
    assert schemas.faults(broken, schemas.VERSIONS[-1])


@pytest.mark.parametrize("feature", chart.FEATURES)
def test_every_pod_is_restricted(feature):
    pods = list(security.pods(chart.manifests(feature)))
    assert len(pods) == 1
    for name, spec in pods:
        assert not security.faults(spec), name
        assert not list(security.promises(spec)), name


@pytest.mark.parametrize(
    "path, value",
    [
        ("hostNetwork", True),
        ("securityContext.runAsNonRoot", False),
        ("securityContext.runAsUser", 0),
        ("securityContext.seccompProfile.type", "Unconfined"),
        ("automountServiceAccountToken", True),
        ("volumes.0", {"name": "node", "hostPath": {"path": "/"}}),
        ("containers.0.securityContext.privileged", True),
        ("containers.0.securityContext.allowPrivilegeEscalation", True),
        ("containers.0.securityContext.readOnlyRootFilesystem", False),
        ("containers.0.securityContext.capabilities.drop", ["NET_RAW"]),
        ("containers.0.securityContext.capabilities.add", ["SYS_ADMIN"]),
        ("containers.0.ports.0.hostPort", 80),
    ],
)
def test_a_pod_that_is_not_restricted_is_found(path, value):
    (_, spec), = security.pods(copy.deepcopy(chart.manifests("minimal")))
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    node = spec
    for step in way:
        node = node[step]
    node[last] = value
    assert [*security.faults(spec), *security.promises(spec)]


def test_the_rule_holds_the_alerts_of_the_file():
    alerts = yaml.safe_load((chart.CHART / "alerts/b24kafka.rules.yaml").read_text())
    assert alerts["groups"]
    spec = chart.only("PrometheusRule", "everything")["spec"]
    links = [rule["annotations"] for group in spec["groups"] for rule in group["rules"] if "annotations" in rule]
    for link in links:
        place, name = link["runbook_url"].split("#")
        assert place == "https://wiki.example.com/b24kafka/runbook" and name
        link["runbook_url"] = f"docs/runbook.md#{name}"
    assert links and spec == alerts


def test_the_dashboard_is_the_one_of_the_file():
    maps = [m for m in chart.manifests("everything") if m["metadata"]["name"].endswith("-dashboard")]
    shipped = json.loads((chart.CHART / "dashboards/b24kafka.json").read_text())
    assert [json.loads(m["data"]["b24kafka.json"]) for m in maps] == [shipped]
