"""The verdict on a model: what it is worth on the holdout, and whether it may be registered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops import artifact, registry
from twoloops.artifact import Predictor, Scores
from twoloops.contracts.signature import Signature
from twoloops.errors import ProjectError
from twoloops.inner_loop import backtest, calibration, label_free, measure, parts, rivals
from twoloops.inner_loop.report import draw_importance, write_model_card
from twoloops.inner_loop.rule import FAILS, HOLDS, POWER, Rule
from twoloops.inner_loop.train import newest, read_parts
from twoloops.lineage import FILE as LINEAGE
from twoloops.params import Params, as_flat
from twoloops.paths import paths
from twoloops.problem import metrics as measures
from twoloops.problems import problem
from twoloops.storage import read_json, replacing, write_json

GREEN, RED = "green", "red"


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

    sample = _Sample(params, holdout, target, scores)
    overall = {each.name: sample.interval(each) for each in measures.METRICS}
    champion = registry.find(registry.CHAMPION)
    lineage = read_json(paths().model / LINEAGE, "train")
    compared = {"baseline": rivals.baseline(training_records, holdout, signature)}
    if champion and params.gate.compare_with_champion:
        compared["champion"] = rivals.champion(champion, holdout, lineage["holdout_version"], params)
    gains = {name: sample.gain(metric, rival) for name, rival in compared.items()}
    slices, groups = sample.slices(metric), sample.groups()
    calibrations = sample.calibrations(signature)
    # One level for all that is decided by confidence limits: a good model is red by chance in few verdicts.
    decided = len(slices) + sum(each.comparisons for each in groups) + 2 * len(calibrations)
    level = (1 - params.gate.confidence) / max(decided, 1)
    latency = measure.latency_ms(predictor, problem.one_by_one(holdout, measure.LATENCY_CALLS, signature))

    rules = [
        Rule(
            "threshold",
            metric.name,
            overall[metric.name].value,
            params.gate.threshold,
            metric.direction,
            f"({_about(overall[metric.name], params)})",
        ),
        *_rival_rules(params, metric, gains, compared),
        *(each.rule(metric, params.gate.slice_threshold, level) for each in slices),
        *(each.rule(params.gate.minimum_group_ratio, level) for each in groups),
        *calibration.rules(calibrations, params.gate.calibration_tolerance, level),
        Rule("latency", "median time of one answer in ms", latency["median"], params.gate.maximum_latency_ms, "lower"),
        Rule(
            "parity",
            "difference of shipped model and estimator",
            lineage["parity_difference"],
            params.gate.parity_tolerance,
            "lower",
        ),
    ]
    judged = registry.count_models("holdout_version", lineage["holdout_version"], predictor.identity)
    verdict: dict[str, Any] = {
        "verdict": GREEN if all(rule.passed for rule in rules) else RED,
        "model": predictor.identity,
        "champion": champion.number if champion else None,
        "holdout": {"rows": len(holdout), "version": lineage["holdout_version"], "judged_before": judged},
        "rules": [rule.as_dict() for rule in rules],
        "metrics": {each.name: overall[each.name].as_dict() | {"unit": each.unit} for each in measures.METRICS},
        "gains": {
            name: gain_as_dict(gain, judged, params.gate.confidence)
            | {"rows": len(compared[name].rows), "note": compared[name].note}
            for name, gain in gains.items()
        },
        "slices": {each.name: each.as_dict(metric, params.gate.slice_threshold, level) for each in slices},
        "groups": {each.name: each.as_dict(params.gate.minimum_group_ratio, level) for each in groups},
        "calibration": {name: each.as_dict() for name, each in calibrations.items()},
        "latency_ms": latency,
        "label_free": _label_free(metric, scores, signature, params),
        "backtest": backtest.backtest(
            params, metric, training_records, signature, by_time=lineage["split"]["rule"] == "time"
        ),
        "shipped": _shipped(params, training_records, holdout),
        "features": problem.importance(predictor, holdout, target, metric, params.seed),
    }
    _write(verdict, predictor, holdout, target, scores, lineage)
    # The run keeps the verdict as it is now; only then is the run's identifier known.
    verdict["run_id"] = _track(params, verdict, lineage)
    write_json(paths().verdict, verdict)
    return verdict


def _label_free(metric: measure.Metric, scores: Scores, signature: Signature, params: Params) -> dict[str, Any] | None:
    """Return what the probabilities alone say of the metric: beside it, the monitor tells how far that is off."""
    found = label_free.estimate(metric, scores, params.seed) if signature.classes else None
    return found.as_dict() if found else None


def _shipped(params: Params, *parts: Any) -> dict[str, Any]:
    """Tell what is registered after a green verdict: the judged model, or one fitted on these records too."""
    if not params.gate.refit:
        return {"refitted": False, "rows": len(parts[0]), "until": newest(parts[0])}
    return {"refitted": True, "rows": sum(map(len, parts)), "until": newest(*parts)}


class _Sample:
    """The holdout with what the model answers to it, and the groups of entities that its intervals leave out."""

    def __init__(self, params: Params, holdout: Any, target: measure.Target, scores: Scores) -> None:
        self.params, self.holdout, self.target, self.scores = params, holdout, target, scores
        self.entities = problem.entities(holdout)
        self.whole = self._jackknife(np.arange(len(target)))

    def _jackknife(self, rows: NDArray[np.int64], *, count_events: bool = True) -> measure.Jackknife:
        return measure.Jackknife(
            self.entities[rows],
            self.params.gate,
            self.params.seed,
            events=problem.outputs.rarest(self.target[rows]) if count_events else None,
            order=np.argsort(self.scores[rows, -1], kind="stable"),
        )

    def interval(self, metric: measure.Metric) -> measure.Interval:
        return self.whole.interval(lambda rows: metric.compute(self.target[rows], self.scores[rows]))

    def gain(self, metric: measure.Metric, rival: rivals.Rival) -> measure.Interval:
        """Return by how much the model is better than a rival, on the rows that both were not fitted on."""
        own, truth = self.scores[rival.rows], self.target[rival.rows]

        def statistic(rows: NDArray[Any]) -> float:
            return metric.gain(metric.compute(truth[rows], own[rows]), metric.compute(truth[rows], rival.scores[rows]))

        jackknife = self.whole if len(rival.rows) == len(self.target) else self._jackknife(rival.rows)
        gain = jackknife.interval(statistic)
        if gain.value == 0 and gain.error == 0:  # equal on all rows and without any: there is no chance in it
            return measure.Interval(0.0, 0.0, 0.0, 0.0, float(len(rival.rows)))
        return gain

    def part(self, metric: measure.Metric, places: NDArray[np.int64], *, count_events: bool = True) -> measure.Interval:
        """Return a metric on the rows at these places; without a value where it is not defined there."""
        target, scores = self.target[places], self.scores[places]
        jackknife = self._jackknife(places, count_events=count_events)
        return parts.estimate(lambda: jackknife.interval(lambda rows: metric.compute(target[rows], scores[rows])))

    def slices(self, metric: measure.Metric) -> list[parts.Slice]:
        found = problem.slices(self.holdout, measures.SLICES, self.params.gate.minimum_slice_rows)
        return [parts.Slice(name, len(rows), self.part(metric, rows)) for name, rows in found.items()]

    def groups(self) -> list[parts.Groups]:
        """Return each measure of fairness on the groups of each column in which it is defined."""
        found = []
        for column in measures.GROUPS:
            groups = problem.slices(self.holdout, [column], self.params.gate.minimum_slice_rows)
            for fairness in measures.FAIRNESS:
                # Whom a model selects rests on all rows, not on those of the rarest class.
                values = {name: self.part(fairness, rows, count_events=False) for name, rows in groups.items()}
                known = {name: interval for name, interval in values.items() if np.isfinite(interval.value)}
                if len(known) < 2:
                    continue  # one group alone cannot be treated unlike another
                places = np.concatenate([groups[name] for name in known])
                everybody = self.part(fairness, places, count_events=False)
                sizes = {name: len(groups[name]) for name in known}
                found.append(parts.Groups(f"{fairness.name} by {column}", known, sizes, everybody))
        return found

    def calibrations(self, signature: Signature) -> dict[str, calibration.Calibration]:
        """Return how far each class's probability means what it says; empty where amounts are predicted."""
        pairs = problem.outputs.events(self.target, self.scores, signature.classes)
        return {name: calibration.measure_calibration(self.whole, *pair) for name, pair in pairs.items()}


