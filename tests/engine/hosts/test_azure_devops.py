"""Azure DevOps as the flows use it: a server on this machine keeps what it is given, and gives it back."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from twoloops.contracts.host import SetupRequest, State
from twoloops.delivery import bootstrap
from twoloops.errors import ProjectError
from twoloops.hosts import azure_devops
from twoloops.hosts.azure_devops import host, settings
from twoloops.hosts.web import HostError

from tests.engine.support.configuration import configure

IDENTITY = "Microsoft.TeamFoundation.ServiceIdentity;org:Build:project"
# Two names of one list: what is made by the one is read by the other.
SAME = {"pipelines": "build/definitions", "git/policy/configurations": "policy/configurations"}
ROLES = ("PLAN", "TRAIN", "APPLY_LIVE", "DEPLOY_LIVE")
CLOUD = {"CLOUD_REGION": "here", **{f"CLOUD_ROLE_{role}": f"role {role}" for role in ROLES}}
ENVIRONMENTS, REVIEWERS = ("staging", "live"), ("ada",)
WANTED = SetupRequest(ENVIRONMENTS, REVIEWERS, {"PROJECT_STATE": "/srv/state", "RUNNER": "mine"})
WANTED_ON_CLOUD = SetupRequest(ENVIRONMENTS, REVIEWERS, {"MLFLOW_TRACKING_URI": "mlflow", "RUNNER": "mine", **CLOUD})


class Azure:
    """Lists by path, and the few answers that are no list."""

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, Any]]] = {"distributedtask/queues": [{"id": 9, "name": "mine"}]}
        self.asked: list[tuple[str, str, Any]] = []
        self.permitted: set[int] = set()
        self.rights: dict[str, int] = {}
        self.refused: dict[str, int] = {}  # status by path
        self.known = True  # has the flows' identity appeared yet?

    def changes(self) -> list[str]:
        return [f"{method} {path}" for method, path, _ in self.asked if method != "GET" and path != "wit/wiql"]

    def answer(self, method: str, path: str, query: dict[str, str], content: Any) -> Any:
        """Return what the path answers; an integer is a status."""
        self.asked.append((method, path, content))
        if path in self.refused:
            return self.refused[path]
        if "pipelinepermissions" in path:
            for each in (content or {}).get("pipelines", []):
                (self.permitted.add if each["authorized"] else self.permitted.discard)(each["id"])
            return {"pipelines": [{"id": each, "authorized": True} for each in self.permitted]}
        if path.startswith("accesscontrol"):
            return self.right(method, query, content)
        fixed = {
            "connectionData": {"instanceId": "org"},
            "git/repositories/model": {"id": "repo", "project": {"id": "project"}, "defaultBranch": "refs/heads/main"},
            "wit/classificationnodes/areas": {"identifier": "area"},
            "wit/workitemtypes/Task/states": {"value": [{"name": "Done", "category": "Completed"}]},
            "securitynamespaces": {"value": []},
            "identities": {"value": [{"descriptor": IDENTITY} if self.known else None]},
        }
        if "filterValue" in query:
            ada = {"id": "id-1", "providerDisplayName": "Ada", "isActive": True}
            return {"value": [ada] if "ada" in query["filterValue"] else []}
        return fixed[path] if path in fixed else self.kept(method, path, query, content)

    def right(self, method: str, query: dict[str, str], content: Any) -> Any:
        if method == "POST":
            self.rights[content["token"]] = content["accessControlEntries"][0]["allow"]
        elif method == "DELETE":
            del self.rights[query["token"]]
        found = self.rights.get(query.get("token", ""))
        return {"value": [{"acesDictionary": {IDENTITY: {"allow": found}} if found else {}}]}

    def kept(self, method: str, path: str, query: dict[str, str], content: Any) -> Any:
        if path == "wit/wiql":
            return {"workItems": []}
        folder, _, number = path.rpartition("/")
        if re.fullmatch(r"\d+", number):
            entries = self.lists[SAME.get(folder, folder)]
            entry = next((each for each in entries if str(each["id"]) == number), None)
            if entry is None:
                return 404
            if method == "DELETE":
                entries.remove(entry)
            elif isinstance(content, dict):
                entry |= content
            return entry
        entries = self.lists.setdefault(SAME.get(path, path), [])
        if method == "POST":
            entries.append({"id": len(self.asked), **content})
            return entries[-1]
        wanted = {query[key] for key in ("name", "groupName", "queueName", "endpointNames") if key in query}
        kind = query.get("policyType")
        found = [each for each in entries if not wanted or each["name"] in wanted]
        found = [each for each in found if not kind or each["type"]["id"] == kind]
        resource = query.get("resourceId")
        return {"value": [each for each in found if not resource or each["resource"]["id"] == resource]}


def has_flows(folder: Path, *names: str) -> None:
    """Let a project have these flows and no others: each is a file."""
    shutil.rmtree(folder / "azure-pipelines", ignore_errors=True)
    (folder / "azure-pipelines").mkdir()
    for name in names:
        (folder / f"azure-pipelines/{name}.yml").touch()


def quiet(line: str) -> None:
    """Take a line that else were printed."""


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Azure]:
    known = Azure()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = urlsplit(self.path)
            path, query = unquote(parts.path).split("/_apis/")[1], dict(parse_qsl(parts.query))
            if self.headers["Authorization"] not in ("Bearer token", "Basic OnBhdA=="):
                given: Any = 401
            else:
                given = known.answer(self.command, path, query, json.loads(body) if body else None)
            status = given if isinstance(given, int) else 200
            sent = json.dumps({"message": "no"} if isinstance(given, int) else given).encode()
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
    for name, value in {
        "TF_BUILD": "True",
        "BUILD_BUILDID": "7",
        "BUILD_REPOSITORY_NAME": "model",
        "SYSTEM_ACCESSTOKEN": "token",
        "SYSTEM_COLLECTIONURI": f"http://127.0.0.1:{server.server_port}/org/",
        "SYSTEM_PULLREQUEST_ISFORK": "False",
        "SYSTEM_PULLREQUEST_PULLREQUESTID": "5",
        "SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/main",
        "SYSTEM_TEAMPROJECT": "Our project",
    }.items():
        monkeypatch.setenv(name, value)
    configure(tmp_path, host="azure_devops")
    has_flows(tmp_path, *settings.FLOWS)
    monkeypatch.chdir(tmp_path)
    yield known
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_run_knows_what_it_checks(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(host.run_url()).endswith("/org/Our%20project/_build/results?buildId=7")
    assert (host.change(), host.base(), host.from_fork()) == ("5", "origin/main", False)
    monkeypatch.setenv("SYSTEM_PULLREQUEST_ISFORK", "True")
    assert host.from_fork()
    monkeypatch.delenv("SYSTEM_PULLREQUEST_PULLREQUESTID")
    assert (host.change(), host.base(), host.from_fork()) == (None, None, False)
    monkeypatch.delenv("TF_BUILD")
    assert (host.run_url(), host.change(), host.in_flow()) == (None, None, False)


def test_values_and_pages_reach_the_run(
    azure: Azure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host.set_output("version", "3\n100%")
    host.add_summary(tmp_path / "page.md")
    assert capsys.readouterr().out.splitlines() == [
        "##vso[task.setvariable variable=version;isOutput=true]3%0A100%AZP25",
        f"##vso[task.uploadsummary]{tmp_path / 'page.md'}",
    ]
    monkeypatch.delenv("TF_BUILD")
    host.set_output("version", "3")
    host.add_summary(tmp_path / "page.md")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("remote", "collection", "project", "repository"),
    [
        ("https://me@dev.azure.com/org/Our%20project/_git/model", "https://dev.azure.com/org/", "Our project", "model"),
        ("https://dev.azure.com/org/_git/model", "https://dev.azure.com/org/", "model", "model"),
        ("git@ssh.dev.azure.com:v3/org/project/model", "https://dev.azure.com/org/", "project", "model"),
        ("https://o.visualstudio.com/DefaultCollection/project/_git/m", "https://o.visualstudio.com/", "project", "m"),
        ("https://o.visualstudio.com/_git/m", "https://o.visualstudio.com/", "m", "m"),
        ("http://server/tfs/project/_git/model", "http://server/tfs/", "project", "model"),
    ],
)
def test_where_a_clone_came_from(
    remote: str, collection: str, project: str, repository: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TF_BUILD", raising=False)
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    with pytest.raises(ProjectError, match="names no repository"):
        host.place()
    subprocess.run(["git", "remote", "add", "origin", remote], check=True)
    assert host.place() == host.Place(collection, project, repository)


def test_logins(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYSTEM_ACCESSTOKEN")
    with pytest.raises(ProjectError, match="SYSTEM_ACCESSTOKEN is not set"):
        host.client()
    monkeypatch.setenv("AZURE_DEVOPS_EXT_PAT", "pat")
    assert host.find_issue("drift") is None
    monkeypatch.setenv("AZURE_DEVOPS_EXT_PAT", "old")
    with pytest.raises(HostError, match="wrong or expired"):
        host.find_issue("drift")


def test_a_job_gets_the_token_of_its_connection(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SYSTEM_OIDCREQUESTURI", "CLOUD_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ProjectError, match="gives this process no token"):
        azure_devops.token("anything")
    path = "distributedtask/hubs/build/plans/1/jobs/2/oidctoken"
    monkeypatch.setenv("SYSTEM_OIDCREQUESTURI", f"{host.place().collection}project/_apis/{path}")
    monkeypatch.setenv("CLOUD_CONNECTION", "a-connection")
    asked: list[str] = []

    def kept(method: str, path: str, query: dict[str, str], content: Any) -> Any:
        asked.append(query["serviceConnectionId"])
        return {"oidcToken": "an identity"}

    monkeypatch.setattr(azure, "kept", kept)
    assert azure_devops.token("anything") == "an identity"
    assert asked == ["a-connection"]
    azure.refused = {path: 403}
    with pytest.raises(HostError, match="Azure DevOps answers 403"):
        azure_devops.token("anything")


def test_there_is_one_comment(azure: Azure) -> None:
    threads = "git/repositories/model/pullRequests/5/threads"
    mark = "<!-- m -->"
    azure.lists[threads] = [{"id": 3, "comments": [{"id": 1, "content": mark, "isDeleted": True}, {"id": 2}]}]
    made = {"id": 8, "comments": [{"id": 1, "content": mark}]}
    azure.lists[f"{threads}/8/comments"] = made["comments"]  # type: ignore[assignment]
    posted: list[Any] = []
    keep = azure.kept

    def kept(method: str, path: str, query: dict[str, str], content: Any) -> Any:
        if (method, path) == ("POST", threads):
            posted.append(content)
            azure.lists[threads].append(made)
            return made
        return keep(method, path, query, content)

    azure.kept = kept  # type: ignore[method-assign]
    for text in ("first", "x" * 200_000):
        assert host.comment("5", mark, text).endswith("/_git/model/pullrequest/5?discussionId=8")
    assert len(posted) == 1
    assert posted[0]["status"] == "closed"
    assert len(made["comments"][0]["content"]) <= host.LONGEST_COMMENT  # type: ignore[index]
    # Another run was quicker by a moment: its comment stays.
    azure.lists[threads] = []
    earlier = {"id": 7, "comments": [{"id": 1, "content": mark}]}
    azure.lists[f"{threads}/7/comments"] = earlier["comments"]  # type: ignore[assignment]

    def late(method: str, path: str, query: dict[str, str], content: Any) -> Any:
        if (method, path) == ("POST", threads):
            azure.lists[threads] += [earlier, made]
            return made
        return keep(method, path, query, content)

    azure.kept = late  # type: ignore[method-assign]
    assert host.comment("5", mark, "third").endswith("discussionId=7")
    assert f"DELETE {threads}/8/comments/1" in azure.changes()


def test_work_items(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    items = "wit/workitems"
    fields = {"System.Tags": "drift; model", "System.Description": "why"}
    azure.lists[items] = [{"id": 1, "fields": fields | {"System.Tags": "drifting; model"}}, {"id": 2, "fields": fields}]
    keep, found = azure.kept, [{"id": 1}, {"id": 2}]

    def kept(method: str, path: str, query: dict[str, str], content: Any) -> Any:
        if path == "wit/wiql":
            assert "CONTAINS 'it''s'" in content["query"] or "CONTAINS 'drift'" in content["query"]
            return {"workItems": found}
        if path == f"{items}/$Task":
            azure.lists[items].append({"id": 3, "fields": fields})
            return azure.lists[items][-1]
        return keep(method, path, query, content)

    azure.kept = kept  # type: ignore[method-assign]
    issue = host.find_issue("drift")
    assert issue is not None
    assert (issue.number, issue.body) == ("2", "why")
    assert host.find_issue("it's") is None
    host.update_issue(issue, "new")
    assert {"op": "add", "path": "/multilineFieldsFormat/System.Description", "value": "Markdown"} in azure.asked[-1][2]
    # Another run opened one at the same moment: the older one stays.
    assert host.open_issue("Drift", "much", "drift").number == "2"
    assert azure.asked[-1][2][0] == {"op": "add", "path": "/fields/System.State", "value": "Done"}
    found.clear()
    assert host.open_issue("Drift", "much", "drift").number == "3"


def test_flows_are_started_and_changes_proposed(azure: Azure) -> None:
    with pytest.raises(ProjectError, match="no pipeline churn-train"):
        host.start("train", {})
    azure.lists["build/definitions"] = [{"id": 4, "name": "churn-train"}]
    azure.refused["pipelines/4/runs"] = 403
    with pytest.raises(HostError, match="may not do this") as refused:
        host.start("train", {"reason": "drift", "force": ""})
    assert "bootstrap" in refused.value.hint
    assert azure.asked[-1][2]["templateParameters"] == {"reason": "drift"}
    pulls = "git/repositories/model/pullrequests"
    azure.lists[pulls] = []
    keep = azure.kept

    def kept(method: str, path: str, query: dict[str, str], content: Any) -> Any:
        answer = keep(method, path, query, content)
        if path == pulls and method == "POST":
            answer["pullRequestId"] = answer["id"]
        return answer

    azure.kept = kept  # type: ignore[method-assign]
    first = host.propose("newer", "Title", "x" * 5_000)
    assert len(azure.lists[pulls][0]["description"]) == host.LONGEST_DESCRIPTION
    assert host.propose("newer", "Another", "body") == first
    assert azure.lists[pulls][0]["title"] == "Another"


@pytest.mark.parametrize(
    ("wanted", "groups"), [(WANTED, []), (WANTED_ON_CLOUD, ["churn-cloud"])], ids=["here", "cloud"]
)
def test_what_is_set_up_can_be_repeated_and_taken_back(
    azure: Azure, tmp_path: Path, wanted: SetupRequest, groups: list[str]
) -> None:
    if not groups:
        has_flows(tmp_path, *(name for name in settings.FLOWS if name != settings.INFRASTRUCTURE))
    assert settings.preflight() == []
    steps = bootstrap.prepare(wanted)
    by_hand = [step.name for step in steps if step.state == State.by_hand]
    assert by_hand == ["agent pool"], "Azure reads a pool's name from the file alone"
    count = bootstrap.apply(steps, quiet)
    assert count == len(steps) - 1
    assert sorted(each["name"] for each in azure.lists["distributedtask/variablegroups"]) == [
        "churn",
        "churn-bootstrap",
        *groups,
    ]
    kinds = {each["type"]["name"] for each in azure.lists["pipelines/checks/configurations"]}
    assert kinds == {"Approval", "Task Check", "ExclusiveLock"}
    only_main = [
        each["resource"]["type"]
        for each in azure.lists["pipelines/checks/configurations"]
        if each["type"]["name"] == "Task Check" and each["resource"]["type"] != "endpoint"
    ]
    assert sorted(only_main) == ["environment"] * len(wanted.environments) + ["queue", "variablegroup"]
    before = len(azure.changes())
    assert bootstrap.apply(bootstrap.prepare(wanted), quiet) == 0
    assert len(azure.changes()) == before
    # What people loosen is brought back.
    azure.lists["policy/configurations"][0]["isBlocking"] = False
    azure.lists["pipelines/checks/configurations"][0]["settings"] = {}
    assert bootstrap.apply(bootstrap.prepare(wanted), quiet) == 2
    path = tmp_path / settings.SETTINGS
    path.parent.mkdir()
    path.write_text('    value: "mine"\n', encoding="utf-8")
    assert State.by_hand not in {step.state for step in bootstrap.prepare(wanted)}
    bootstrap.undo(bootstrap.prepare(wanted), quiet)
    assert [name for name, entries in azure.lists.items() if entries] == ["distributedtask/queues"]
    assert (azure.permitted, azure.rights) == (set(), {})


def test_each_role_has_a_connection_that_few_may_use(azure: Azure) -> None:
    bootstrap.apply(bootstrap.prepare(WANTED_ON_CLOUD), quiet)
    connections = {each["name"]: each["id"] for each in azure.lists["serviceendpoint/endpoints"]}
    names = [f"churn-{name}" for name in ("plan", "train", "apply-live", "deploy-live")]
    assert list(connections) == names
    group = next(each for each in azure.lists["distributedtask/variablegroups"] if "CLOUD_REGION" in each["variables"])
    known = {f"CLOUD_CONNECTION_{role}": {"value": connections[name]} for role, name in zip(ROLES, names, strict=True)}
    assert group["variables"] == {name: {"value": value} for name, value in CLOUD.items()} | known
    flows = {each["id"]: each["name"] for each in azure.lists["build/definitions"]}
    users, guarded = {}, {}
    for name in names:
        path = f"pipelines/pipelinepermissions/endpoint/{connections[name]}"
        (given,) = (content for method, asked, content in azure.asked if (method, asked) == ("PATCH", path))
        users[name] = {flows[each["id"]].removeprefix("churn-") for each in given["pipelines"]}
        guarded[name] = [
            check["type"]["name"]
            for check in azure.lists["pipelines/checks/configurations"]
            if check["resource"] == {"type": "endpoint", "id": str(connections[name]), "name": name}
        ]
    assert list(users.values()) == [
        {"check", "infrastructure"},
        {"train", "monitor"},
        {"infrastructure"},
        {"train", "deploy", "infrastructure"},
    ]
    # What a change may use changes nothing; what touches the last environment waits for its reviewers.
    assert list(guarded.values()) == [[], ["Task Check"], ["Task Check", "Approval"], ["Task Check", "Approval"]]


def test_what_stands_in_the_way_is_said(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    azure.refused = {"build/definitions": 403}
    assert [line.partition(":")[0] for line in settings.preflight()] == ["The login lacks Build"]
    azure.refused = {"git/repositories/model": 404}
    assert "no repository model in Our project" in settings.preflight()[0]
    azure.refused = {"connectionData": 401}
    assert "expired" in settings.preflight()[0]
    azure.refused = {}
    with pytest.raises(ProjectError, match="'nobody' is not one person or team"):
        settings.plan(SetupRequest(("live",), ("nobody",)))
    azure.known = False
    azure.lists["distributedtask/queues"].clear()
    states = {step.name: step.state for step in settings.plan(WANTED)}
    assert states["right to start pipelines"] == states["use of agent pool"] == State.by_hand
    wanted = SetupRequest(("live",), (), {"RUNNER": ""})
    assert {step.name: step.do for step in settings.plan(wanted)}["use of agent pool"] is None
