"""Prometheus' text format, for what runs and ends: the node exporter's textfile collector reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twoloops.storage import replacing


@dataclass(frozen=True)
class Sample:
    """One number, as Prometheus will know it."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def write(target: Path, samples: Iterable[Sample], helps: Mapping[str, str]) -> None:
    """Write gauges, atomically: a collector never reads half a file.

    https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format

    Args:
        target: the file; its name must end in .prom for the collector.
        samples: the numbers.
        helps: what each name means. A name without a sample is left out.
    """
    by_name: dict[str, list[Sample]] = {name: [] for name in helps}
    for sample in samples:
        by_name[sample.name].append(sample)
    lines = []
    for name, found in by_name.items():
        if found:
            lines += [f"# HELP {name} {_escape(helps[name])}", f"# TYPE {name} gauge"]
            lines += [f"{name}{_labels(each.labels)} {_number(each.value)}" for each in found]
    with replacing(target) as new:
        new.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = ",".join(f'{name}="{_escape(value, quotes=True)}"' for name, value in labels.items())
    return "{" + pairs + "}"


def _escape(text: str, *, quotes: bool = False) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quotes else escaped


def _number(value: float) -> str:
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(repr(float(value)), repr(float(value)))
