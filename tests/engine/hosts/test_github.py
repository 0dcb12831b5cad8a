"""GitHub as the flows use it: a server on this machine gives its answers, and keeps what it was asked."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from twoloops.contracts.host import Issue, SetupRequest, State
from twoloops.errors import ProjectError
from twoloops.hosts.github import host, settings
from twoloops.hosts.web import HostError

from tests.engine.support.configuration import configure

REPOSITORY = "repos/team/model"
BOT = {"login": "github-actions[bot]", "type": "Bot"}
Asked = list[tuple[str, str, Any]]  # method, path, content


class GitHub:
    """What the server answers to a method and a path: a status and content, the last one again and again."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.asked: Asked = []

    def say(self, request: str, *contents: Any, status: int = 200) -> None:
        self.answers[request] = [(status, content) for content in contents]

    def changes(self) -> Asked:
        """Return what was asked and was not only reading."""
        return [each for each in self.asked if each[0] != "GET"]


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[GitHub]:
    known = GitHub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0].lstrip("/")
            known.asked.append((self.command, path, json.loads(body) if body else None))
            answers = known.answers.get(f"{self.command} {path}", [(404, {"message": "Not Found"})])
            status, content = answers.pop(0) if len(answers) > 1 else answers[0]
            sent = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    event, output = tmp_path / "event.json", tmp_path / "output"
    event.write_text(json.dumps({"pull_request": pull_request("team/model")}))
    for name, value in {
        "GITHUB_ACTIONS": "true",
        "GITHUB_API_URL": f"http://127.0.0.1:{server.server_port}",
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_OUTPUT": str(output),
        "GITHUB_REPOSITORY": "team/model",
        "GITHUB_RUN_ID": "7",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_STEP_SUMMARY": str(output),
        "GITHUB_TOKEN": "token",
    }.items():
        monkeypatch.setenv(name, value)
    configure(tmp_path, host="github")
    monkeypatch.chdir(tmp_path)
    yield known
    server.shutdown()
    thread.join()
    server.server_close()


def pull_request(source: str | None) -> dict[str, Any]:
    head = {"repo": {"full_name": source} if source else None}
    return {"number": 5, "head": head, "base": {"ref": "main", "repo": {"full_name": "team/model"}}}


