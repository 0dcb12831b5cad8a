"""How good the answers were, told by the labels that arrived since.

The newest labelled answers, `monitor.windows` times `monitor.minimum_rows`, are one window: what was long ago says
little of now. It is judged twice: against what the gate demands, and against the value at registration, whose own
interval counts too: a model that had 0.90 and has 0.76 has lost much, though 0.75 is demanded. Worse than at
registration is what is worse by more than `gate.champion_margin`, beyond doubt (Welch, 1947, for the difference of two
estimates). What a window of this size can show is said. `benchmarks/judgement.py performance` shows the error rates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twoloops import artifact
from twoloops.artifact import Predictor
from twoloops.errors import ProjectError
from twoloops.inner_loop import calibration, measure, parts
from twoloops.inner_loop.evaluate import primary
from twoloops.inner_loop.rule import POWER
from twoloops.outer_loop.monitoring import joining
from twoloops.params import GateParams, Params
from twoloops.problems import problem
from twoloops.problems.base import Labels

EARLIER_WINDOWS = 6  # that are shown beside the newest
MOST_AMBIGUOUS = 0.05  # of the labels: whose answers differ is no matter of chance, and leaving more out misleads
VERDICT_IN_REGISTRY = Path(artifact.EVALUATION, "verdict.json")  # beside the artifact: see inner_loop/evaluate.py


@dataclass(frozen=True)
class Loss:
    """By how much answers are worse than at registration, in the metric's unit."""

    value: float  # negative: they are better
    low: float
    high: float
    margin: float  # by so much they may be
    shown: float  # the loss that so many rows show in 8 of 10 cases

    @property
    def beyond_doubt(self) -> bool:
        """Whether it is more than the margin."""
        return self.low > self.margin


@dataclass(frozen=True)
class Performance:
    """The primary metric on labelled answers, with its interval."""

    metric: str
    direction: str
    unit: str
    rows: int
    value: float
    low: float | None  # None where no interval can be given, as high
    high: float | None
    threshold: float
    reference: float | None  # on the holdout, when the model was judged
    reference_low: float | None = None  # None where it has no interval, as high
    reference_high: float | None = None
    lost: Loss | None = None  # since then; None where one of the two has no interval
    earlier: tuple[float | None, ...] = ()  # the metric of the windows before, each of as many rows, the newest first
    reason: str = ""  # why there is no interval
    left_out: str = ""  # labels that were not joined to an answer, in words
    miscalibrated: tuple[str, ...] = ()  # what gate.calibration_tolerance demands and is missed beyond doubt

    @property
    def state(self) -> Literal["green", "red", "unknown"]:
        """Say "red" when even the better end of the interval misses what the gate demands, else "green".

        Also red are answers that are worse than at registration by more than gate.champion_margin, beyond doubt, and
        probabilities that do not mean what they say. Without an interval a value that misses the demand is
        "unknown": a few rows decide.
        """
        if self.miscalibrated or (self.lost and self.lost.beyond_doubt):
            return "red"
        sign = 1 if self.direction == "higher" else -1
        better = self.high if self.direction == "higher" else self.low
        if better is not None:
            return "red" if sign * better < sign * self.threshold else "green"
        return "unknown" if sign * self.value < sign * self.threshold else "green"

    @property
    def missed(self) -> bool:
        """Whether the demand is missed beyond doubt."""
        return self.state == "red"

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self) | {"missed": self.missed}


