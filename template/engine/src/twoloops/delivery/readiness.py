"""How ready for production a project is, computed from what it has shown: verdict, tests, registry, monitor.

The points are those of *The ML Test Score* (Breck, Cai, Nielsen, Salib and Sculley, 2017), in our words: four sections
of seven. A point counts 1 when a machine has shown it, 0.5 when people must, and 0 as long as nothing shows it. A
section's score is the sum of its points; the whole score is that of the smallest section. Nothing is taken on trust:
what is simulated shows nothing about data and models, so a project begins with 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from twoloops import config, lineage, params, problem, registry
from twoloops.inner_loop.fetch import SIMULATED_FILE
from twoloops.inner_loop.rule import HOLDS
from twoloops.outer_loop import promote
from twoloops.outer_loop.monitoring import history
from twoloops.paths import paths
from twoloops.storage import read_json

SHOWN, BY_PEOPLE, NOT_YET = 1.0, 0.5, 0.0


@dataclass(frozen=True)
class Point:
    """One point of the score."""

    section: str
    about: str
    score: float
    missing: str  # what would show it; empty where it is shown


@dataclass(frozen=True)
class Evidence:
    """What the project has left of its work, read when it is first asked for."""

    params: params.Params = field(default_factory=params.load)

    @cached_property
    def real(self) -> bool:
        """Whether the data is more than simulated."""
        return not self.params.data.source.endswith(SIMULATED_FILE)

    @cached_property
    def verdict(self) -> Mapping[str, Any]:
        """The last verdict; empty where there is none."""
        return read_json(paths().verdict, "evaluate") if paths().verdict.exists() else {}

    @cached_property
    def origin(self) -> str:
        """The commit of the last model, with what `lineage` adds to it; empty where there is no model."""
        file = paths().model / "lineage.json"
        return str(read_json(file, "train")["code_version"]) if file.exists() else ""

    @cached_property
    def passed(self) -> frozenset[str]:
        """The files of tests that the last `check --reports` ran without a failure, such as `test_data`."""
        file = paths().checks / "junit.xml"
        if not file.exists():
            return frozenset()
        cases = list(ElementTree.parse(file).iter("testcase"))  # noqa: S314 - our own pytest has written it
        ran = {case.attrib["classname"].rpartition(".")[2] for case in cases}
        return frozenset(ran - {case.attrib["classname"].rpartition(".")[2] for case in cases if len(case)})

    @cached_property
    def champion(self) -> registry.Version | None:
        """The version in use."""
        return registry.find(registry.CHAMPION)

    @cached_property
    def windows(self) -> tuple[history.PastWindow, ...]:
        """What the monitor has judged of the champion, oldest first."""
        return history.load().of_model(self.champion.tags.get("model_identity", "")) if self.champion else ()

    def rules(self, name: str) -> list[Mapping[str, Any]]:
        """Return the demands of the gate with this name, as the last verdict judged them."""
        return [rule for rule in self.verdict.get("rules", ()) if rule["rule"] == name]

    def met(self, name: str) -> bool:
        """Say whether there are such demands and all are shown to be met: too few rows to tell are no evidence."""
        return bool(self.rules(name)) and all(rule["outcome"] == HOLDS for rule in self.rules(name))


def judge(evidence: Evidence) -> list[Point]:
    """Return every point with its score, in the order of the sections."""
    points = []
    for section, rows in SECTIONS.items():
        for about, most, shown, missing in rows:
            held_back = section in ("Data", "Model") and not evidence.real
            score = most if not held_back and shown(evidence) else NOT_YET
            reason = "Real data: simulated rows show nothing of it." if held_back else missing
            points.append(Point(section, about, score, "" if score else reason))
    return points


def scores(points: list[Point]) -> dict[str, float]:
    """Return the score of each section."""
    return {section: sum(point.score for point in points if point.section == section) for section in SECTIONS}


def describe(points: list[Point]) -> list[str]:
    """Return the lines that people read: the score, then each section with what is missing."""
    by_section = scores(points)
    lines = [f"Readiness: {min(by_section.values()):g} of 7, the smallest of the four sections."]
    for section, score in by_section.items():
        lines.append(f"{section}: {score:g} of 7")
        lines += [
            f"  {point.score:g}  {point.about}" + (f"  Missing: {point.missing}" if point.missing else "")
            for point in points
            if point.section == section
        ]
    return lines


def _used_features(evidence: Evidence) -> bool:
    features = evidence.verdict.get("features", ())
    return bool(features) and not any(each["useless"] for each in features)


def _simpler_is_worse(evidence: Evidence) -> bool:
    gain = evidence.verdict.get("gains", {}).get("baseline")
    return evidence.met("baseline") and gain is not None and not gain["within_noise"]


def _data_sheet(evidence: Evidence) -> bool:
    sheet = paths().root / "data/README.md"
    return sheet.exists() and "simulated" not in sheet.read_text(encoding="utf-8").lower()


def _committed(evidence: Evidence) -> bool:
    return bool(evidence.origin) and not evidence.origin.endswith(("-modified", "uncommitted"))


def _repeatable(evidence: Evidence) -> bool:
    return _committed(evidence) and all((paths().root / name).exists() for name in ("uv.lock", "dvc.lock"))


def _judged_before_use(evidence: Evidence) -> bool:
    return evidence.verdict.get("verdict") == "green" and paths().registration.exists()


def _young(evidence: Evidence) -> bool:
    if evidence.champion is None or not evidence.windows:
        return False
    age = datetime.now(UTC) - datetime.fromisoformat(evidence.champion.registered_at)
    return age <= timedelta(days=evidence.params.monitor.maximum_age_days)


def good_in_use(windows: tuple[history.PastWindow, ...]) -> bool:
    """Say whether labels have shown in the last window that the answers are as good as demanded."""
    return bool(windows) and windows[-1].performance is not None and not windows[-1].red


def _watched(evidence: Evidence) -> bool:
    places = (Path("monitoring/alerts/service.yml"), Path("infra/modules/monitoring"))
    watched = not config.current().online or any((paths().root / place).exists() for place in places)
    return watched and evidence.met("latency")


def _dependencies_told(evidence: Evidence) -> bool:
    return any((paths().root / name).exists() for name in (".github/dependabot.yml", "renovate.json"))


def _personal_dropped(evidence: Evidence) -> bool:
    features = {each["name"] for each in evidence.verdict.get("features", ())}
    return bool(features) and not features & set(problem.data.PERSONAL)


Row = tuple[str, float, Callable[[Evidence], bool], str]
SECTIONS: Mapping[str, tuple[Row, ...]] = {
    "Data": (
        (
            "A schema says what is expected of each feature, and the data has kept it.",
            SHOWN,
            lambda _: paths().frozen_holdout.exists(),
            "'prepare'.",
        ),
        (
            "No feature is without use, shuffled several times on the holdout.",
            SHOWN,
            _used_features,
            "features of no use: the model card.",
        ),
        (
            "A row is answered fast enough, all features together.",
            SHOWN,
            lambda e: e.met("latency"),
            "a verdict that meets the rule 'latency'.",
        ),
        ("Features keep to rules: no personal column is one.", SHOWN, _personal_dropped, "'run'."),
        ("Access and retention are written down.", BY_PEOPLE, _data_sheet, "data/README.md about the real data."),
        (
            "A new feature is added quickly.",
            BY_PEOPLE,
            lambda e: lineage.commits("src/*/problem/data.py") > 1,
            "a change of problem/data.py.",
        ),
        (
            "The code of the features is tested.",
            SHOWN,
            lambda e: "test_data" in e.passed,
            "'check --reports' with tests/test_data.py.",
        ),
    ),
    "Model": (
        ("A model comes from a commit that people review.", BY_PEOPLE, _committed, "commit, then 'run'."),
        (
            "The metric on the holdout is compared with the same metric in use.",
            SHOWN,
            lambda e: any(window.performance is not None for window in e.windows),
            "'monitor' with labels (monitor.labels).",
        ),
        (
            "Hyperparameters are tuned.",
            BY_PEOPLE,
            lambda _: (paths().reports / "tuning.json").exists(),
            "'tune'.",
        ),
        (
            "The cost of an old model is known.",
            SHOWN,
            lambda _: (paths().reports / "staleness.json").exists(),
            "'staleness'.",
        ),
        (
            "The gain over a simple model is more than its noise.",
            SHOWN,
            _simpler_is_worse,
            "a gain over the baseline beyond its noise.",
        ),
        (
            "No slice misses its demand, and each has rows enough to tell.",
            SHOWN,
            lambda e: e.met("slice"),
            "SLICES in problem/metrics.py, and a verdict with rows enough to tell that 'slice' holds on each.",
        ),
        (
            "No group differs by more than is allowed, and each has rows enough to tell.",
            SHOWN,
            lambda e: e.met("group"),
            "GROUPS in problem/metrics.py, and a verdict with rows enough to tell that 'group' holds.",
        ),
    ),
    "Infrastructure": (
        ("Training can be repeated.", SHOWN, _repeatable, "a committed model, with uv.lock and dvc.lock."),
        (
            "The model's code has unit tests.",
            SHOWN,
            lambda e: "test_model" in e.passed,
            "'check --reports' with tests/test_model.py.",
        ),
        (
            "The whole pipeline is tested as one.",
            SHOWN,
            lambda e: "test_loop" in e.passed,
            "'check --reports' with tests/test_loop.py.",
        ),
        ("Quality is judged before a model is used.", SHOWN, _judged_before_use, "a green verdict, registered."),
        (
            "One example can be followed step by step.",
            SHOWN,
            lambda e: e.champion is not None,
            "a champion, which 'explain' follows a record through.",
        ),
        (
            "A model is released gradually.",
            SHOWN,
            lambda e: config.current().online and e.champion is not None and promote.previous(e.champion) is not None,
            "'deploy' of a second version, behind a canary; a run of scoring has one model.",
        ),
        (
            "A model can be rolled back.",
            SHOWN,
            lambda e: e.champion is not None and promote.previous(e.champion) is not None,
            "a champion before the champion.",
        ),
    ),
    "Monitoring": (
        ("Changes in what the project depends on are told.", SHOWN, _dependencies_told, "dependabot or renovate."),
        (
            "Rows in use are compared with the contract and the training data.",
            SHOWN,
            lambda e: bool(e.windows),
            "'monitor' with captured rows.",
        ),
        (
            "Captured answers, computed again from the captured values, are the same.",
            SHOWN,
            lambda e: e.met("parity") and bool(e.windows),
            "'monitor', which computes captured answers again.",
        ),
        ("The model in use is young enough.", SHOWN, _young, "a younger champion, and 'monitor'."),
        (
            "The shipped model answers the holdout as the fitted one does.",
            SHOWN,
            lambda e: e.met("parity"),
            "a verdict that meets 'parity'.",
        ),
        (
            "The answer is fast enough, and alerts watch the service.",
            SHOWN,
            _watched,
            "a verdict that meets 'latency', and alerts of the service.",
        ),
        (
            "On answers in use the metric is measured, and meets its demand.",
            SHOWN,
            lambda e: good_in_use(e.windows),
            "'monitor' with labels, in whose last window the performance is known and not lost.",
        ),
    ),
}