def test_a_run_knows_what_it_checks(github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.run_url() == "https://github.com/team/model/actions/runs/7"
    assert (host.change(), host.base(), host.from_fork()) == ("5", "origin/main", False)
    for source in ("stranger/model", None):
        (tmp_path / "event.json").write_text(json.dumps({"pull_request": pull_request(source)}))
        assert host.from_fork()
    monkeypatch.setenv("GITHUB_EVENT_NAME", "push")
    assert (host.change(), host.base(), host.from_fork()) == (None, None, False)
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert (host.run_url(), host.change(), host.in_flow()) == (None, None, False)


def test_values_and_pages_reach_the_run(github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, page = tmp_path / "output", tmp_path / "page.md"
    host.set_output("version", "3\nother=4")
    name, value, more, _ = output.read_text().splitlines()
    assert name.startswith("version<<")
    assert (value, more) == ("3", "other=4")
    page.write_text("# é" + "x" * host.MOST_BYTES)
    output.write_text("")
    host.add_summary(page)
    assert len(output.read_bytes()) < 2**20
    assert "cut here" in output.read_text()
    monkeypatch.delenv("GITHUB_ACTIONS")
    output.write_text("")
    host.set_output("version", "3")
    host.add_summary(page)
    assert not output.read_text()


def test_there_is_one_comment(github: GitHub) -> None:
    comments = f"{REPOSITORY}/issues/5/comments"
    mine = {"id": 2, "body": "<!-- m -->\nnew", "html_url": "url/2", "user": BOT}
    foreign = {"id": 1, "body": "<!-- m -->\nof a person", "html_url": "url/1", "user": {"type": "User"}}
    github.say(f"GET {comments}", [foreign], [foreign, mine])
    github.say(f"POST {comments}", mine, status=201)
    assert host.comment("5", "<!-- m -->", "new") == "url/2"
    github.say(f"PATCH {REPOSITORY}/issues/comments/2", mine)
    assert host.comment("5", "<!-- m -->", "x" * 70_000) == "url/2"
    assert [(method, path) for method, path, _ in github.changes()] == [
        ("POST", comments),
        ("PATCH", f"{REPOSITORY}/issues/comments/2"),
    ]
    assert len(github.changes()[-1][2]["body"]) < 65_536


def test_of_two_comments_and_issues_at_the_same_moment_the_first_stays(github: GitHub) -> None:
    comments = f"{REPOSITORY}/issues/5/comments"
    first, second = ({"id": id_, "body": "<!-- m -->", "html_url": f"url/{id_}", "user": BOT} for id_ in (1, 2))
    github.say(f"GET {comments}", [], [first, second])
    github.say(f"POST {comments}", second, status=201)
    github.say(f"DELETE {REPOSITORY}/issues/comments/2", None, status=204)
    github.say(f"PATCH {REPOSITORY}/issues/comments/1", first)
    assert host.comment("5", "<!-- m -->", "new") == "url/1"

    one, two = ({"number": number, "body": None, "html_url": f"url/{number}"} for number in (1, 2))
    github.say(f"GET {REPOSITORY}/issues", [one | {"pull_request": {}}], [one, two])
    assert host.find_issue("drift") is None
    github.say(f"POST {REPOSITORY}/issues", two, status=201)
    github.say(f"PATCH {REPOSITORY}/issues/2", two)
    assert host.open_issue("Drift", "much", "drift") == Issue("1", "url/1", "")
    assert github.changes()[-1][2]["state"] == "closed"


def test_an_issue_is_kept_up_to_date_and_closed(github: GitHub) -> None:
    issue = Issue("4", "url/4", "")
    github.say(f"PATCH {REPOSITORY}/issues/4", {})
    github.say(f"POST {REPOSITORY}/issues/4/comments", {}, status=201)
    host.update_issue(issue, "more")
    host.close_issue(issue, "over")
    assert [content for *_, content in github.changes()] == [
        {"body": "more"},
        {"body": "over"},
        {"state": "closed", "state_reason": "completed"},
    ]


def test_flows_are_started_and_changes_proposed(github: GitHub) -> None:
    dispatches, pulls = f"{REPOSITORY}/actions/workflows/train.yml/dispatches", f"{REPOSITORY}/pulls"
    github.say(f"POST {dispatches}", {"html_url": "run"})
    assert host.start("train", {"reason": "drift"}) == "run"
    assert github.changes()[-1][2]["inputs"] == {"reason": "drift"}

    github.say(f"GET {pulls}", [], [{"number": 9}])
    github.say(f"POST {pulls}", {"html_url": "pull"}, status=201)
    github.say(f"PATCH {pulls}/9", {"html_url": "pull"})
    assert host.propose("update", "New", "body") == host.propose("update", "New", "body") == "pull"
    assert [method for method, *_ in github.changes()] == ["POST", "POST", "PATCH"]
    github.say(f"PATCH {pulls}/9", {"message": "Actions is not permitted to create pull requests"}, status=403)
    with pytest.raises(HostError) as caught:
        host.propose("update", "New", "body")
    assert "bootstrap" in caught.value.hint


def test_a_missing_login_is_told(github: GitHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "")
    with pytest.raises(ProjectError, match="GITHUB_TOKEN is not set"):
        host.find_issue("drift")
    monkeypatch.delenv("GITHUB_ACTIONS")
    monkeypatch.setenv("PATH", str(tmp_path))
    (line,) = settings.preflight()
    assert "gh auth login" in line
    (tmp_path / "gh").write_text("#!/bin/sh\necho theirs\n")
    (tmp_path / "gh").chmod(0o700)
    github.say(f"GET {REPOSITORY}/issues", [])
    assert host.find_issue("drift") is None


@pytest.mark.parametrize(
    ("remote", "interface"),
    [
        ("https://github.com/team/model.git", "https://api.github.com"),
        ("https://token@github.com/team/model", "https://api.github.com"),
        ("git@github.com:team/model.git", "https://api.github.com"),
        ("ssh://git@git.example.com:2222/team/model.git", "https://git.example.com/api/v3"),
        ("https://team.ghe.com/team/model", "https://api.team.ghe.com"),
    ],
)
def test_remotes(remote: str, interface: str) -> None:
    found = host.REMOTE.fullmatch(remote)
    assert found is not None
    assert found["name"] == "team/model"
    assert host._interface(found["server"]) == interface


def test_a_remote_elsewhere_is_refused(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_REPOSITORY")
    with pytest.raises(ProjectError, match="names no repository on GitHub"):
        host.repository()


def found(**changes: Any) -> dict[str, Any]:
    owner = {"login": "team", "type": "Organization"}
    usual = {"default_branch": "main", "has_issues": True, "permissions": {"admin": True}, "private": False}
    return {"owner": owner, **usual, **changes}


def test_what_stands_in_the_way(github: GitHub) -> None:
    assert "no repository" in settings.preflight()[0]
    github.say(f"GET {REPOSITORY}", {"message": "Bad credentials"}, status=401)
    assert "Bad credentials" in settings.preflight()[0]
    github.say(f"GET {REPOSITORY}", found(default_branch="trunk", has_issues=False, permissions={"admin": False}))
    assert len(settings.preflight()) == 3
    github.say(f"GET {REPOSITORY}", found())
    assert len(settings.preflight()) == 2
    for path in ("permissions/workflow", "variables"):
        github.say(f"GET {REPOSITORY}/actions/{path}", {})
    assert settings.preflight() == []


def test_everything_is_made_and_taken_back(github: GitHub) -> None:
    right = f"{REPOSITORY}/actions/permissions/workflow"
    policies = f"{REPOSITORY}/environments/production/deployment-branch-policies"
    of_flows = f"{REPOSITORY}/environments/flows/deployment-branch-policies"
    github.say(f"GET {of_flows}", {"branch_policies": [{"id": 2, "name": "main"}]})
    github.say(f"PUT {REPOSITORY}/environments/flows", None, status=204)
    github.say(f"DELETE {REPOSITORY}/environments/flows", None, status=204)
    github.say(f"GET {REPOSITORY}", found())
    github.say("GET orgs/team/teams/owners", {"id": 8})
    github.say(f"GET orgs/team/teams/owners/{REPOSITORY}", None, status=204)
    github.say(f"GET {right}", {"can_approve_pull_request_reviews": False})
    github.say(f"GET {REPOSITORY}/rulesets", [], [], [{"id": 3, "name": "main"}])
    github.say(f"GET {REPOSITORY}/rulesets/3", {"id": 3} | settings.RULESET)
    github.say(f"GET {policies}", {"branch_policies": []}, {"branch_policies": [{"id": 1, "name": "dev"}]})
    for request in (
        f"POST {REPOSITORY}/labels", f"POST {REPOSITORY}/actions/variables", f"PUT {right}",
        f"PUT {REPOSITORY}/environments/production", f"POST {policies}", f"POST {REPOSITORY}/rulesets",
        f"DELETE {policies}/1", f"DELETE {REPOSITORY}/rulesets/3",
    ):  # fmt: skip
        github.say(request, None, status=204)
    steps = settings.plan(SetupRequest(("production",), ("owners",), {"RUNNER": "ours"}))
    assert [step.state for step in steps] == [State.missing] * 7
    for step in steps:
        assert step.do
        step.do()
    reviewers = [content["reviewers"] for method, path, content in github.changes() if path.endswith("/production")]
    assert reviewers == [None, [{"type": "Team", "id": 8}]]
    # What lets the flow go on by itself is said after the reviewers are there, and taken back before they are gone.
    written = [
        content for _, path, content in github.changes() if content and ("reviewers" in content or "value" in content)
    ]
    assert written[-1] == {"name": "APPROVAL", "value": "enforced"}
    for step in reversed(steps):
        assert step.undo
        step.undo()
    removed = [path for method, path, _ in github.changes() if method == "DELETE"]
    assert removed[-4:] == [f"{REPOSITORY}/{path}" for path in (
        "environments/production", "environments/flows", "actions/variables/RUNNER", "labels/drift",
    )]  # fmt: skip


def test_what_a_plan_does_not_have_is_by_hand(github: GitHub) -> None:
    github.say(f"GET {REPOSITORY}", found(private=True))
    github.say("GET orgs/team", {"login": "team", "plan": {"name": "free"}})
    github.say(f"GET {REPOSITORY}/rulesets", {"message": "Upgrade to GitHub Pro"}, status=403)
    github.say(f"GET {REPOSITORY}/actions/permissions/workflow", {"can_approve_pull_request_reviews": True})
    states = [step.state for step in settings.plan(SetupRequest(("production",)))]
    assert states == [State.missing, State.there, *[State.by_hand] * 4]
    with pytest.raises(ProjectError, match="called nobody"):
        settings.plan(SetupRequest(("production",), ("nobody",)))


def test_a_plan_that_lost_approvals_no_longer_claims_them(github: GitHub) -> None:
    noted = f"{REPOSITORY}/actions/variables/APPROVAL"
    github.say(f"GET {REPOSITORY}", found(private=True))
    github.say("GET orgs/team", {"login": "team", "plan": {"name": "team"}})
    github.say(f"GET {noted}", {"value": "enforced"})
    github.say(f"DELETE {noted}", None, status=204)
    approval = next(step for step in settings.plan(SetupRequest(("production",))) if step.name.startswith("approval"))
    assert (approval.state, "started by hand" in approval.about) == (State.differs, True)
    assert approval.do
    approval.do()
    assert [(method, path) for method, path, _ in github.changes()] == [("DELETE", noted)]


def test_the_note_of_what_was_made(github: GitHub) -> None:
    note = f"{REPOSITORY}/actions/variables/{settings.NOTE}"
    assert settings.list_made() == []
    github.say(f"GET {note}", {"value": '["label drift"]'})
    github.say(f"PATCH {note}", None, status=204)
    assert settings.list_made() == ["label drift"]
    settings.save_made(["label drift", "more"])
    settings.save_made([])
    assert [method for method, *_ in github.changes()] == ["PATCH", "DELETE"]
