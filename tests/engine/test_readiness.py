"""Readiness is what the project has shown, and nothing that it only says."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from twoloops import params
from twoloops.delivery import readiness
from twoloops.outer_loop.monitoring.history import PastWindow

from tests.engine.support.project import Project

JUNIT = """<testsuites><testsuite>
<testcase classname="tests.test_model" name="test_a"/>
<testcase classname="tests.test_loop" name="test_b"><failure/></testcase>
</testsuite></testsuites>"""


def judged(checked: params.Params | None = None) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    points = readiness.judge(readiness.Evidence(checked or params.load()))
    assert all(bool(point.missing) == (point.score == 0) for point in points)
    for point in points:
        found.setdefault(point.section, {})[point.about] = point.score
    return found


def test_a_project_begins_with_nothing(bare_project: Project) -> None:
    found = judged()
    assert [len(points) for points in found.values()] == [7] * 4
    assert not any(score for points in found.values() for score in points.values())


def test_simulated_rows_show_nothing_of_data_and_model(promoted: Project) -> None:
    path = Path("data/raw/simulated.parquet")
    os.link("data/raw/rows.parquet", path)
    found = judged(promoted.set(data__source=path.as_posix()))
    assert not any({**found["Data"], **found["Model"]}.values())
    assert found["Infrastructure"]["One example can be followed step by step."] == 1


def test_each_point_follows_from_what_is_there(promoted: Project) -> None:
    verdict = json.loads(Path("reports/verdict.json").read_text(encoding="utf-8"))
    verdict["gains"]["baseline"]["within_noise"] = False
    Path("reports/verdict.json").write_text(json.dumps(verdict), encoding="utf-8")
    before = judged()
    assert before["Data"]["A schema says what is expected of each feature, and the data has kept it."] == 1
    assert before["Model"]["The gain over a simple model is more than its noise."] == 1
    assert before["Model"]["Hyperparameters are tuned."] == 0
    assert before["Infrastructure"]["The model's code has unit tests."] == 0
    assert before["Monitoring"]["Rows in use are compared with the contract and the training data."] == 0

    verdict["gains"]["baseline"]["within_noise"] = True
    Path("reports/verdict.json").write_text(json.dumps(verdict), encoding="utf-8")
    Path("reports/tuning.json").write_text("{}", encoding="utf-8")
    Path("reports/checks").mkdir()
    Path("reports/checks/junit.xml").write_text(JUNIT, encoding="utf-8")
    after = judged()
    assert after["Model"]["The gain over a simple model is more than its noise."] == 0
    assert after["Model"]["Hyperparameters are tuned."] == 0.5
    assert after["Infrastructure"]["The model's code has unit tests."] == 1
    assert after["Infrastructure"]["The whole pipeline is tested as one."] == 0


def test_too_few_rows_to_tell_are_no_evidence(promoted: Project) -> None:
    verdict = json.loads(Path("reports/verdict.json").read_text(encoding="utf-8"))
    for outcome, score in (("holds", 1), ("too few to tell", 0)):
        for rule in verdict["rules"]:
            rule["outcome"] = outcome if rule["rule"] == "slice" else rule["outcome"]
        Path("reports/verdict.json").write_text(json.dumps(verdict), encoding="utf-8")
        assert judged()["Model"]["No slice misses its demand, and each has rows enough to tell."] == score


def test_quality_in_use_is_what_labels_have_shown() -> None:
    window = PastWindow(
        at=datetime.now(UTC), model="m", rows=1, red=False, reasons=(), feature_drift=None, score_drift=None,
        performance=None,
    )  # fmt: skip
    assert not readiness.good_in_use(())
    assert not readiness.good_in_use((window,)), "without labels nobody knows"
    assert readiness.good_in_use((window.model_copy(update={"performance": 0.8}),))
    assert not readiness.good_in_use((window.model_copy(update={"performance": 0.8, "red": True}),))


def test_the_smallest_section_is_the_score(promoted: Project) -> None:
    points = readiness.judge(readiness.Evidence())
    by_section = readiness.scores(points)
    assert readiness.describe(points)[0].startswith(f"Readiness: {min(by_section.values()):g} of 7")
    assert min(by_section.values()) < max(by_section.values())
