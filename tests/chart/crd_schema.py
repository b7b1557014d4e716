#!/usr/bin/env python3
"""Writes a strict JSON schema for each served version of a CustomResourceDefinition on stdin.

    crd_schema.py < crd.yaml        writes crds/KIND-GROUP-VERSION.json

Descriptions go, and objects with listed properties refuse others, as the API server does under
strict field validation.  The source of each stored schema is in crds/SOURCES.md.
"""

import json
import sys
from pathlib import Path

import yaml

CRDS = Path(__file__).parent / "crds"


def strict(schema):
    """The JSON-schema part of an OpenAPI v3 schema, closed where the API server would prune."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    kept = {}
    for key, value in schema.items():
        if key == "properties":
            kept[key] = {name: strict(property) for name, property in value.items()}
        elif key in ("items", "additionalProperties", "allOf", "anyOf", "oneOf", "not"):
            kept[key] = strict(value)
        elif key in ("type", "enum", "required", "pattern", "minimum", "maximum",
                     "minLength", "maxLength", "minItems", "maxItems"):
            kept[key] = value
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in kept
    if "properties" in kept and not open_ended:
        kept["additionalProperties"] = False
    return kept


def schemas(crd):
    """(file name, schema) for each served version."""
    group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
    for version in crd["spec"]["versions"]:
        if version["served"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema.setdefault("properties", {})
            schema["properties"].update(
                {"apiVersion": {"const": f"{group}/{version['name']}"}, "kind": {"const": kind}, "metadata": {"type": "object"}}
            )
            schema["additionalProperties"] = False
            yield f"{kind}-{group}-{version['name']}.json", schema


if __name__ == "__main__":
    for crd in yaml.safe_load_all(sys.stdin):
        for name, schema in schemas(crd):
            (CRDS / name).write_text(json.dumps(schema, separators=(",", ":"), sort_keys=True) + "\n")
            print(name)