def _about(interval: measure.Interval, params: Params) -> str:
    if not interval.known:
        return f"no interval: {interval.reason}"
    return f"{params.gate.confidence:.0%} interval {interval.low:.4g} to {interval.high:.4g}"


def _rival_rules(
    params: Params,
    metric: measure.Metric,
    gains: dict[str, measure.Interval],
    compared: dict[str, rivals.Rival],
) -> list[Rule]:
    gain = gains["baseline"]
    rules = [
        Rule(
            "baseline",
            f"gain in {metric.name} over the baseline",
            gain.value,
            params.gate.minimum_gain_over_baseline,
            "higher",
            f"({_about(gain, params)})",
        )
    ]
    if "champion" in gains:
        rules.append(_champion_rule(params, metric, gains["champion"], compared["champion"].note))
    return rules


def _champion_rule(params: Params, metric: measure.Metric, gain: measure.Interval, note: str) -> Rule:
    """Demand that the model is not worse than the champion by more than a margin: non-inferiority.

    The lower confidence limit of the paired gain decides, not the gain: an equal model passes as often as the
    holdout can show it, and one that is worse by the margin in 1 - gate.confidence of cases (Piaggio et al., Reporting
    of Noninferiority and Equivalence Randomized Trials, 2012). Where it cannot be shown the gate stays closed.
    """
    level, limit = 1 - params.gate.confidence, params.gate.minimum_gain_over_champion - params.gate.margin
    lower, upper = gain.limit(-1, level), gain.limit(1, level)
    if gain.known:
        quantiles = measure.quantile(1 - level, gain.carriers) + measure.quantile(POWER, gain.carriers)
        detail = (
            f"(The gain is {gain.value:.4g}; the smallest loss that this holdout shows in 8 of 10 cases is "
            f"{quantiles * gain.error:.4g}.)"
        )
        if lower < limit <= upper:
            detail += " Too few rows to tell whether it is worse than allowed: freeze a larger holdout, or widen "
            detail += "gate.champion_margin."
    else:
        detail = (
            f"(The gain is {gain.value:.4g}; no interval: {gain.reason}.) Nothing can be shown by it: freeze a larger "
            "holdout, or choose a gate.primary_metric that does not hang on a few rows. Where there are no more rows "
            "a person has to decide: gate.compare_with_champion: false, for this one release."
        )
    return Rule(
        "champion",
        f"lower {params.gate.confidence:.0%} limit of the gain in {metric.name} over the champion",
        lower,
        limit,
        "higher",
        f"{detail} {note}".strip(),
        HOLDS if lower >= limit else FAILS,
    )


