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

    Args:
        target: the file; its name must end in .prom for the collector.
        samples: the numbers.
        helps: what each name means. A name without a sample is left out.

    Raises:
        KeyError: a sample's name is not in `helps`.
        ValueError: samples of one name have different labels.
    """
    # Only here: a service that writes no file has no use for it while it starts.
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    by_name: dict[str, list[Sample]] = {name: [] for name in helps}
    for sample in samples:
        by_name[sample.name].append(sample)
    for name, found in by_name.items():
        if found:
            gauge = Gauge(name, helps[name], list(found[0].labels), registry=registry)
            for each in found:
                (gauge.labels(**each.labels) if each.labels else gauge).set(each.value)
    with replacing(target) as new:
        new.write_bytes(generate_latest(registry))