def judge(
    paths: list[Path],
    labels: str,
    predictor: Predictor,
    params: Params,
    reference: measure.Interval | None,
    now: datetime,
) -> Performance | str:
    """Join each label to the answer that it is about, and measure.

    Args:
        paths: all capture files on disk, read before or not: labels come late.
        labels: a Parquet or CSV table with the entity and the target, and request_id or the event time; a path or a
            URL.
        predictor: the model whose answers count.
        params: the gate and the monitor's least number of rows.
        reference: the metric on the holdout, when the model was judged; None: not known.
        now: from when the age of an answer counts: see data.label_days.

    Returns:
        The performance, or a sentence that says why there is none.

    Raises:
        ProjectError: the labels cannot be read or break the contract.
    """
    known = problem.labels(labels)
    joined = joining.join(paths, predictor, known, params.data.label_days, now)
    left_out = joined.left_out(params.data.label_days)
    if len(joined.places) < params.monitor.minimum_rows:
        return (
            f"Of {len(known.records):,} labels {len(joined.places):,} belong to answers of this model; "
            f"monitor.minimum_rows asks for {params.monitor.minimum_rows:,}. {left_out}"
        ).strip()
    if joined.ambiguous > MOST_AMBIGUOUS * (joined.ambiguous + len(joined.places)):
        return f"The labels that are left would be a choice, not a sample. {left_out}"
    finite = np.flatnonzero(np.isfinite(joined.scores).all(axis=1))
    size = params.monitor.labelled_rows
    finite, older = finite[:size], finite[size:]
    answers = joined.scores[finite]
    kept = problem.take(known.records, joined.places[finite].tolist())
    try:
        target = problem.target(kept, predictor.signature)
    except ProjectError as error:
        return f"The labels that belong to answers of this model do not tell its performance. {error}"
    metric = primary(params)
    jackknife = measure.Jackknife(
        problem.entities(kept),
        params.gate,
        params.seed,
        events=problem.outputs.rarest(target),
        order=np.argsort(answers[:, -1], kind="stable"),
    )
    interval = parts.estimate(lambda: jackknife.interval(lambda rows: metric.compute(target[rows], answers[rows])))
    if not np.isfinite(interval.value):
        return f"{metric.name} is not defined on the {len(target):,} labelled answers: {interval.reason}."
    pairs = problem.outputs.events(target, answers, predictor.signature.classes)
    calibrations = {name: calibration.measure_calibration(jackknife, *pair) for name, pair in pairs.items()}
    level = (1 - params.gate.confidence) / max(2 * len(calibrations), 1)
    rules = calibration.rules(calibrations, params.gate.calibration_tolerance, level)
    return Performance(
        metric=metric.name,
        direction=metric.direction,
        unit=metric.unit,
        rows=len(target),
        value=interval.value,
        low=interval.low if interval.known else None,
        high=interval.high if interval.known else None,
        threshold=params.gate.threshold,
        reference=reference.value if reference else None,
        reference_low=reference.low if reference and reference.known else None,
        reference_high=reference.high if reference and reference.known else None,
        lost=loss(interval, reference, metric.direction, params.gate) if reference else None,
        earlier=_earlier(known, joined, older, size, metric, predictor),
        reason=interval.reason,
        left_out=left_out,
        miscalibrated=tuple(rule.sentence() for rule in rules if not rule.passed),
    )


def read_verdict(folder: Path) -> dict[str, Any]:
    """Return the verdict that a registered model came with; empty where it is not at hand.

    Args:
        folder: the artifact as it was downloaded from the registry.
    """
    file = folder / VERDICT_IN_REGISTRY
    verdict: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return verdict


def loss(now: measure.Interval, before: measure.Interval, direction: str, gate: GateParams) -> Loss | None:
    """Return by how much a metric is worse than it was; None where one of the two has no interval.

    Args:
        now: on labelled answers.
        before: on the holdout: other rows, so the two errors add up.
        direction: "higher" or "lower" is better.
        gate: the margin and the confidence.
    """
    if not (now.known and before.known):
        return None
    value = before.value - now.value if direction == "higher" else now.value - before.value
    error = float(np.hypot(now.error, before.error))
    # Degrees of freedom of a difference: Welch and Satterthwaite.
    parts_of = ((each.error**4) / max(each.carriers - 1, 1) for each in (now, before))
    carriers = error**4 / sum(parts_of) + 1
    reach = measure.quantile((1 + gate.confidence) / 2, carriers) * error
    margin = gate.margin
    return Loss(value, value - reach, value + reach, margin, margin + reach + measure.quantile(POWER, carriers) * error)


def _earlier(
    labels: Labels,
    joined: joining.Joined,
    places: NDArray[Any],
    size: int,
    metric: measure.Metric,
    predictor: Predictor,
) -> tuple[float | None, ...]:
    """Return the metric of the windows before the newest one, each of so many rows; None where it is not defined."""
    found: list[float | None] = []
    for start in range(0, min(len(places), EARLIER_WINDOWS * size) - size + 1, size):
        part = places[start : start + size]
        records = problem.take(labels.records, joined.places[part].tolist())
        try:
            value = float(metric.compute(problem.target(records, predictor.signature), joined.scores[part]))
        except (ProjectError, ValueError):  # of one class alone
            value = float("nan")
        found.append(value if np.isfinite(value) else None)
    return tuple(found)


def on_holdout(verdict: Mapping[str, Any], metric: str) -> measure.Interval | None:
    """Return the metric that a model had on the holdout, by its verdict; None where that does not say."""
    known = verdict.get("metrics", {}).get(metric)
    if not known:
        return None
    limits = {name: known.get(name) for name in ("low", "high", "error")}
    numbers = {name: float("nan") if value is None else float(value) for name, value in limits.items()}
    reason = known.get("reason", "") or ("" if np.isfinite(list(numbers.values())).all() else "it was not given")
    return measure.Interval(float(known["value"]), **numbers, carriers=known.get("carriers", 0.0), reason=reason)


def weights(verdict: Mapping[str, Any]) -> dict[str, float] | None:
    """Return what each feature brings, of the most important one's importance; None where the verdict does not say.

    A feature counts with the larger of what is lost without it alone, and without it and those that go along with it.
    """
    known = {
        each["name"]: max(each["importance"], each.get("joint_importance") or 0.0)
        for each in verdict.get("features", ())
    }
    best = max(known.values(), default=0.0)
    return {name: max(value, 0.0) / best for name, value in known.items()} if best > 0 else None
