"""What services have counted, read from their metrics: the same whether one process answers or many pods do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twoloops.contracts.release import Traffic

ANSWERED = "service_model_seconds_count"
SECONDS = "service_model_seconds_sum"
BUCKETS = "service_model_seconds_bucket"
ERRORS = "service_model_errors_total"


def traffic_of(text: str) -> dict[str, Traffic]:
    """Read each version's traffic from a service's metrics.

    Args:
        text: what GET /metrics answers, in Prometheus' text format.
    """
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, dict[str, list[Any]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in (ANSWERED, SECONDS, BUCKETS, ERRORS):
                found.setdefault(sample.labels["model_version"], {}).setdefault(sample.name, []).append(sample)
    return {version: _traffic(samples) for version, samples in found.items()}


def _traffic(samples: Mapping[str, list[Any]]) -> Traffic:
    answered, seconds, errors = (
        sum(sample.value for sample in samples.get(name, [])) for name in (ANSWERED, SECONDS, ERRORS)
    )
    buckets = sorted((float(sample.labels["le"]), sample.value) for sample in samples.get(BUCKETS, []))
    return Traffic(answered, errors, seconds, tuple(buckets))


def add(counted: Iterable[Mapping[str, Traffic]]) -> dict[str, Traffic]:
    """Return the sum of what several processes have counted, by version.

    Args:
        counted: of each process; all have the same buckets.
    """
    found: dict[str, Traffic] = {}
    for each in counted:
        for version, traffic in each.items():
            other = found.get(version)
            found[version] = traffic if other is None else sum_traffic(other, traffic)
    return found


def sum_traffic(one: Traffic, other: Traffic) -> Traffic:
    """Return the traffic of two processes of one version together; the bounds of their buckets are the same."""
    buckets = dict(one.buckets)
    for bound, count in other.buckets:
        buckets[bound] = buckets.get(bound, 0) + count
    return Traffic(
        one.answered + other.answered,
        one.errors + other.errors,
        one.seconds + other.seconds,
        tuple(sorted(buckets.items())),
    )
