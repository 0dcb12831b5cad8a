"""What the steps of a run elsewhere are told: the graph, and where data lies that git has not.

It lies in the run's folder, as graph.json, so that a step's program needs no more than the step's name, however long
its command is and however many files it reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from twoloops.contracts.graph import Graph, Step

FILE = "graph.json"


@dataclass(frozen=True)
class Plan:
    """The steps, and by its path in the project the URL of each file that a step downloads from elsewhere."""

    graph: Graph
    data: Mapping[str, str]

    def dump(self) -> bytes:
        """Return it as JSON."""
        content = {"steps": [asdict(step) for step in self.graph.steps], "data": dict(self.data)}
        return json.dumps(content, indent=2).encode()


def load(content: bytes) -> Plan:
    """Return what `dump` has written."""
    found = json.loads(content)
    return Plan(Graph(tuple(_step(each) for each in found["steps"])), found["data"])


def _step(content: Mapping[str, Any]) -> Step:
    values = {each.name: content[each.name] for each in fields(Step)}
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Step(**plain | {"params": {file: tuple(keys) for file, keys in values["params"].items()}})
