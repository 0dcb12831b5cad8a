"""The verdict on a model: what it is worth on the holdout, and whether it may be registered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops import artifact, registry
from twoloops.artifact import Predictor, Scores
from twoloops.contracts.signature import Signature
from twoloops.errors import ProjectError
from twoloops.inner_loop import measure
from twoloops.inner_loop.report import draw_importance, write_model_card
from twoloops.inner_loop.train import read_parts
from twoloops.params import Params, as_flat
from twoloops.paths import paths
from twoloops.problem import metrics as measures
from twoloops.problems import problem
from twoloops.storage import read_json, replacing, write_json

GREEN, RED = "green", "red"


@dataclass(frozen=True)
class Rule:
    """One demand of the gate, and whether the model meets it."""

    rule: str
    subject: str
    value: float
    limit: float
    direction: str  # "higher": the value must reach the limit; "lower": it must not exceed it
    detail: str = ""

    @property
    def margin(self) -> float:
        """By how much the demand is met; negative: by how much it is missed."""
        return self.value - self.limit if self.direction == "higher" else self.limit - self.value

    @property
    def passed(self) -> bool:
        """Whether the demand is met; a value that is not a number never meets one."""
        return bool(self.margin >= 0)

    def sentence(self) -> str:
        """Say it in one line."""
        demand = "at least" if self.direction == "higher" else "at most"
        outcome = "" if self.passed else f" It is missed by {-self.margin:.4g}."
        extra = f" {self.detail}" if self.detail else ""
        return f"{self.subject} is {self.value:.4g}; {demand} {self.limit:.4g} is demanded.{outcome}{extra}"


def primary(params: Params) -> measure.Metric:
    """Return the metric that decides.

    Raises:
        ProjectError: gate.primary_metric is not one of METRICS in problem/metrics.py.
    """
    known = {metric.name: metric for metric in measures.METRICS}
    if params.gate.primary_metric not in known:
        raise ProjectError(
            f"gate.primary_metric: there is no metric {params.gate.primary_metric!r}.",
            hint=f"problem/metrics.py knows: {', '.join(known)}.",
        )
    return known[params.gate.primary_metric]


def evaluate(params: Params) -> dict[str, Any]:
    """Judge the model in artifacts/model on the frozen holdout and write reports/.

    Args:
        params: the checked params.yaml.

    Returns:
        The verdict as it lies in reports/verdict.json: the rules, every number, the run.

    Raises:
        ProjectError: no model, no data, or a champion that cannot read this holdout.
    """
    metric = primary(params)
    predictor = Predictor.load(paths().model)
    training_records, holdout = read_parts()
    signature = predictor.signature
    target = problem.target(holdout, signature)
    scores = predictor.scores(holdout)

    entities = problem.entities(holdout)
    bootstrap = measure.Bootstrap(entities, params.gate, params.seed)
    overall = {each.name: bootstrap.interval(_value(each, target, scores)) for each in measures.METRICS}
    champion = registry.find(registry.CHAMPION)
    rivals = {"baseline": _baseline_scores(training_records, holdout, signature)}
    if champion and params.gate.compare_with_champion:
        rivals["champion"] = _champion_scores(champion, holdout)
    gains = {name: bootstrap.interval(_gain(metric, target, scores, rival)) for name, rival in rivals.items()}
    by_slice = _by_slice(params, metric, holdout, entities, target, scores)
    by_group = _by_group(params, holdout, target, scores)
    latency = measure.latency_ms(predictor, problem.one_by_one(holdout, measure.LATENCY_CALLS, signature))
    lineage = read_json(paths().model / "lineage.json", "train")

    rules = [
        Rule(
            "threshold",
            metric.name,
            overall[metric.name].value,
            params.gate.threshold,
            metric.direction,
            _interval(overall[metric.name], params),
        ),
        *_rival_rules(params, metric, gains),
        *_slice_rules(params, metric, by_slice),
        *_group_rules(params, by_group),
        Rule("latency", "median time of one answer in ms", latency["median"], params.gate.maximum_latency_ms, "lower"),
        Rule(
            "parity",
            "difference of shipped model and estimator",
            lineage["parity_difference"],
            params.gate.parity_tolerance,
            "lower",
        ),
    ]
    verdict: dict[str, Any] = {
        "verdict": GREEN if all(rule.passed for rule in rules) else RED,
        "model": predictor.identity,
        "champion": champion.number if champion else None,
        "holdout": {"rows": len(holdout), "version": lineage["holdout_version"]},
        "rules": [asdict(rule) | {"passed": rule.passed, "margin": rule.margin} for rule in rules],
        "metrics": {each.name: asdict(overall[each.name]) | {"unit": each.unit} for each in measures.METRICS},
        "gains": {name: asdict(interval) for name, interval in gains.items()},
        "slices": by_slice,
        "groups": by_group,
        "latency_ms": latency,
        "features": problem.importance(predictor, holdout, target, metric, params.seed),
    }
    _write(verdict, predictor, holdout, target, scores, lineage)
    # The run keeps the verdict as it is now; only then is the run's identifier known.
    verdict["run_id"] = _track(params, verdict, lineage)
    write_json(paths().verdict, verdict)
    return verdict


def _interval(interval: measure.Interval, params: Params) -> str:
    return f"({params.gate.confidence:.0%} interval {interval.low:.4g} to {interval.high:.4g})"


def _baseline_scores(training_records: Any, holdout: Any, signature: Signature) -> Scores:
    inputs, target = problem.encode(training_records, signature), problem.target(training_records, signature)
    simple = problem.baseline(inputs, target, signature)
    return problem.answer(simple, problem.encode(holdout, signature), signature)


def _champion_scores(champion: registry.Version, holdout: Any) -> Scores:
    try:
        return Predictor.load(champion.uri).scores(holdout)
    except ProjectError as error:
        raise ProjectError(
            f"The champion, version {champion.number}, cannot be compared on this holdout: {error}",
            hint="If its inputs are gone for good, set gate.compare_with_champion to false for this one release.",
        ) from error


def _value(metric: measure.Metric, target: measure.Target, scores: Scores) -> measure.Statistic:
    return lambda rows: metric.compute(target[rows], scores[rows])


def _gain(metric: measure.Metric, target: measure.Target, scores: Scores, rival: Scores) -> measure.Statistic:
    def statistic(rows: Any) -> float:
        return metric.gain(metric.compute(target[rows], scores[rows]), metric.compute(target[rows], rival[rows]))

    return statistic


def _rival_rules(params: Params, metric: measure.Metric, gains: dict[str, measure.Interval]) -> list[Rule]:
    limits = {
        "baseline": params.gate.minimum_gain_over_baseline,
        "champion": params.gate.minimum_gain_over_champion,
    }
    return [
        Rule(
            name, f"gain in {metric.name} over the {name}", gain.value, limits[name], "higher", _interval(gain, params)
        )
        for name, gain in gains.items()
    ]


def _by_slice(
    params: Params,
    metric: measure.Metric,
    holdout: Any,
    entities: NDArray[Any],
    target: measure.Target,
    scores: Scores,
) -> dict[str, Any]:
    report = {}
    for name, rows in problem.slices(holdout, measures.SLICES, params.gate.minimum_slice_rows).items():
        bootstrap = measure.Bootstrap(entities[rows], params.gate, params.seed)
        try:
            interval = bootstrap.interval(_value(metric, target[rows], scores[rows]))
        except ValueError:  # a slice with a single class or value: the metric is not defined there
            continue
        report[name] = asdict(interval) | {"rows": len(rows)}
    return report


def _slice_rules(params: Params, metric: measure.Metric, by_slice: dict[str, Any]) -> list[Rule]:
    return [
        Rule("slice", f"{metric.name} where {name}", report["value"], params.gate.slice_threshold, metric.direction)
        for name, report in by_slice.items()
    ]


def _by_group(params: Params, holdout: Any, target: measure.Target, scores: Scores) -> dict[str, Any]:
    """Return each fairness measure for each group of people, and the smallest ratio of two groups."""
    report: dict[str, Any] = {}
    for column in measures.GROUPS:
        groups = problem.slices(holdout, [column], params.gate.minimum_slice_rows)
        for fairness in measures.FAIRNESS:
            values = {name: fairness.compute(target[rows], scores[rows]) for name, rows in groups.items()}
            known = [value for value in values.values() if np.isfinite(value)]
            if len(known) < 2:
                continue  # one group alone cannot be treated unlike another
            ratio = min(known) / max(known) if max(known) > 0 else 1.0
            report[f"{fairness.name} by {column}"] = {"groups": values, "ratio": ratio}
    return report


def _group_rules(params: Params, by_group: dict[str, Any]) -> list[Rule]:
    return [
        Rule("group", f"smallest ratio of {name}", report["ratio"], params.gate.minimum_group_ratio, "higher")
        for name, report in by_group.items()
    ]


def _write(
    verdict: dict[str, Any],
    predictor: Predictor,
    holdout: Any,
    target: measure.Target,
    scores: Scores,
    lineage: dict[str, Any],
) -> None:
    with replacing(paths().plots) as pictures:
        pictures.mkdir()
        problem.draw(pictures, target, scores, predictor.signature)
        if verdict["features"]:
            importance = {each["name"]: each["importance"] for each in verdict["features"]}
            draw_importance(pictures / "importance.png", importance)
    flat = {name: interval["value"] for name, interval in verdict["metrics"].items()}
    slices = {name: report["value"] for name, report in verdict["slices"].items()}
    write_json(paths().metrics, flat | {"slices": slices})
    write_json(paths().verdict, verdict)
    inputs = problem.card(verdict, predictor.signature)
    write_model_card(paths().model_card, verdict, predictor.signature, lineage, inputs, _period(holdout))


def _period(holdout: Any) -> str:
    times = problem.times(holdout)
    return "" if times is None else f", {np.datetime64(times.min(), 'D')} to {np.datetime64(times.max(), 'D')}"


def _track(params: Params, verdict: dict[str, Any], lineage: dict[str, Any]) -> str:
    metrics = {name: interval["value"] for name, interval in verdict["metrics"].items()}
    metrics |= {f"gain_over_{name}": gain["value"] for name, gain in verdict["gains"].items()}
    tags = {
        "verdict": verdict["verdict"],
        "model_identity": verdict["model"],
        **{name: lineage[name] for name in ("code_version", "train_version", "holdout_version")},
    }
    evaluation = f"{registry.ARTIFACT}/{artifact.EVALUATION}"
    files: dict[Path, str] = {paths().model: registry.ARTIFACT, paths().plots: f"{evaluation}/plots"}
    files |= dict.fromkeys((paths().metrics, paths().verdict, paths().model_card), evaluation)
    return registry.log_run(as_flat(params), metrics, tags, files)


def failed_rules(verdict: dict[str, Any]) -> list[str]:
    """Return a sentence for each rule that the model misses."""
    names = ("rule", "subject", "value", "limit", "direction", "detail")
    rules = [Rule(*(rule[name] for name in names)) for rule in verdict["rules"]]
    return [f"{rule.rule}: {rule.sentence()}" for rule in rules if not rule.passed]
