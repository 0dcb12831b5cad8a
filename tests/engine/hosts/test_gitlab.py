"""GitLab as the flows use it: a server on this machine gives its answers, and keeps what it was asked."""

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from twoloops.contracts.host import Issue, SetupRequest, State, Step
from twoloops.errors import ProjectError
from twoloops.hosts.gitlab import host, settings
from twoloops.hosts.web import HostError

from tests.engine.support.configuration import configure

PROJECT = "projects/7"
NOTES = f"{PROJECT}/merge_requests/3/notes"
REMOVED = (
    "approval_rules/1",
    "environments/1",
    "labels/drift",
    "pipeline_schedules/1",
    "protected_branches/main",
    "protected_environments/production",
    "variables/MLFLOW_TRACKING_URI",
    "variables/RUNNER",
)
Asked = list[tuple[str, str, Any]]  # method, path, content


class GitLab:
    """What the server answers to a method and a path: a status and contents, the last one again and again."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.asked: Asked = []

    def say(self, request: str, *contents: Any, status: int = 200) -> None:
        self.answers[request] = [(status, content) for content in contents]

    def changes(self) -> Asked:
        """Return what was asked and was not only reading."""
        return [each for each in self.asked if each[0] != "GET"]


@pytest.fixture
def gitlab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[GitLab]:
    known = GitLab()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0].removeprefix("/api/v4/")
            known.asked.append((self.command, path, json.loads(body) if body else None))
            answers = known.answers.get(f"{self.command} {path}", [(404, {"message": "404 Not found"})])
            status, content = answers.pop(0) if len(answers) > 1 else answers[0]
            sent = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name, value in {
        "GITLAB_CI": "true",
        "GITLAB_TOKEN": "token",
        "GITLAB_REPORT_TOKEN": "a reporter's",
        "CI_API_V4_URL": f"http://127.0.0.1:{server.server_port}/api/v4",
        "CI_DEFAULT_BRANCH": "main",
        "CI_JOB_URL": "https://gitlab.example/team/model/-/jobs/9",
        "CI_MERGE_REQUEST_IID": "3",
        "CI_MERGE_REQUEST_PROJECT_ID": "7",
        "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "7",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_PROJECT_ID": "7",
        "CI_PROJECT_URL": "https://gitlab.example/team/model",
    }.items():
        monkeypatch.setenv(name, value)
    configure(tmp_path, host="gitlab")
    monkeypatch.chdir(tmp_path)
    yield known
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_a_job_knows_of_itself(gitlab: GitLab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.in_flow()
    assert host.run_url() == "https://gitlab.example/team/model/-/jobs/9"
    assert (host.change(), host.base(), host.from_fork()) == ("3", "origin/main", False)
    monkeypatch.setenv("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "8")
    assert host.from_fork()
    for name in ("GITLAB_CI", "CI_JOB_URL", "CI_MERGE_REQUEST_IID", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME"):
        monkeypatch.delenv(name)
    monkeypatch.delenv("CI_MERGE_REQUEST_SOURCE_PROJECT_ID")
    assert not host.in_flow()
    assert (host.run_url(), host.change(), host.base(), host.from_fork()) == (None, None, None, False)


def test_what_a_job_hands_on(
    gitlab: GitLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "change.md"
    page.write_text("# Better")
    host.set_output("version", "3")
    host.set_output("other", "x")
    host.set_output("version", "4")
    host.add_summary(page)
    assert Path("reports/outputs.env").read_text() == "MODEL_OTHER=x\nMODEL_VERSION=4\n"
    told = capsys.readouterr().err
    assert ":change[collapsed=true]" in told
    assert "# Better" in told
    with pytest.raises(ProjectError, match="more than one line"):
        host.set_output("version", "4\nPATH=/")
    monkeypatch.delenv("GITLAB_CI")
    host.set_output("version", "5")
    host.add_summary(page)
    assert "MODEL_VERSION=4" in Path("reports/outputs.env").read_text()
    assert capsys.readouterr().err == ""


def test_one_comment_for_each_change(gitlab: GitLab) -> None:
    first, second, other = {"id": 1, "body": "m old"}, {"id": 2, "body": "m new"}, {"id": 3, "body": "well done"}
    gitlab.say(f"GET {NOTES}", [other], [second, other])
    gitlab.say(f"POST {NOTES}", second, status=201)
    assert host.comment("3", "m", "m new") == "https://gitlab.example/team/model/-/merge_requests/3#note_2"
    # Two runs at once have both written: the older one stays.
    gitlab.say(f"GET {NOTES}", [second, first])
    gitlab.say(f"PUT {NOTES}/1", first)
    gitlab.say(f"DELETE {NOTES}/2", None, status=204)
    assert host.comment("3", "m", "m new").endswith("#note_1")
    # A page that does not hold the mark gets it; what stands there already is not written again.
    gitlab.say(f"GET {NOTES}", [{"id": 1, "body": "m\nnew"}])
    assert host.comment("3", "m", "new").endswith("#note_1")
    assert gitlab.changes() == [
        ("POST", NOTES, {"body": "m new"}),
        ("PUT", f"{NOTES}/1", {"body": "m new"}),
        ("DELETE", f"{NOTES}/2", None),
    ]


def test_one_issue_for_each_episode(gitlab: GitLab) -> None:
    issues = f"{PROJECT}/issues"
    first, second = ({"iid": number, "web_url": f"https://x/{number}", "description": None} for number in (1, 2))
    gitlab.say(f"GET {issues}", [], [first])
    gitlab.say(f"POST {issues}", first, second, status=201)
    gitlab.say(f"POST {issues}/1/notes", {}, status=201)
    for number in (1, 2):
        gitlab.say(f"PUT {issues}/{number}", {})
    assert host.find_issue("drift") is None
    issue = host.open_issue("Red", "why", "drift")
    assert issue == Issue("1", "https://x/1", "")
    # Another run was quicker: the issue of this one is closed again.
    assert host.open_issue("Red", "newer", "drift") == issue
    host.close_issue(issue, "green")
    assert gitlab.changes() == [
        ("POST", issues, {"title": "Red", "description": "why", "labels": "drift"}),
        ("POST", issues, {"title": "Red", "description": "newer", "labels": "drift"}),
        ("PUT", f"{issues}/2", {"state_event": "close"}),
        ("PUT", f"{issues}/1", {"description": "newer"}),
        ("POST", f"{issues}/1/notes", {"body": "green"}),
        ("PUT", f"{issues}/1", {"state_event": "close"}),
    ]


def test_flows_are_started_and_changes_proposed(gitlab: GitLab) -> None:
    requests, opened = f"{PROJECT}/merge_requests", {"iid": 4, "web_url": "https://x/4"}
    gitlab.say(f"POST {PROJECT}/pipeline", {"web_url": "https://x/pipeline"}, status=201)
    assert host.start("train", {"reason": "drift"}) == "https://x/pipeline"
    gitlab.say(f"GET {requests}", [])
    gitlab.say(f"POST {requests}", opened, status=201)
    gitlab.say(f"PUT {requests}/4", opened)
    assert host.propose("template/2", "Update", "new") == "https://x/4"
    # Meanwhile another run has opened it.
    gitlab.say(f"GET {requests}", [], [opened])
    gitlab.say(f"POST {requests}", {"message": "exists"}, status=409)
    assert host.propose("template/2", "Update", "newer") == "https://x/4"
    gitlab.say(f"GET {requests}", [])
    gitlab.say(f"POST {requests}", {"message": "no"}, status=400)
    with pytest.raises(HostError, match="400"):
        host.propose("template/2", "Update", "newest")
    pipeline, *_, update, _ = gitlab.changes()
    assert pipeline[2] == {"ref": "main", "inputs": {"flow": "train", "reason": "drift"}}
    assert update == ("PUT", f"{requests}/4", {"title": "Update", "description": "newer"})


@pytest.mark.parametrize(
    ("remote", "root"),
    [
        ("https://gitlab.com/group/sub/model.git", "https://gitlab.com"),
        ("https://user:secret@git.example:8443/group/sub/model.git/", "https://git.example:8443"),
        ("git@git.example:group/sub/model.git", "https://git.example"),
        ("ssh://git@git.example:2222/group/sub/model", "https://git.example"),
    ],
)
def test_the_project_is_known_from_the_remote(
    remote: str, root: str, gitlab: GitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CI_API_V4_URL", "CI_PROJECT_ID"):
        monkeypatch.delenv(name)
    subprocess.run(["git", "init", "--quiet"], check=True)
    with pytest.raises(ProjectError, match="leads to no project"):
        host.project()
    subprocess.run(["git", "remote", "add", "origin", remote], check=True)
    assert host.project() == "projects/group%2Fsub%2Fmodel"
    assert host.api()._root == f"{root}/api/v4"


def test_a_login_that_does_not_suffice(gitlab: GitLab, monkeypatch: pytest.MonkeyPatch) -> None:
    login, all_well = "GET personal_access_tokens/self", {"project_access": {"access_level": 40}, "group_access": None}
    for status, scopes, word in ((401, [], "expired"), (403, [], "may not do this"), (200, ["read_api"], "lacks api")):
        gitlab.say(login, {"scopes": scopes}, status=status)
        (line,) = settings.preflight()
        assert word in line
    gitlab.say(login, {"scopes": ["api"]})
    assert "no such project" in settings.preflight()[0]
    gitlab.say(f"GET {PROJECT}", {"permissions": {"project_access": None}, "default_branch": None})
    assert [line.split()[-1] for line in settings.preflight()] == ["role.", "first."]
    gitlab.say(f"GET {PROJECT}", {"permissions": all_well, "default_branch": "main"})
    assert settings.preflight() == []
    monkeypatch.delenv("CI_MERGE_REQUEST_IID")
    monkeypatch.delenv("GITLAB_TOKEN")
    assert "GITLAB_TOKEN is not set" in settings.preflight()[0]


def test_the_pipeline_of_a_change_uses_no_token_that_may_write(gitlab: GitLab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.api()._session.headers["Authorization"] == "Bearer a reporter's"
    monkeypatch.delenv("GITLAB_REPORT_TOKEN")
    with pytest.raises(ProjectError, match="GITLAB_REPORT_TOKEN is not set") as told:
        host.api()
    assert "Reporter" in told.value.hint
    monkeypatch.delenv("CI_MERGE_REQUEST_IID")
    assert host.api()._session.headers["Authorization"] == "Bearer token"


def test_a_secret_that_branches_can_read_is_not_there(gitlab: GitLab) -> None:
    wanted = SetupRequest(("production",), ("ana",), {"MLFLOW_TRACKING_URI": "https://x"})
    empty(gitlab)
    for name in ("GITLAB_TOKEN", "GITLAB_REPORT_TOKEN", "MLFLOW_TRACKING_TOKEN"):
        gitlab.say(f"GET {PROJECT}/variables/{name}", {"value": "else", "protected": False})
    states = work(settings.plan(wanted))
    assert states["secret GITLAB_REPORT_TOKEN"] == State.there
    assert states["secret GITLAB_TOKEN"] == states["secret MLFLOW_TRACKING_TOKEN"] == State.by_hand


@pytest.mark.parametrize(("level", "state"), [(0, State.there), (30, State.differs), (40, State.there)])
def test_developers_do_not_merge(level: int, state: State, gitlab: GitLab) -> None:
    empty(gitlab)
    levels = {kind: [{"access_level": each}] for kind, each in zip(settings.LEVELS, (0, level), strict=True)}
    gitlab.say(f"GET {PROJECT}/protected_branches/main", {**levels, "allow_force_push": False})
    assert work(settings.plan(SetupRequest(("production",), ("ana",), {})))["protection of main"] == state


def empty(gitlab: GitLab) -> None:
    """Let a project have nothing yet."""
    gitlab.say(f"GET {PROJECT}", {"only_allow_merge_if_pipeline_succeeds": False})
    gitlab.say(f"PUT {PROJECT}", {})
    gitlab.say("GET users", [{"id": 5}])
    for name in ("approval_rules", "protected_environments", "pipeline_schedules", "environments"):
        gitlab.say(f"GET {PROJECT}/{name}", [])
    for name in ("protected_branches", "labels", "variables", "approval_rules", "protected_environments"):
        gitlab.say(f"POST {PROJECT}/{name}", {}, status=201)
    for name in ("environments", "pipeline_schedules", "environments/1/stop"):
        gitlab.say(f"POST {PROJECT}/{name}", {}, status=201)


def everything(gitlab: GitLab) -> None:
    """Let a project have each thing, and some of them otherwise than wanted."""
    gitlab.say(f"GET {PROJECT}", {"only_allow_merge_if_pipeline_succeeds": True})
    branch = {kind: [{"access_level": 40}] for kind in settings.LEVELS} | {"allow_force_push": False}
    gitlab.say(f"GET {PROJECT}/protected_branches/main", branch)
    gitlab.say(f"GET {PROJECT}/approval_rules", [{"id": 1, "name": settings.REVIEW, "approvals_required": 1}])
    gitlab.say(f"GET {PROJECT}/environments", [{"id": 1}])
    rules = [{"id": 8, "user_id": 6, "group_id": None}]
    gitlab.say(f"GET {PROJECT}/protected_environments", [{"name": "production", "approval_rules": rules}])
    for name in ("RUNNER", *settings.SECRETS, "MLFLOW_TRACKING_URI"):
        gitlab.say(f"GET {PROJECT}/variables/{name}", {"value": "else", "protected": True})
        gitlab.say(f"PUT {PROJECT}/variables/{name}", {})
    gitlab.say(f"GET {PROJECT}/labels/drift", {})
    flows = [{"description": f"churn: {flow}", "id": 1} for flow in settings.SCHEDULES]
    gitlab.say(f"GET {PROJECT}/pipeline_schedules", flows)
    gitlab.say(f"GET {PROJECT}/pipeline_schedules/1", {"inputs": [{"name": "flow", "value": "train"}]})
    for name in ("protected_environments/production", "pipeline_schedules/1"):
        gitlab.say(f"PUT {PROJECT}/{name}", {})
    for name in REMOVED:
        gitlab.say(f"DELETE {PROJECT}/{name}", None, status=204)


def work(steps: list[Step]) -> dict[str, State]:
    return {step.name: step.state for step in steps}


def test_a_project_is_set_up_and_taken_back(gitlab: GitLab) -> None:
    wanted = SetupRequest(("staging", "production"), ("ana",), {"RUNNER": "gpu", "MLFLOW_TRACKING_URI": "https://x"})
    empty(gitlab)
    steps = settings.plan(wanted)
    states = work(steps)
    by_hand = {f"secret {name}" for name in settings.SECRETS}
    assert {name for name, state in states.items() if state == State.by_hand} == by_hand
    assert set(states.values()) == {State.missing, State.by_hand}
    assert gitlab.changes() == []
    for step in steps:
        if step.do:
            step.do()
    made = {path: content for _, path, content in gitlab.changes()}
    assert made[f"{PROJECT}/protected_branches"]["push_access_level"] == 0
    assert made[f"{PROJECT}/protected_branches"]["merge_access_level"] == 40
    assert made[f"{PROJECT}/protected_environments"]["approval_rules"] == [{"user_id": 5, "required_approvals": 1}]
    assert made[f"{PROJECT}/pipeline_schedules"]["inputs"] == [{"name": "flow", "value": "update-template"}]

    everything(gitlab)
    steps = settings.plan(wanted)
    otherwise = {name for name, state in work(steps).items() if state == State.differs}
    assert otherwise == {
        "protection of main",
        "approval of production",
        "variable RUNNER",
        "variable MLFLOW_TRACKING_URI",
        "schedule monitor",
        "schedule update-template",
    }
    gitlab.asked.clear()
    for step in steps:
        if step.do and step.state == State.differs:
            step.do()
    assert [each[:2] for each in gitlab.changes()] == [
        ("DELETE", f"{PROJECT}/protected_branches/main"),
        ("POST", f"{PROJECT}/protected_branches"),
        ("PUT", f"{PROJECT}/protected_environments/production"),
        ("PUT", f"{PROJECT}/variables/RUNNER"),
        ("PUT", f"{PROJECT}/variables/MLFLOW_TRACKING_URI"),
        ("PUT", f"{PROJECT}/pipeline_schedules/1"),
        ("PUT", f"{PROJECT}/pipeline_schedules/1"),
    ]
    gitlab.asked.clear()
    for step in steps:
        if step.undo:
            step.undo()
    removed = {path.removeprefix(f"{PROJECT}/") for method, path, _ in gitlab.changes() if method == "DELETE"}
    assert removed == set(REMOVED)


def test_what_only_premium_has_is_left_to_people(gitlab: GitLab) -> None:
    empty(gitlab)
    for name in ("approval_rules", "protected_environments"):
        gitlab.say(f"GET {PROJECT}/{name}", {"message": "404 Not found"}, status=404)
    states = work(settings.plan(SetupRequest(("production",), ("ana",))))
    assert states["approving review"] == states["approval of production"] == State.by_hand
    gitlab.say(f"GET {PROJECT}/approval_rules", {"message": "sorry"}, status=400)
    with pytest.raises(HostError, match="400"):
        settings.plan(SetupRequest(("production",), ("ana",)))


def test_reviewers_are_people_or_groups(gitlab: GitLab) -> None:
    empty(gitlab)
    gitlab.say("GET users", [])
    with pytest.raises(ProjectError, match="no person and no group called 'nobody'"):
        settings.plan(SetupRequest(("production",), ("nobody",)))
    gitlab.say("GET groups/ml%2Fteam", {"id": 9})
    steps = {step.name: step for step in settings.plan(SetupRequest(("production",), ("ml/team",)))}
    approval = steps["approval of production"].do
    assert approval is not None
    approval()
    assert gitlab.changes()[-1][2]["approval_rules"] == [{"group_id": 9, "required_approvals": 1}]


def test_what_was_made_is_noted(gitlab: GitLab) -> None:
    variables, note = f"{PROJECT}/variables", f"{PROJECT}/variables/{settings.NOTE}"
    gitlab.say(f"POST {variables}", {}, status=201)
    gitlab.say(f"DELETE {note}", None, status=204)
    assert settings.list_made() == []
    settings.save_made([])
    settings.save_made(["a", "b"])
    gitlab.say(f"GET {note}", {"value": '["a", "b"]'})
    assert settings.list_made() == ["a", "b"]
    settings.save_made([])
    assert [each[:2] for each in gitlab.changes()] == [("POST", variables), ("DELETE", note)]
