"""What every code host keeps to, whatever it is: the suite of `contracts.host.CodeHost`.

A host's test module has a class that inherits `HostConformance` and a fixture `subject`, which gives a project on this
host, emulated on loopback, and what the suite cannot know of it: `Subject`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from twoloops import config, plugins
from twoloops.contracts.host import CodeHost, Setup, SetupRequest, State
from twoloops.delivery import bootstrap
from twoloops.errors import ProjectError
from twoloops.hosts import azure_devops, github, gitlab

# Each host as mypy sees it: a name or a type that differs from the contract's is an error there.
HOSTS: Mapping[str, CodeHost] = {"azure_devops": azure_devops, "github": github, "gitlab": gitlab}
WANTED = SetupRequest(("staging", "production"), (), {"MLFLOW_TRACKING_URI": "https://mlflow.example"})


@dataclass
class Subject:
    """A code host, with a project's repository and a job of a flow that checks a change."""

    host: CodeHost
    change: str  # its number
    job: Mapping[str, str]  # the variables of the job
    fork: Mapping[str, str]  # those that differ when the change comes from a fork
    login: str  # the variable with the login
    comments: Callable[[], list[str]]  # on the change, as the host has them
    temporary: Path  # the runner's folder for the job's own files


class HostConformance:
    """The suite."""

    @pytest.fixture
    def host(self, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> CodeHost:
        """Return the host, as the job sees it."""
        for name, value in subject.job.items():
            monkeypatch.setenv(name, value)
        return subject.host

    # ------------------------------------------------------------------ what it says of itself

    def test_it_is_found_by_its_name(self, subject: Subject) -> None:
        name = config.current().host
        assert name in {point.name for point in entry_points(group="twoloops.hosts")}
        assert plugins.find("hosts", name) is subject.host

    def test_it_has_every_name_of_the_contract(self, subject: Subject) -> None:
        names = {name for name in vars(CodeHost) if not name.startswith("_")}
        assert {name for name in names if not hasattr(subject.host, name)} == set()
        assert subject.host.NAME
        names = {name for name in vars(Setup) if not name.startswith("_")}
        for _ in range(2):  # a module of the same name as a function takes its place when it is loaded
            assert {name for name in names if not hasattr(subject.host.setup(), name)} == set()

    # ------------------------------------------------------------------ jobs

    def test_outside_a_flow(self, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in subject.job:
            monkeypatch.delenv(name, raising=False)
        host = subject.host
        assert not host.in_flow()
        assert (host.run_url(), host.change(), host.base(), host.from_fork()) == (None, None, None, False)
        (tmp_path / "page.md").write_text("# Page", encoding="utf-8")
        host.set_output("version", "3")
        host.add_summary(tmp_path / "page.md")
        refused: list[Callable[[], object]] = [
            lambda: host.token("anybody"),
            lambda: host.set_variable("NAME", "value"),
            host.temporary_folder,
        ]
        for call in refused:
            with pytest.raises(ProjectError) as error:
                call()
            assert error.value.hint

    def test_a_job_knows_what_it_checks(
        self, host: CodeHost, subject: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert host.in_flow()
        assert str(host.run_url()).startswith("http")
        assert (host.change(), host.base(), host.from_fork()) == (subject.change, "origin/main", False)
        assert host.temporary_folder() == subject.temporary
        for name, value in subject.fork.items():
            monkeypatch.setenv(name, value)
        assert host.from_fork()

    def test_a_job_without_the_right_gets_no_token(self, host: CodeHost) -> None:
        with pytest.raises(ProjectError, match="token") as refused:
            host.token("anybody")
        assert refused.value.hint

    def test_how_its_tokens_name_the_repository(self, host: CodeHost) -> None:
        assert all(isinstance(value, str) for value in host.identifiers().values())
        assert all(isinstance(value, str) for value in host.variables().values())

    # ------------------------------------------------------------------ what people see

    def test_a_comment_is_replaced_by_the_next_one_with_its_mark(self, host: CodeHost, subject: Subject) -> None:
        first = host.comment(subject.change, "<!-- one -->", "<!-- one -->\nfirst")
        assert first.startswith("http")
        assert host.comment(subject.change, "<!-- one -->", "second") == first
        assert host.comment(subject.change, "<!-- two -->", "another") != first
        bodies = sorted(subject.comments())
        assert len(bodies) == 2
        assert bodies[0].startswith("<!-- one -->")
        assert "second" in bodies[0]
        assert "first" not in bodies[0]

    def test_an_issue_is_opened_found_and_closed(self, host: CodeHost) -> None:
        assert host.find_issue("drift") is None
        made = host.open_issue("Drift", "It drifts.", "drift")
        assert made.url.startswith("http")
        found = host.find_issue("drift")
        assert found is not None
        assert (found.number, found.url, found.body) == (made.number, made.url, "It drifts.")
        assert host.find_issue("another") is None
        host.update_issue(found, "It drifts more.")
        found = host.find_issue("drift")
        assert found is not None
        assert (found.number, found.body) == (made.number, "It drifts more.")
        host.close_issue(found, "It drifts no more.")
        assert host.find_issue("drift") is None
        assert host.open_issue("Drift", "Again.", "drift").number != made.number

    def test_a_branch_is_proposed_once(self, host: CodeHost) -> None:
        first = host.propose("newer", "Take the newer template", "Why.")
        assert first.startswith("http")
        assert host.propose("newer", "Take the newest template", "Why.") == first

    # ------------------------------------------------------------------ its settings

    def test_it_is_set_up_again_and_again_and_taken_back(self, host: CodeHost) -> None:
        assert host.setup().preflight() == []
        assert host.setup().list_made() == []
        told: list[str] = []
        steps = bootstrap.prepare(WANTED)
        assert len({step.name for step in steps}) == len(steps)
        assert {step.state for step in steps} <= {State.missing, State.by_hand, State.differs, State.there}
        assert all(step.about for step in steps if step.state == State.by_hand), "people are told what to do"
        assert bootstrap.apply(steps, told.append) == len(told) > 0
        again = bootstrap.prepare(WANTED)
        assert [step.name for step in again] == [step.name for step in steps]
        assert bootstrap.apply(again, told.append) == 0
        made = {step.name for step in steps if step.state == State.missing}
        assert made == set(host.setup().list_made())
        address = host.start("train", {})
        assert address is None or address.startswith("http")
        bootstrap.undo(again, told.append)
        assert host.setup().list_made() == []
        assert {step.name for step in bootstrap.prepare(WANTED) if step.state == State.missing} == made

    def test_without_a_login(self, host: CodeHost, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(subject.login)
        monkeypatch.setenv("PATH", "/nowhere")  # no program of the host's that is logged in
        (line,) = host.setup().preflight()
        assert subject.login in line or "log in" in line.lower()
        calls: list[Callable[[], object]] = [
            lambda: host.find_issue("drift"),
            lambda: host.propose("newer", "Title", "Body"),
            lambda: host.start("train", {}),
        ]
        for call in calls:
            with pytest.raises(ProjectError) as refused:
                call()
            assert refused.value.hint

    def test_a_login_that_is_wrong(self, host: CodeHost, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(subject.login, "wrong")
        assert any("expired" in line for line in host.setup().preflight())
        with pytest.raises(ProjectError, match="expired") as refused:
            host.find_issue("drift")
        assert refused.value.hint
