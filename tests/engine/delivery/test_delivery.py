"""What the flows show, scan and set up, with a code host that only writes down what it is asked."""

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from twoloops import registry, storage
from twoloops.contracts.host import State, Step, Wanted
from twoloops.delivery import episode, report, supply_chain
from twoloops.errors import ProjectError
from twoloops.hosts import host, setup
from twoloops.hosts.azure_devops import Issue
from twoloops.hosts.web import Client, HostError
from twoloops.inner_loop import fetch
from twoloops.params import ScanParams

from tests.engine.support.project import Project
from tests.engine.support.verbs import call


class Host:
    """Stands in for the code host."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.issues: dict[str, Issue] = {}
        self.summary = ""

    def comment(self, number: str, mark: str, body: str) -> str:
        assert mark in body
        self.asked.append(f"comment {number}")
        return "https://host.invalid/comment"

    def add_summary(self, markdown: Path) -> None:
        self.summary = markdown.read_text(encoding="utf-8")

    def find_issue(self, label: str) -> Issue | None:
        return self.issues.get(label)

    def open_issue(self, title: str, body: str, label: str) -> Issue:
        assert label not in self.issues
        self.issues[label] = Issue("1", "https://host.invalid/1", body)
        self.asked.append(f"open {label}")
        return self.issues[label]

    def update_issue(self, issue: Issue, body: str) -> None:
        self.asked.append("update")

    def close_issue(self, issue: Issue, body: str) -> None:
        self.asked.append("close")
        self.issues.clear()

    def start(self, flow: str, inputs: dict[str, str]) -> str | None:
        self.asked.append(f"start {flow} {inputs['reason']}")
        return None

    def propose(self, branch: str, title: str, body: str) -> str:
        self.asked.append(f"propose {branch}: {title}")
        return "https://host.invalid/change"


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> Host:
    stand_in = Host()
    for name in [name for name in vars(Host) if not name.startswith("_")]:
        monkeypatch.setattr(host, name, getattr(stand_in, name))
    monkeypatch.setattr(host, "change", lambda: "7")
    monkeypatch.setattr(host, "base", lambda: None)
    monkeypatch.setattr(host, "from_fork", lambda: False)
    monkeypatch.setattr(host, "run_url", lambda: "https://host.invalid/run")
    return stand_in


def test_the_report_tells_the_verdict_and_is_put_on_the_change(project: Project, hosted: Host) -> None:
    told = call("report", "--publish")
    assert told.exit_code == 0, told.output
    page = (project.folder / report.PAGE).read_text(encoding="utf-8")
    assert hosted.summary == page
    assert page.startswith(report.MARK)
    assert "**Verdict: green.**" in page
    slices = json.loads(storage.VERDICT.read_text(encoding="utf-8"))["slices"]
    assert ("## By slice" in page) == bool(slices)
    assert all(f"| {name} |" in page for name in slices)
    assert "https://host.invalid/run" in page
    assert hosted.asked == ["comment 7"]
    lines = (project.folder / report.OPEN_METRICS).read_text(encoding="utf-8").splitlines()
    assert all(float(line.split(" ")[1]) == float(line.split(" ")[1]) for line in lines)


def test_the_report_names_what_a_red_verdict_misses(project: Project, hosted: Host) -> None:
    project.set(gate__minimum_gain_over_baseline=1e9)
    assert call("evaluate").exit_code == 2
    assert "**Verdict: red.** 1 of" in report.report().read_text(encoding="utf-8")


def test_the_report_names_broken_rules_of_the_contract(project: Project, hosted: Host) -> None:
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["dvc", "init", "--quiet"], check=True)
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
    metrics = project.folder / storage.METRICS
    now = metrics.read_text(encoding="utf-8")
    root = Path(__file__).parents[1]
    (project.folder / "dvc.yaml").write_text((root / "dvc.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main"], check=True)
    subprocess.run(["dvc", "init", "--quiet"], check=True)
    before = json.loads(now)
    key = next(name for name, value in before.items() if isinstance(value, float))
    metrics.write_text(json.dumps(before | {key: before[key] - 0.25}), encoding="utf-8")
    subprocess.run(["git", "add", "--force", "dvc.yaml", "params.yaml", str(storage.METRICS)], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "before"], check=True)
    metrics.write_text(now, encoding="utf-8")
    monkeypatch.setattr(host, "base", lambda: "main")
    page = report.report().read_text(encoding="utf-8")
    assert "## Metrics, against main" in page
    assert f"| {key} | " in page
    assert "+0.25" in page


def test_a_change_from_a_fork_is_not_commented(project: Project, hosted: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "from_fork", lambda: True)
    told = call("report", "--publish")
    assert told.exit_code == 0
    assert "from a fork" in told.output
    assert not hosted.asked


def test_a_refused_comment_is_told_and_does_not_fail(
    project: Project, hosted: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: str) -> str:
        raise HostError("The host answers 403.", 403, hint="Give the token the right.")

    monkeypatch.setattr(host, "comment", refuse)
    told = call("report", "--publish")
    assert told.exit_code == 0
    assert "with the run only" in told.output
    assert "Give the token the right." in told.output


def found(decision: str, *, retrain: bool = False) -> dict[str, Any]:
    return {
        "decision": decision,
        "retrain": retrain,
        "at": "2026-01-01T00:00:00+00:00",
        "reasons": ["the world changed"],
        "cooling_until": None,
        "model": {"version": "1", "identity": "0" * 64},
        "window": {"rows": 1000},
    }


def test_an_episode_of_drift_has_one_issue(project: Project, hosted: Host) -> None:
    for result in (found("red", retrain=True), found("red"), found("waiting"), found("green"), found("green")):
        episode.respond(result, ["a line"], lambda line: None)
    assert hosted.asked == ["open drift", "start train drift: the world changed", "update", "close"]
    assert "**Verdict: green**" in hosted.summary


def test_the_monitor_has_nothing_to_watch_before_the_first_model(project: Project, hosted: Host) -> None:
    told = call("monitor", "--respond")
    assert told.exit_code == 0, told.output
    assert "nothing to watch" in told.output
    assert "nothing to watch" in hosted.summary
    assert (project.folder / "reports/monitoring/summary.md").exists(), "the flow keeps the folder as an artifact"
    assert not hosted.asked


def test_fetch_simulates_only_what_is_called_simulated(project: Project) -> None:
    assert fetch.fetch("data/raw/rows.parquet") == fetch.HERE
    assert fetch.fetch("s3://bucket/rows.parquet") == fetch.URL
    assert fetch.fetch("data/raw/simulated.parquet") == fetch.SIMULATED
    with pytest.raises(ProjectError, match="not here") as raised:
        fetch.fetch("data/raw/customers.parquet")
    assert "dvc add" in raised.value.hint


def test_fetch_pulls_what_dvc_keeps(project: Project) -> None:
    project.set(data__source="data/raw/rows.parquet")
    subprocess.run(["git", "init", "--quiet"], check=True)
    for words in (["init"], ["remote", "add", "--default", "kept", "kept"], ["add", "data/raw/rows.parquet"], ["push"]):
        subprocess.run(["dvc", *words, "--quiet"], check=True)
    (project.folder / "data/raw/rows.parquet").unlink()
    told = call("fetch")
    assert told.exit_code == 0, told.output
    assert "from DVC's remote" in told.output
    assert (project.folder / "data/raw/rows.parquet").exists()


def test_another_registry_gets_the_model_too(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.place() == "beside params.yaml"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert registry.place() == "beside params.yaml"
    places = set()
    for login in ("one", "another"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://{login}@registry.invalid")
        places.add(registry.place())
    assert len(places) == 1
    assert "beside params.yaml" not in places


class Advisories(BaseHTTPRequestHandler):
    """Knows of the severity of one advisory."""

    def do_GET(self) -> None:
        rated = self.path.endswith("GHSA-rated")
        body = json.dumps({"database_specific": {"severity": "MODERATE"}} if rated else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name of the base class
        pass


@pytest.fixture
def advisories(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Advisories)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("OSV_URL", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("advisories")
def test_findings_close_the_gate_from_a_level_on(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        {
            "dependency": {"name": "left-pad", "version": "1"},
            "id": name,
            "aliases": [],
            "summary": None,
            "fix_versions": ["2"],
        }
        for name in ("GHSA-rated", "PYSEC-unrated", "GHSA-accepted")
    ]
    answers = {
        "detect_secrets": {"results": {"a.py": [{"type": "Key", "line_number": 3, "hashed_secret": "0"}]}},
        "audit": {"summary": {"audited_packages": 9}, "vulnerabilities": entries},
    }

    def tool(command: list[str], **_: Any) -> str:
        return next((json.dumps(answer) for name, answer in answers.items() if name in command), "")

    monkeypatch.setattr(supply_chain, "_run", tool)
    result = supply_chain.scan(ScanParams(fail_on="high", accepted=("GHSA-accepted",)), ["online"], None)
    assert [each["level"] for each in result["findings"]] == ["critical", "moderate", "high"]
    assert [each["level"] for each in result["refused"]] == ["critical", "high"]
    known = {"results": {"a.py": [{"type": "Key", "line_number": 3, "hashed_secret": "0"}]}}
    (project.folder / supply_chain.BASELINE).write_text(json.dumps(known), encoding="utf-8")
    assert len(supply_chain.scan(ScanParams(), [], None)["findings"]) == 3
    assert "moderate: left-pad 1" in report.report().read_text(encoding="utf-8")
    told = call("scan")
    assert told.exit_code == 2
    assert "scan.accepted" in told.output


def test_an_audit_that_could_not_look_is_no_green_one(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSV_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(supply_chain, "_secrets", list)
    with pytest.raises(ProjectError, match="uv audit failed"):
        supply_chain.scan(ScanParams(), [], None)


class Made:
    """A code host's settings, and what is remembered of them."""

    def __init__(self) -> None:
        self.there = {"label drift"}
        self.note: list[str] = []

    def plan(self, wanted: Wanted) -> list[Step]:
        names = ["label drift", *[f"environment {name}" for name in wanted.environments]]
        return [self._step(name) for name in names]

    def _step(self, name: str) -> Step:
        state = State.there if name in self.there else State.missing
        return Step(name, "", state, lambda: self.there.add(name), lambda: self.there.remove(name))

    def remember(self, names: list[str]) -> None:
        self.note = list(names)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Made:
    made = Made()
    monkeypatch.setattr(setup, "preflight", list)
    monkeypatch.setattr(setup, "plan", made.plan)
    monkeypatch.setattr(setup, "remember", made.remember)
    monkeypatch.setattr(setup, "remembered", lambda: list(made.note))
    return made


def test_bootstrap_is_planned_done_once_and_undone(settings: Made) -> None:
    before = set(settings.there)
    planned = call("bootstrap", "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert "missing" in planned.output
    assert settings.there == before
    assert call("bootstrap", "--yes").exit_code == 0
    assert settings.there > before
    assert "Everything is there." in call("bootstrap", "--yes").output
    assert call("bootstrap", "--undo", "--yes").exit_code == 0
    assert settings.there == before, "what was there before is left alone"
    assert settings.note == []


def test_bootstrap_says_what_stands_in_the_way(settings: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "preflight", lambda: ["The login has expired: make a new token."])
    told = call("bootstrap", "--yes")
    assert isinstance(told.exception, ProjectError)
    assert "expired" in str(told.exception)
    relative = call("bootstrap", "--state", "here")
    assert "absolute path" in str(relative.exception)


def test_no_answer_from_the_host_is_told_in_words() -> None:
    client = Client("The host", "http://127.0.0.1:9", {}, "")
    with pytest.raises(HostError, match="does not answer"):
        client.ask("POST", "anything", {})
