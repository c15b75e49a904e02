"""The chart as Helm renders it, and the tools that `make chart-test` has put into target/tools."""

import functools
import os
import pathlib
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/b24kafka"
GOLDEN = pathlib.Path(__file__).with_name("golden")
TOOLS = pathlib.Path(os.environ.get("CHART_TOOLS", ROOT / "target/tools"))

#: Both of them have to take the chart, and to make the same of it.
HELMS = ["helm3", "helm4"]
#: One file of values for each feature.
FEATURES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))


def helm(which, *arguments):
    """Runs Helm; the caller looks at the exit code."""
    command = [TOOLS / which, *arguments]
    # No settings, plug-ins or clusters of whoever runs the tests.
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "HELM_CACHE_HOME": str(TOOLS / "cache")}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=300, check=False)


def values(feature):
    return CHART / f"ci/{feature}-values.yaml"


def lint(which, feature, *sets):
    return helm(which, "lint", "--strict", CHART, "-f", values(feature), *sets)


@functools.cache
def render(which, feature, *sets):
    """The manifests as text."""
    name = ["template", "rel", CHART, "--namespace", "ns", "--kube-version", "1.33.0"]
    done = helm(which, *name, "-f", values(feature), *sets)
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def manifests(feature, *sets):
    return documents(render("helm4", feature, *sets))


def only(kind, feature, *sets):
    """The one manifest of a kind."""
    found = [document for document in manifests(feature, *sets) if document["kind"] == kind]
    assert len(found) == 1, f"{len(found)} of {kind} in {feature}"
    return found[0]


def toml(feature, *sets):
    """The rendered configuration."""
    maps = [m for m in manifests(feature, *sets) if m["kind"] == "ConfigMap" and "b24kafka.toml" in m["data"]]
    assert len(maps) == 1
    return maps[0]["data"]["b24kafka.toml"]
