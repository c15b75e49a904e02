"""The values: each is used and explained, a misspelt one is refused, and what they say is what is rendered.

That the program takes what is rendered is tested in tests/chart.rs.
"""

import json
import re
import subprocess
import tomllib

import pytest
import yaml

import chart

SCHEMA = json.loads((chart.CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((chart.CHART / "values.yaml").read_text())
#: Tables that are handed to Kubernetes, or to librdkafka, as they are.
FREE = {"affinity", "global", "resources.limits", "resources.requests", "config.kafka.options", "secret.data"}


def leaves(node, path=""):
    """Paths of values that hold no further values: an empty table is one."""
    if isinstance(node, dict) and node:
        for key, part in node.items():
            yield from leaves(part, f"{path}.{key}".lstrip("."))
    else:
        yield path


def used():
    """Paths of values that the templates name, `with` blocks followed."""
    paths = set()
    for template in (chart.CHART / "templates").iterdir():
        text = re.sub(r"\{\{-? ?/\*.*?\*/ ?-?\}\}", "", template.read_text(), flags=re.S)
        text = text.replace("$config.", ".Values.config.")
        scopes = []
        for action in re.findall(r"\{\{-?\s*(.*?)\s*-?\}\}", text, flags=re.S):
            scope = next((s for s in reversed(scopes) if s is not None), "")
            named = re.findall(r"\.Values\.([A-Za-z_.]+)", action)
            named += [f"{scope}.{own}" for own in re.findall(r"(?<![\w.$)])\.([a-z][A-Za-z.]*)", action) if scope]
            paths.update(named)
            word = action.split(" ")[0]
            if word in ("with", "range", "if", "define"):
                # Only a `with` on a plain path changes what a leading dot means here.
                plain = re.fullmatch(r"with \$?\.(Values\.)?([A-Za-z_.]+)", action)
                inner = None if word == "if" else ""
                if plain and plain[1]:
                    inner = plain[2]
                elif plain and scope:
                    inner = f"{scope}.{plain[2]}"
                scopes.append(inner)
            elif word == "end":
                scopes.pop()
    return {path for path in paths if path}


def test_every_value_is_used_and_every_used_value_exists():
    paths, known = used(), set(leaves(VALUES))
    covers = lambda wide, narrow: narrow == wide or narrow.startswith(f"{wide}.")
    # The configuration is rendered as a whole, so each of its keys is used.
    unused = [leaf for leaf in known if not any(covers(path, leaf) for path in paths)]
    assert not unused
    unknown = [path for path in paths if not any(covers(path, leaf) or covers(leaf, path) for leaf in known)]
    assert not unknown


def objects(schema, path=""):
    """Every object of the schema with its path."""
    if schema.get("type") == "object":
        yield path, schema
    for key, part in schema.get("properties", {}).items():
        yield from objects(part, f"{path}.{key}".lstrip("."))
    if isinstance(schema.get("items"), dict):
        yield from objects(schema["items"], f"{path}[]")


def test_the_schema_is_closed_and_knows_every_value():
    by_path = dict(objects(SCHEMA))
    for path, schema in by_path.items():
        if path in FREE or path.endswith("[]") and not path.startswith("config."):
            continue
        texts = schema.get("additionalProperties") == {"type": "string"}
        assert schema.get("additionalProperties") is False or texts, f"{path} is open"
    for leaf in leaves(VALUES):
        parent, _, key = leaf.rpartition(".")
        if parent in by_path and parent not in FREE and "properties" in by_path[parent]:
            assert key in by_path[parent]["properties"], f"the schema does not know {leaf}"
    for path, schema in by_path.items():
        if path.startswith("config.") or path == "resources" or "[]" in path:
            continue
        for key in schema.get("properties", {}):
            full = f"{path}.{key}".lstrip(".")
            assert full == "global" or any(f"{leaf}.".startswith(f"{full}.") for leaf in leaves(VALUES)), (
                f"values.yaml does not explain {full}"
            )


def test_the_readme_is_made_from_the_values():
    docs = [chart.TOOLS / "helm-docs", "--chart-search-root", chart.CHART, "--dry-run", "--sort-values-order", "file"]
    done = subprocess.run([*docs, "--log-level", "warning"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    readme = (chart.CHART / "README.md").read_text()
    assert readme.strip() == done.stdout.strip(), "make chart-docs writes it anew"
    rows = {row[0]: row[3] for row in (re.findall(r"[^|]+", line) for line in readme.splitlines()) if len(row) == 4}
    explained = [key.strip() for key, meaning in rows.items() if meaning.strip()]
    covers = lambda key, leaf: leaf == key or leaf.startswith(f"{key}.")
    assert not [leaf for leaf in leaves(VALUES) if not any(covers(key, leaf) for key in explained)]


@pytest.mark.parametrize("helm", chart.HELMS)
@pytest.mark.parametrize(
    "wrong, said",
    [
        ("replica=1", "replica"),
        ("image.tags=1", "tags"),
        ("config.kafka.bootstrap_server=x", "bootstrap_server"),
        ("config.fetch.limit_mim=5", "limit_mim"),
        ("service.public.prot=80", "prot"),
        ("metrics.monitor.kind=PodMonitors", "kind"),
        ("replicas=2", "registry"),
        ("config.app.client_secret=x", "client_secret"),
        ("config.kafka.security.password=x", "password"),
        ("config.admin.listen=127.0.0.1:9464", "listen"),
        ("config.shutdown.grace=30", "grace"),
        ("secret.data.client_secret=x", "secret"),
        ("ingress.enabled=true", "host"),
        ("image.digest=sha256:12", "digest"),
        ("runAsUser=0", "runAsUser"),
    ],
)
def test_a_wrong_value_fails_the_lint(helm, wrong, said):
    done = chart.lint(helm, "minimal", "--set", wrong)
    assert done.returncode != 0 and said in done.stdout, done.stdout


@pytest.mark.parametrize("missing", ["config.app.client_id", "config.kafka.bootstrap_servers"])
def test_what_has_to_be_given_is_missed(missing):
    done = chart.lint("helm4", "minimal", "--set", f"{missing}=")
    assert done.returncode != 0 and missing.rpartition(".")[2] in done.stdout, done.stdout


def test_replicas_are_fine_with_the_registry_in_kafka():
    done = chart.lint("helm4", "minimal", "--set", "replicas=2,config.registry.kind=kafka")
    assert done.returncode == 0, done.stdout


def merged(feature):
    """The configuration as the values say it, without nulls."""

    def lay(under, over):
        if not (isinstance(under, dict) and isinstance(over, dict)):
            return over
        return {key: lay(under.get(key), over[key]) if key in over else under[key] for key in under | over}

    given = yaml.safe_load(chart.values(feature).read_text())["config"]
    config = lay(VALUES["config"], given)
    if config["registry"]["kind"] == "kafka":
        del config["registry"]["path"]
    return config


@pytest.mark.parametrize("feature", chart.FEATURES)
def test_the_configuration_is_what_the_values_say(feature):
    assert tomllib.loads(chart.toml(feature)) == merged(feature)
    assert not re.search(r"= \d+\.0$", chart.toml(feature), flags=re.M), "a whole number stays one"


def pod(feature, *sets):
    return chart.only("Deployment", feature, *sets)["spec"]["template"]


@pytest.mark.parametrize(
    "grace, seconds", [("30s", 70), ("1s", 41), ("1500ms", 42), ("1000ms", 41), ("2m", 160), ("1h", 3640)]
)
def test_the_pod_outlives_the_grace_of_the_program(grace, seconds):
    spec = pod("minimal", "--set", f"config.shutdown.grace={grace}")["spec"]
    assert spec["terminationGracePeriodSeconds"] == seconds


def test_a_digest_wins_over_the_tag_and_the_version_is_the_default():
    images = {f: pod(f)["spec"]["containers"][0]["image"] for f in ["openshift", "everything", "minimal"]}
    version = tomllib.loads((chart.ROOT / "Cargo.toml").read_text())["package"]["version"]
    assert images["openshift"] == "registry.example.com/b24kafka@sha256:" + "0123456789abcdef" * 4
    assert images["everything"] == "registry.example.com/b24kafka:0.1.0-rc.1"
    assert images["minimal"] == f"b24kafka:{version}", "appVersion is the version of the program"


@pytest.mark.parametrize(
    "change, annotation",
    [("config.log.level=debug", "checksum/config"), ("secret.data.admin_token=other", "checksum/secret")],
)
def test_a_change_of_configuration_or_secret_rolls_the_pods(change, annotation):
    before, after = (pod("everything", *sets)["metadata"]["annotations"] for sets in [(), ("--set", change)])
    assert before.keys() == after.keys()
    assert [key for key in before if before[key] != after[key]] == [annotation]
    same = pod("everything", "--set", "replicas=0")["metadata"]["annotations"]
    assert same == before, "and nothing else does"


def test_one_owner_is_replaced_by_stop_and_start_and_several_roll():
    strategies = {f: chart.only("Deployment", f)["spec"]["strategy"]["type"] for f in ["everything", "replicas"]}
    assert strategies == {"everything": "Recreate", "replicas": "RollingUpdate"}
    kinds = {f: {m["kind"] for m in chart.manifests(f)} for f in strategies}
    assert "PersistentVolumeClaim" in kinds["everything"] - kinds["replicas"]
    assert "PodDisruptionBudget" in kinds["replicas"] - kinds["everything"]


def test_the_probes_are_paths_of_the_admin_listener():
    source = "".join(path.read_text() for path in (chart.ROOT / "src/http").rglob("*.rs"))
    for feature in chart.FEATURES:
        container = pod(feature)["spec"]["containers"][0]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        listen = tomllib.loads(chart.toml(feature))
        assert {name: int(listen[name]["listen"].rpartition(":")[2]) for name in ports} == ports
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
            get = container[probe]["httpGet"]
            assert get["port"] == "admin" and f'"{get["path"]}"' in source
        assert container["livenessProbe"]["httpGet"]["path"] == "/live"


def test_every_secret_is_a_file_and_stands_in_no_other_manifest():
    given = yaml.safe_load(chart.values("everything").read_text())["secret"]["data"]
    for manifest in chart.manifests("everything"):
        if manifest["kind"] != "Secret":
            text = json.dumps(manifest)
            assert not [name for name, value in given.items() if value in text], manifest["kind"]
    assert set(chart.only("Secret", "everything")["data"]) == set(given)


def test_brokers_are_let_out_to_by_their_ports():
    ports = {f: [rule["ports"] for rule in chart.only("NetworkPolicy", f)["spec"]["egress"]] for f in ["everything", "replicas"]}
    assert [port["port"] for port in ports["everything"][2]] == [9093, 9094]
    assert [port["port"] for port in ports["replicas"][2]] == [9092], "Kafka's own port where none is named"