def gain_as_dict(gain: measure.Interval, judged: int, confidence: float) -> dict[str, Any]:
    """Return a gain with its noise: what chance alone does not give to the best of all models judged on these rows.

    With k models the level is shared out over k (Bonferroni): a holdout that is asked often flatters the last answer
    (Blum and Hardt, The Ladder, 2015).

    Args:
        gain: over the baseline or the champion.
        judged: how many other models these rows have judged before.
        confidence: that a gain above its noise is one.
    """
    noise = measure.quantile(1 - (1 - confidence) / (judged + 1), gain.carriers) * gain.error if gain.known else None
    return gain.as_dict() | {"noise": noise, "within_noise": noise is None or abs(gain.value) <= noise}


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
    slices = {name: each["value"] for name, each in verdict["slices"].items() if each["value"] is not None}
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
    files = {paths().model: registry.ARTIFACT, **evaluation_files(registry.ARTIFACT)}
    return registry.log_run(as_flat(params), metrics, tags, files)


def evaluation_files(folder: str) -> dict[Path, str]:
    """Return the files of a verdict, and where they go beside an artifact in this folder of a run."""
    evaluation = f"{folder}/{artifact.EVALUATION}"
    reports = dict.fromkeys((paths().metrics, paths().verdict, paths().model_card), evaluation)
    return {paths().plots: f"{evaluation}/plots", **reports}
