"""What SageMaker counts of an endpoint's traffic, as CloudWatch tells it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from twoloops.contracts.release import Traffic
from twoloops.platforms.aws.account import client, explain_errors

NAMESPACE = "AWS/SageMaker"
PERIOD = 60
MICROSECONDS = 1_000_000
# Upper bounds in seconds of how long a model took. CloudWatch tells which part of the answers did not exceed each.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


def traffic_of(endpoint: str, variant: str, since: datetime) -> Traffic:
    """Return a variant's traffic since a moment, whose whole minute counts.

    Args:
        endpoint: its name.
        variant: of the endpoint.
        since: when to begin.

    Raises:
        ProjectError: CloudWatch refuses.
    """
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
    wanted = {
        "requests": ("Invocations", "Sum"),
        "refused": ("Invocation4XXErrors", "Sum"),
        "errors": ("Invocation5XXErrors", "Sum"),
        "seconds": ("ModelLatency", "Sum"),
        "counted": ("ModelLatency", "SampleCount"),
    } | {f"below{place}": ("ModelLatency", f"PR(:{bound * MICROSECONDS:.0f})") for place, bound in enumerate(BOUNDS)}
    with explain_errors("Reading the endpoint's figures"):
        found = client("cloudwatch").get_metric_data(
            StartTime=since,
            EndTime=datetime.now(UTC) + timedelta(seconds=PERIOD),
            MetricDataQueries=[_query(name, *metric, dimensions) for name, metric in wanted.items()],
        )
    points = {
        result["Id"]: dict(zip(result["Timestamps"], result["Values"], strict=True))
        for result in found["MetricDataResults"]
    }
    total = {name: sum(values.values()) for name, values in points.items()}
    counted = points["counted"]
    below = [
        (bound, sum(share / 100 * counted.get(minute, 0) for minute, share in points[f"below{place}"].items()))
        for place, bound in enumerate(BOUNDS)
    ]
    return Traffic(
        answered=total["requests"] - total["refused"] - total["errors"],
        errors=total["errors"],
        seconds=total["seconds"] / MICROSECONDS,
        buckets=(*below, (float("inf"), total["counted"])),
    )


def _query(name: str, metric: str, statistic: str, dimensions: list[dict[str, str]]) -> dict[str, Any]:
    described = {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": dimensions}
    return {"Id": name, "MetricStat": {"Metric": described, "Period": PERIOD, "Stat": statistic}}
