"""The page that a reviewer sees of a change."""

import json
import subprocess
import sys

import pytest
from twoloops.delivery import report
from twoloops.errors import ProjectError
from twoloops.hosts.web import HostError
from twoloops.paths import paths

from tests.engine.support.hosting import Host
from tests.engine.support.project import Project, prepare_graph
from tests.engine.support.verbs import call


@pytest.fixture(autouse=True)
def _hosted_there(project: Project, hosted: Host) -> None:
    project.configure(host="stand_in")


def test_the_report_tells_the_verdict_and_is_put_on_the_change(project: Project, hosted: Host) -> None:
    told = call("report", "--publish")
    assert told.exit_code == 0, told.output
    page = paths().change_page.read_text(encoding="utf-8")
    assert hosted.summary == page
    assert page.startswith(report.MARK)
    assert "**Verdict: green.**" in page
    slices = json.loads(paths().verdict.read_text(encoding="utf-8"))["slices"]
    assert ("## By slice" in page) == bool(slices)
    assert all(f"| {name} |" in page for name in slices)
    assert "https://host.invalid/run" in page
    assert hosted.asked == ["comment 7"]
    lines = (paths().reports / "metrics.txt").read_text(encoding="utf-8").splitlines()
    assert all(float(line.split(" ")[1]) == float(line.split(" ")[1]) for line in lines)


def test_the_report_names_what_a_red_verdict_misses(project: Project, hosted: Host) -> None:
    project.set(gate__minimum_gain_over_baseline=1e9)
    assert call("evaluate").exit_code == 2
    assert "**Verdict: red.** 1 of" in report.report().read_text(encoding="utf-8")


def test_the_report_names_broken_rules_of_the_contract(project: Project, hosted: Host) -> None:
    prepare_graph(project)
    rows = project.rows()
    project.put(rows.drop(columns=rows.columns[-1]))
    told = call("run", "--force", "--until", "prepare")
    assert isinstance(told.exception, ProjectError)
    page = report.report().read_text(encoding="utf-8")
    assert "the step `prepare` stopped" in page
    assert str(rows.columns[-1]) in page


def test_the_report_compares_with_the_main_branch(
    project: Project, hosted: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
    metrics = paths().metrics
    now = metrics.read_text(encoding="utf-8")
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], check=True)
    before = json.loads(now)
    key = next(name for name, value in before.items() if isinstance(value, float))
    metrics.write_text(json.dumps(before | {key: before[key] - 0.25}), encoding="utf-8")
    subprocess.run(["git", "add", "--force", "dvc.yaml", "params.yaml", str(paths().metrics)], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "before"], check=True)
    metrics.write_text(now, encoding="utf-8")
    hosted.target = "main"
    page = report.report().read_text(encoding="utf-8")
    assert "## Metrics, against main" in page
    assert f"| {key} | " in page
    assert "+0.25" in page


def test_a_change_from_a_fork_is_not_commented(project: Project, hosted: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    hosted.fork = True
    told = call("report", "--publish")
    assert told.exit_code == 0
    assert "from a fork" in told.output
    assert not hosted.asked


def test_a_refused_comment_is_told_and_does_not_fail(
    project: Project, hosted: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: str) -> str:
        raise HostError("The host answers 403.", 403, hint="Give the token the right.")

    monkeypatch.setattr(hosted, "comment", refuse)
    told = call("report", "--publish")
    assert told.exit_code == 0
    assert "with the run only" in told.output
    assert "Give the token the right." in told.output
