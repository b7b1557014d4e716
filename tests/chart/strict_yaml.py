"""Reads manifests as the strictest of their readers do (kustomize, Flux's post-renderer, server-side apply).

A key twice, a name twice in a list that is keyed by name, and a list or a value that is empty end the
reading: to several Kubernetes APIs an empty list means "all".
"""

import re

import yaml

# The lists that are merged by a key: server-side apply refuses a second entry of the same key.
KEYS = {
    "containers": "name", "initContainers": "name", "volumes": "name", "env": "name", "resourceClaims": "name",
    "imagePullSecrets": "name", "claims": "name", "volumeMounts": "mountPath", "ports": "name",
}


class NotStrict(Exception):
    """What a strict reader refuses, and where."""


class Loader(yaml.SafeLoader):
    """yaml.SafeLoader without the leniency towards duplicate keys."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise NotStrict(f"{sorted(map(str, twice))} twice in one map, line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


# Go's reader, which helm and Kubernetes use, knows these too.
Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^[yYnN]$"), list("yYnN"))
Loader.bool_values = Loader.bool_values | {"y": True, "n": False}


def objects_of(text):
    """The objects of a render. Raises NotStrict."""
    objects = [o for o in yaml.load_all(text, Loader) if o]
    for o in objects:
        check(o, f"{o.get('kind')}/{o.get('metadata', {}).get('name')}")
    return objects


def check(tree, place):
    """Walks a manifest for what only shows in the parsed tree."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if value is None or value == []:
                raise NotStrict(f"{place}.{key} is {value}")
            if key in KEYS and isinstance(value, list):
                check_names(value, KEYS[key], f"{place}.{key}")
            check(value, f"{place}.{key}")
    elif isinstance(tree, list):
        for i, item in enumerate(tree):
            if item is None:
                raise NotStrict(f"{place}[{i}] is None")
            check(item, f"{place}[{i}]")


def check_names(items, key, place):
    names = [item[key] for item in items if isinstance(item, dict) and key in item]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise NotStrict(f"{place}: {key} {sorted(twice)} twice")
