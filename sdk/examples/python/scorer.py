"""A scheduler extension in Python: pods go to nodes with the disk they ask for,
and batch pods keep off nodes that do not take them.

componentize-py runs this module once while it builds; what a call leaves in the
module's variables is there for the next call of the same instance.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import scheduler_extension as extension
from wit_world.imports import types

POD_DISK = "example.pintle.dev/disktype"
NODE_DISK = "disktype"
NODE_NO_BATCH = "example.pintle.dev/no-batch"

# By node number: the disk and whether batch pods are kept off; None: not in use.
nodes: list[tuple[str | None, bool] | None] = []


def labels(thing: types.Object) -> dict[str, str]:
    """The host gives nothing but well-formed objects; should it not, an
    exception, which is a trap, is better than a guess."""
    found = json.loads(thing.json)["metadata"].get("labels") or {}
    for key, value in found.items():
        if not isinstance(value, str):
            raise TypeError(f"{thing.ref.name}: label {key} is not a string")
    return found


class SchedulerExtension(exports.SchedulerExtension):
    def describe(self, config: bytes) -> extension.Description:
        if config != b"{}":
            raise Err("python-scorer has no configuration")
        need = types.Grant(
            kind=types.KindRef(group="", version="v1", kind="Node"),
            verbs=["watch"],
            reason="the rule looks at the labels of nodes",
        )
        return extension.Description(
            manifest=types.Manifest(name="python-scorer", version="0.1.0", needs=[need]),
            scheduler_names=[],
            watches=[],
            abilities=extension.Ability.FILTER | extension.Ability.SCORE,
            pod_fields=["metadata.labels"],
        )

    def sync_nodes(self, changes: list[extension.NumberedNode]) -> None:
        for change in changes:
            while change.number >= len(nodes):
                nodes.append(None)
            if change.node is None:
                nodes[change.number] = None
            else:
                found = labels(change.node)
                nodes[change.number] = (found.get(NODE_DISK), found.get(NODE_NO_BATCH) == "true")

    def sync(self, deltas: list[types.Delta]) -> None:
        pass

    def filter(self, context: types.Context, pod: types.Object) -> list[extension.Rejection]:
        if labels(pod).get("batch") != "true":
            return []
        numbers = [number for number, node in enumerate(nodes) if node is not None and node[1]]
        return [extension.Rejection("node(s) take no batch pods", numbers)] if numbers else []

    def score(self, context: types.Context, pod: types.Object) -> bytes:
        wanted = labels(pod).get(POD_DISK)
        if not wanted:
            return b""
        return bytes(100 if node is not None and node[0] == wanted else 0 for node in nodes)
