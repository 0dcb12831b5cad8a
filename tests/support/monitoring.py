"""Alerts and dashboards of rendered projects, as they are written there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import yaml

# Spans of time in a query; those of dashboards are Grafana's variable.
INTERVAL = re.compile(r"\[(\d+[smhd]|\$__rate_interval)\]")


def rules(project: Path) -> list[dict[str, Any]]:
    """Return every alert of a rendered project."""
    files = sorted((project / "monitoring/alerts").glob("*.yml"))
    contents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
    return [rule for content in contents for group in content["groups"] for rule in group["rules"]]


def dashboards(project: Path) -> dict[str, dict[str, Any]]:
    """Return every dashboard of a rendered project."""
    paths = sorted((project / "monitoring/dashboards").glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def queries(project: Path) -> dict[str, str]:
    """Return every query of every dashboard, by where it stands."""
    return {
        f"{name}: {panel['title']} {target['refId']}": target["expr"]
        for name, dashboard in dashboards(project).items()
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }


def metrics_of(query: str) -> set[str]:
    """Return the metrics that a query reads."""
    found: set[str] = set()
    waiting: list[Any] = [promql_parser.parse(query)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, promql_parser.VectorSelector):
            found.add(str(node.name))
        for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
            inner = getattr(node, name, None)
            waiting += [inner] if inner is not None and not isinstance(inner, str) else []
        waiting += list(getattr(node, "args", []))
    return found
