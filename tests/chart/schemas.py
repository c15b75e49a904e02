"""Strict schemas of what Kubernetes takes: its own kinds by version, and those of the Prometheus operator."""

import functools
import json
import os
import re

import importlib_resources
import jsonschema
import referencing
import yaml

import chart

OWN = importlib_resources.files("kubernetes_validate") / "kubernetes-json-schema"
#: The operator's definitions as its release ships them.
OPERATOR = chart.TOOLS / "operator"
#: From the oldest that the chart claims to the newest that there are schemas of.
VERSIONS = sorted(
    (name.removeprefix("v").removesuffix("-local-strict") for name in os.listdir(OWN) if name.endswith("-strict")),
    key=lambda version: [int(part) for part in version.split(".")],
)


@functools.cache
def definitions(version):
    path = OWN / f"v{version}-local-strict" / "_definitions.json"
    resource = referencing.Resource.from_contents(json.loads(path.read_text()))
    return referencing.Registry().with_resource("_definitions.json", resource).crawl()


@functools.cache
def own(version, api_version, kind):
    """The validator of one of Kubernetes' own kinds."""
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    path = OWN / f"v{version}-local-strict" / f"{kind.lower()}-{group}.json"
    return jsonschema.Draft202012Validator(json.loads(path.read_text()), registry=definitions(version))


@functools.cache
def custom(api_version, kind):
    """The validator of a custom resource, as strict as `kubectl --validate=strict`: nothing that is not named."""
    group, version = api_version.split("/")
    definition = yaml.safe_load((OPERATOR / f"{group}_{kind.lower()}s.yaml").read_text())
    schema = next(v["schema"]["openAPIV3Schema"] for v in definition["spec"]["versions"] if v["name"] == version)
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(closed(schema))


def closed(schema):
    """The same schema, in which an object with named properties has no others."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
    return schema


def faults(manifest, version):
    """What the given version of Kubernetes would refuse."""
    api_version, kind = manifest["apiVersion"], manifest["kind"]
    is_custom = api_version.startswith("monitoring.coreos.com/")
    validator = custom(api_version, kind) if is_custom else own(version, api_version, kind)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]
