"""Azure DevOps on loopback: the part of its interface that the rendered host.py and setup.py use, with its state.

Modelled on https://github.com/MicrosoftDocs/vsts-rest-api-specs (7.1 and 7.2) and on the pages below
https://learn.microsoft.com/rest/api/azure/devops that each handler names.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .tokens import token as make_token

ORGANIZATION, PROJECT, REPOSITORY = "ml-team", "churn", "churn"
ORGANIZATION_ID = "0f9f0d4c-0000-4000-8000-000000000001"
PROJECT_ID = "0f9f0d4c-0000-4000-8000-000000000002"
REPOSITORY_ID = "0f9f0d4c-0000-4000-8000-000000000003"
FLOWS_IDENTITY = f"Microsoft.TeamFoundation.ServiceIdentity;{ORGANIZATION_ID}:Build:{PROJECT_ID}"
# The states of a Task in the process Scrum, to which no state named Closed belongs.
STATES = {"To Do": "Proposed", "In Progress": "InProgress", "Done": "Completed", "Removed": "Removed"}
JSON_PATCH = "application/json-patch+json"


class Refused(Exception):  # noqa: N818 - an answer
    """What the server refuses: a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Request:
    """One request."""

    def __init__(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        parts = urlsplit(target)
        self.method, self.path = method, unquote(parts.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.headers = headers
        self.content: Any = json.loads(body) if body else None

    def need(self, *names: str) -> list[Any]:
        """Return fields of the content, all of which the interface demands."""
        content = self.content if isinstance(self.content, dict) else {}
        if missing := [name for name in names if content.get(name) in (None, "", [])]:
            raise Refused(400, f"Value cannot be null. Parameter name: {missing[0]}")
        return [content[name] for name in names]


Handler = Callable[..., Any]
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []


def route(method: str, pattern: str) -> Callable[[Handler], Handler]:
    """Register a handler for a path below the organization; {p} is the project, {r} the repository."""
    filled = pattern.replace("{p}", rf"(?:{PROJECT}|{PROJECT_ID})/_apis")
    filled = filled.replace("{r}", rf"git/repositories/(?:{REPOSITORY}|{REPOSITORY_ID})")

    def register(handler: Handler) -> Handler:
        ROUTES.append((method, re.compile(f"/{ORGANIZATION}/{filled}"), handler))
        return handler

    return register


class AzureDevOps:
    """The server's state, and what it was asked."""

    def __init__(self) -> None:
        self.tokens = {"flow-token", "personal"}
        self.expired: set[str] = set()
        self.forbidden: tuple[str, ...] = ()  # beginnings of paths that the login may not read
        self.breaks_after: int | None = None  # so many changes, then the server is down
        self.identities: list[dict[str, Any]] = [
            person("ml-team", "[churn]\\ml-team"),
            person("ada", "Ada", "ada@x.org"),
        ]
        self.pipelines_have_run = True
        self.default_branch: str | None = "refs/heads/main"
        self.pools: list[dict[str, Any]] = [{"id": 9, "name": "mine"}]
        self.threads: dict[str, list[dict[str, Any]]] = {}
        self.pulls: list[dict[str, Any]] = []
        self.items: dict[int, dict[str, Any]] = {}
        self.definitions: list[dict[str, Any]] = []
        self.environments: list[dict[str, Any]] = []
        self.groups: list[dict[str, Any]] = []
        self.checks: list[dict[str, Any]] = []
        self.connections: list[dict[str, Any]] = []
        self.known_as = f"sc://{ORGANIZATION}/{PROJECT}"  # as tokens name it
        self.jobs: dict[str, list[str]] = {}  # the service connections that a job uses, by the job's identifier
        self.policies: list[dict[str, Any]] = []
        self.permissions: dict[tuple[str, str], set[int]] = {}
        self.rights: dict[tuple[str, str], int] = {}
        self.runs: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.unknown: list[str] = []
        self.before_answer: Callable[[Request], None] = lambda request: None  # lets a test be quicker by a moment
        self.url = ""
        self._ids = itertools.count(101)
        self.lock = threading.RLock()

    def new_id(self) -> int:
        return next(self._ids)

    def changes(self) -> list[tuple[str, str]]:
        """Return the requests that were not only reading."""
        return [request for request in self.requests if request[0] != "GET" and not request[1].endswith("wiql")]

    def settings(self) -> Any:
        """Return all that bootstrap can change, for comparisons."""
        kept = (self.definitions, self.environments, self.groups, self.checks, self.connections, self.policies)
        permissions = {key: value for key, value in self.permissions.items() if value}
        return json.loads(
            json.dumps([*kept, sorted(map(str, permissions.items())), sorted(map(str, self.rights.items()))])
        )

    def token_address(self, pipeline: str, connections: list[str]) -> str:
        """Return where a job asks for the tokens of the service connections that it uses: System.OidcRequestUri."""
        job = str(uuid.uuid4())
        self.jobs[job] = connections
        return f"{self.url}/{PROJECT_ID}/_apis/distributedtask/hubs/build/plans/{pipeline}/jobs/{job}/oidctoken"

    # ------------------------------------------------------------------------------------- answers

    def answer(self, request: Request) -> tuple[int, Any]:
        """Return the status and the content of the answer to a request."""
        try:
            self._admit(request)
            self.before_answer(request)
            content = self._handle(request)
        except Refused as refused:
            return refused.status, {"message": str(refused)}
        if isinstance(content, list):
            content = {"count": len(content), "value": content}
        return (204 if content is None else 200), content

    def _admit(self, request: Request) -> None:
        login = request.headers.get("Authorization", "")
        token = login.removeprefix("Bearer ")
        if login.startswith("Basic "):  # a personal access token is a password without a user
            token = base64.b64decode(login.removeprefix("Basic ")).decode().removeprefix(":")
        if token not in self.tokens - self.expired:
            page = request.headers.get("X-TFS-FedAuthRedirect") != "Suppress"  # to log in on: no error to a program
            raise Refused(203 if page else 401, "TF400813: The user is not authorized to access this resource.")
        if "api-version=" not in request.headers.get("Accept", "") and "api-version" not in request.query:
            raise Refused(400, "No api-version was supplied")
        self.requests.append((request.method, request.path))
        if self.forbidden and request.path.split("/_apis/", 1)[-1].startswith(self.forbidden):
            raise Refused(403, "VS800075: the personal access token has not the scope for it")
        if request.method != "GET" and self.breaks_after is not None:
            self.breaks_after -= 1
            if self.breaks_after < 0:
                raise Refused(500, "an internal error")

    def _handle(self, request: Request) -> Any:
        for method, pattern, handler in ROUTES:
            if request.method == method and (match := pattern.fullmatch(request.path)):
                with self.lock:
                    return handler(self, request, *match.groups())
        self.unknown.append(f"{request.method} {request.path}")
        raise Refused(404, "The controller for path was not found")


def person(name: str, shown: str, mail: str = "") -> dict[str, Any]:
    """Return an identity as identities/read-identities gives it."""
    properties = {"Account": {"$value": mail or name}, "Mail": {"$value": mail}}
    return {"id": f"id-of-{name}", "descriptor": f"d;{name}", "providerDisplayName": shown, "isActive": True,
            "properties": properties}  # fmt: skip


def by_id(entries: list[dict[str, Any]], number: str) -> dict[str, Any]:
    found = next((entry for entry in entries if str(entry["id"]) == number), None)
    if found is None:
        raise Refused(404, f"{number} does not exist")
    return found


# ------------------------------------------------------------------------ organization, project, repository


@route("GET", "_apis/connectionData")
def _connection(host: AzureDevOps, request: Request) -> Any:
    return {"instanceId": ORGANIZATION_ID, "authenticatedUser": {"id": "me"}}


@route("GET", "{p}/{r}")
def _repository(host: AzureDevOps, request: Request) -> Any:
    """git/repositories/get-repository."""
    project = {"id": PROJECT_ID, "name": PROJECT}
    return {"id": REPOSITORY_ID, "name": REPOSITORY, "project": project, "defaultBranch": host.default_branch}


@route("GET", "_apis/securitynamespaces")
def _namespaces(host: AzureDevOps, request: Request) -> Any:
    return []


@route("GET", "{p}/distributedtask/queues")
def _queues(host: AzureDevOps, request: Request) -> Any:
    wanted = request.query.get("queueName")
    return [pool for pool in host.pools if wanted in (None, pool["name"])]


@route("GET", "_apis/identities")
def _identities(host: AzureDevOps, request: Request) -> Any:
    """ims/identities/read-identities: by descriptors what is not known is null."""
    if "descriptors" in request.query:
        known = request.query["descriptors"] == FLOWS_IDENTITY and host.pipelines_have_run
        return [{"id": "flows", "descriptor": FLOWS_IDENTITY} if known else None]
    if request.query.get("searchFilter") != "General":
        raise Refused(400, "searchFilter")
    wanted = request.query["filterValue"].lower()
    return [each for each in host.identities if wanted in json.dumps(each).lower().replace("\\\\", "\\")]


# ------------------------------------------------------------------------------------- pull requests


@route("GET", r"{p}/{r}/pullRequests/(\d+)/threads")
def _threads(host: AzureDevOps, request: Request, number: str) -> Any:
    """git/pull-request-threads/list: deleted comments stay in it, without their content."""
    return host.threads.get(number, [])


@route("POST", r"{p}/{r}/pullRequests/(\d+)/threads")
def _make_thread(host: AzureDevOps, request: Request, number: str) -> Any:
    """git/pull-request-threads/create."""
    comments, _ = request.need("comments", "status")
    if any(not entry.get("content") or len(entry["content"]) > 150_000 for entry in comments):
        raise Refused(400, "The comment's content is empty or too long")
    made = [{"id": index, **entry} for index, entry in enumerate(comments, 1)]
    thread = {"id": host.new_id(), "status": request.content["status"], "comments": made}
    host.threads.setdefault(number, []).append(thread)
    return thread


@route("PATCH", r"{p}/{r}/pullRequests/(\d+)/threads/(\d+)/comments/(\d+)")
def _edit_comment(host: AzureDevOps, request: Request, number: str, thread: str, comment: str) -> Any:
    """git/pull-request-thread-comments/update."""
    (content,) = request.need("content")
    entry = by_id(by_id(host.threads.get(number, []), thread)["comments"], comment)
    entry["content"] = content
    return entry


@route("DELETE", r"{p}/{r}/pullRequests/(\d+)/threads/(\d+)/comments/(\d+)")
def _delete_comment(host: AzureDevOps, request: Request, number: str, thread: str, comment: str) -> Any:
    """git/pull-request-thread-comments/delete."""
    entry = by_id(by_id(host.threads.get(number, []), thread)["comments"], comment)
    entry |= {"isDeleted": True, "content": None}


@route("GET", "{p}/{r}/pullrequests")
def _pulls(host: AzureDevOps, request: Request) -> Any:
    """git/pull-requests/get-pull-requests: descriptions are cut at 400 characters here."""
    criteria = {key.removeprefix("searchCriteria."): value for key, value in request.query.items()}
    return [pull for pull in host.pulls if all(pull.get(key) == value for key, value in criteria.items())]


@route("POST", "{p}/{r}/pullrequests")
def _make_pull(host: AzureDevOps, request: Request) -> Any:
    """git/pull-requests/create."""
    source, target, title = request.need("sourceRefName", "targetRefName", "title")
    same = (source, target, "active")
    if any((pull["sourceRefName"], pull["targetRefName"], pull["status"]) == same for pull in host.pulls):
        raise Refused(409, "TF401179: An active pull request for the source and target branch already exists.")
    _check_pull(title, request.content.get("description", ""))
    host.pulls.append({"pullRequestId": host.new_id(), "status": "active", **request.content})
    return host.pulls[-1]


@route("PATCH", r"{p}/{r}/pullrequests/(\d+)")
def _edit_pull(host: AzureDevOps, request: Request, number: str) -> Any:
    """git/pull-requests/update."""
    pull = next(pull for pull in host.pulls if str(pull["pullRequestId"]) == number)
    _check_pull(request.content["title"], request.content["description"])
    pull |= request.content
    return pull


def _check_pull(title: str, description: str) -> None:
    if len(title) > 400 or len(description) > 4000:
        raise Refused(400, "A maximum of 400 characters of the title and 4000 of the description is supported")


# ------------------------------------------------------------------------------------------ work items


@route("GET", "{p}/wit/workitemtypes/Task/states")
def _states(host: AzureDevOps, request: Request) -> Any:
    """wit/work-item-type-states/list."""
    return [{"name": name, "color": "b2b2b2", "category": category} for name, category in STATES.items()]


@route("GET", "{p}/wit/classificationnodes/areas")
def _areas(host: AzureDevOps, request: Request) -> Any:
    return {"id": 1, "identifier": "area-1", "name": PROJECT}


@route("POST", "{p}/wit/wiql")
def _wiql(host: AzureDevOps, request: Request) -> Any:
    """wit/wiql/query-by-wiql: the conditions that host.py uses; any other is an error."""
    (query,) = request.need("query")
    where = re.fullmatch(r"SELECT \[System\.Id\] FROM WorkItems WHERE (.+) ORDER BY \[System\.Id\]", query, re.DOTALL)
    if where is None:
        raise Refused(400, "TF51006: The query statement is missing a clause")
    found = []
    for number, item in sorted(host.items.items()):
        fields = {**item["fields"], "System.TeamProject": PROJECT}
        if all(_holds(condition, fields) for condition in where[1].split(" AND ")):
            found.append({"id": number, "url": f"{host.url}/_apis/wit/workItems/{number}"})
    return {"queryType": "flat", "workItems": found[: int(request.query.get("$top", "20000"))]}


def _holds(condition: str, fields: Mapping[str, str]) -> bool:
    match = re.fullmatch(r"\[([\w.]+)\] (=|<>|CONTAINS) ('(?:[^']|'')*'|@project)", condition.strip())
    if match is None:
        raise Refused(400, f"TF51005: unknown condition {condition}")
    value = PROJECT if match[3] == "@project" else match[3][1:-1].replace("''", "'")
    present = fields.get(match[1], "")
    # A part of a tag is contained, too.
    return {"=": present == value, "<>": present != value, "CONTAINS": value in present}[match[2]]


@route("GET", r"{p}/wit/workitems/(\d+)")
def _item(host: AzureDevOps, request: Request, number: str) -> Any:
    return host.items[int(number)]


@route("POST", r"{p}/wit/workitems/\$Task")
def _make_item(host: AzureDevOps, request: Request) -> Any:
    """wit/work-items/create."""
    number = host.new_id()
    host.items[number] = {"id": number, "fields": {"System.State": "To Do", "System.WorkItemType": "Task"}, "said": []}
    _edit(host.items[number], request)
    if not host.items[number]["fields"].get("System.Title"):
        raise Refused(400, "TF401320: Rule Error for field Title: required")
    return host.items[number]


@route("PATCH", r"{p}/wit/workitems/(\d+)")
def _edit_item(host: AzureDevOps, request: Request, number: str) -> Any:
    """wit/work-items/update."""
    _edit(host.items[int(number)], request)
    return host.items[int(number)]


def _edit(item: dict[str, Any], request: Request) -> None:
    if request.headers.get("Content-Type") != JSON_PATCH:
        raise Refused(415, f"The request's media type has to be {JSON_PATCH}")
    for change in request.content:
        _, kind, name = change["path"].split("/")
        if change["op"] not in ("add", "replace") or kind not in ("fields", "multilineFieldsFormat"):
            raise Refused(400, f"no such operation: {change}")
        if name == "System.State" and change["value"] not in STATES:
            raise Refused(400, f"The field 'State' contains the value '{change['value']}' that is not supported")
        if name == "System.History":
            item["said"].append(change["value"])
        elif kind == "fields":
            item["fields"][name] = change["value"]


# ------------------------------------------------------------------------------------------- pipelines


@route("GET", "{p}/build/definitions")
def _definitions(host: AzureDevOps, request: Request) -> Any:
    """build/definitions/list: `name` is matched without regard to case; `*` stands for anything."""
    wanted = request.query.get("name")
    return [each for each in host.definitions if wanted is None or each["name"].lower() == wanted.lower()]


@route("DELETE", r"{p}/build/definitions/(\d+)")
def _delete_definition(host: AzureDevOps, request: Request, number: str) -> Any:
    host.definitions.remove(by_id(host.definitions, number))
    for permitted in host.permissions.values():
        permitted.discard(int(number))


@route("POST", "{p}/pipelines")
def _make_pipeline(host: AzureDevOps, request: Request) -> Any:
    """pipelines/pipelines/create."""
    name, configuration = request.need("name", "configuration")
    if configuration["type"] != "yaml" or configuration["repository"] != {"id": REPOSITORY_ID, "type": "azureReposGit"}:
        raise Refused(400, "configuration")
    if any(each["name"] == name for each in host.definitions):
        raise Refused(409, f"A pipeline {name} already exists")
    host.definitions.append({"id": host.new_id(), "name": name, "path": configuration["path"]})
    return host.definitions[-1]


@route("POST", r"{p}/pipelines/(\d+)/runs")
def _start(host: AzureDevOps, request: Request, number: str) -> Any:
    """pipelines/runs/run-pipeline: values of parameters are texts, and not empty."""
    pipeline = by_id(host.definitions, number)
    given = request.content.get("templateParameters", {})
    if any(not isinstance(value, str) or not value for value in given.values()):
        raise Refused(400, "A value for a parameter must be provided.")
    ref = request.content["resources"]["repositories"]["self"]["refName"]
    host.runs.append({"id": host.new_id(), "pipeline": pipeline["name"], "ref": ref, "parameters": given})
    web = f"{host.url}/{PROJECT}/_build/results?buildId={host.runs[-1]['id']}"
    return {"id": host.runs[-1]["id"], "state": "inProgress", "_links": {"web": {"href": web}}}


@route("GET", "{p}/pipelines/environments")
def _environments(host: AzureDevOps, request: Request) -> Any:
    """environments/environments/list: `name` is a part of it."""
    return [each for each in host.environments if request.query.get("name", "") in each["name"]]


@route("POST", "{p}/pipelines/environments")
def _make_environment(host: AzureDevOps, request: Request) -> Any:
    (name,) = request.need("name")
    if any(each["name"] == name for each in host.environments):
        raise Refused(409, f"Environment with name {name} already exists")
    host.environments.append({"id": host.new_id(), "name": name})
    return host.environments[-1]


@route("DELETE", r"{p}/pipelines/environments/(\d+)")
def _delete_environment(host: AzureDevOps, request: Request, number: str) -> Any:
    host.environments.remove(by_id(host.environments, number))
    host.checks = [check for check in host.checks if check["resource"] != {"type": "environment", "id": number}]


@route("GET", "{p}/pipelines/checks/configurations")
def _checks(host: AzureDevOps, request: Request) -> Any:
    """approvalsandchecks/check-configurations/list: without $expand=settings there are no settings."""
    wanted = (request.query["resourceType"], request.query["resourceId"])
    found = [check for check in host.checks if (check["resource"]["type"], check["resource"]["id"]) == wanted]
    if request.query.get("$expand") == "settings":
        return found
    return [{key: value for key, value in check.items() if key != "settings"} for check in found]


@route("POST", "{p}/pipelines/checks/configurations")
def _make_check(host: AzureDevOps, request: Request) -> Any:
    """approvalsandchecks/check-configurations/add."""
    kind, resource, _ = request.need("type", "resource", "timeout")
    settings = request.content["settings"]
    if kind["name"] == "Approval" and not settings.get("approvers"):
        raise Refused(400, "approvers")
    host.checks.append({"id": host.new_id(), "type": kind, "resource": resource, "settings": settings})
    return host.checks[-1]


@route("PATCH", r"{p}/pipelines/checks/configurations/(\d+)")
def _edit_check(host: AzureDevOps, request: Request, number: str) -> Any:
    check = by_id(host.checks, number)
    check["settings"] = request.content["settings"]
    return check


@route("DELETE", r"{p}/pipelines/checks/configurations/(\d+)")
def _delete_check(host: AzureDevOps, request: Request, number: str) -> Any:
    host.checks.remove(by_id(host.checks, number))


@route("GET", r"{p}/pipelines/pipelinepermissions/(\w+)/([\w-]+)")
def _permissions(host: AzureDevOps, request: Request, kind: str, number: str) -> Any:
    """approvalsandchecks/pipeline-permissions/get."""
    permitted = sorted(host.permissions.get((kind, number), set()))
    return {
        "resource": {"type": kind, "id": number},
        "pipelines": [{"id": each, "authorized": True} for each in permitted],
    }


@route("PATCH", r"{p}/pipelines/pipelinepermissions/(\w+)/([\w-]+)")
def _permit(host: AzureDevOps, request: Request, kind: str, number: str) -> Any:
    (pipelines,) = request.need("pipelines")
    permitted = host.permissions.setdefault((kind, number), set())
    for each in pipelines:
        by_id(host.definitions, str(each["id"]))
        (permitted.add if each["authorized"] else permitted.discard)(each["id"])
    return _permissions(host, request, kind, number)


# --------------------------------------------------------------------------------- service connections


@route("GET", "{p}/serviceendpoint/endpoints")
def _connections(host: AzureDevOps, request: Request) -> Any:
    """serviceendpoint/endpoints/get-service-endpoints-by-names."""
    wanted = request.query.get("endpointNames", "").split(",")
    return [each for each in host.connections if each["name"] in wanted]


@route("POST", "_apis/serviceendpoint/endpoints")
def _make_connection(host: AzureDevOps, request: Request) -> Any:
    """serviceendpoint/endpoints/create."""
    name, _, _, _, references = request.need("name", "type", "url", "authorization", "serviceEndpointProjectReferences")
    if references[0]["projectReference"]["id"] != PROJECT_ID:
        raise Refused(400, "serviceEndpointProjectReferences")
    if any(each["name"] == name for each in host.connections):
        raise Refused(409, f"Service connection with name {name} already exists")
    host.connections.append({"id": str(uuid.uuid4()), **request.content})
    return host.connections[-1]


@route("DELETE", r"_apis/serviceendpoint/endpoints/([\w-]+)")
def _delete_connection(host: AzureDevOps, request: Request, number: str) -> Any:
    """serviceendpoint/endpoints/delete."""
    if request.query.get("projectIds") != PROJECT_ID:
        raise Refused(400, "projectIds")
    host.connections.remove(by_id(host.connections, number))
    host.checks = [check for check in host.checks if check["resource"].get("id") != number]
    host.permissions.pop(("endpoint", number), None)


@route("POST", r"{p}/distributedtask/hubs/build/plans/([\w-]+)/jobs/([\w-]+)/oidctoken")
def _token(host: AzureDevOps, request: Request, pipeline: str, job: str) -> Any:
    """distributedtask/oidctoken/create: for a connection that the job uses, and its pipeline may use."""
    connection = by_id(host.connections, request.query["serviceConnectionId"])
    permitted = host.permissions.get(("endpoint", connection["id"]), set())
    allowed = any(each["name"] == pipeline and each["id"] in permitted for each in host.definitions)
    if connection["name"] not in host.jobs[job] or not allowed:
        raise Refused(403, f"The pipeline is not authorized to use the service connection {connection['name']}")
    subject, issuer = f"{host.known_as}/{connection['name']}", f"https://vstoken.dev.azure.com/{ORGANIZATION_ID}"
    return {"oidcToken": make_token(issuer, subject, "api://AzureADTokenExchange")}


# ------------------------------------------------------------------------------------ variables, rights, policies


@route("GET", "{p}/distributedtask/variablegroups")
def _groups(host: AzureDevOps, request: Request) -> Any:
    """distributedtask/variablegroups/get-variable-groups: secrets come without their values."""
    wanted = request.query.get("groupName")
    shown = json.loads(json.dumps([group for group in host.groups if wanted in (None, group["name"])]))
    for group in shown:
        for variable in group["variables"].values():
            if variable.get("isSecret"):
                variable["value"] = None
    return shown


@route("POST", "_apis/distributedtask/variablegroups")
def _make_group(host: AzureDevOps, request: Request) -> Any:
    """distributedtask/variablegroups/add."""
    name, _ = _checked_group(request)
    if any(group["name"] == name for group in host.groups):
        raise Refused(409, f"Variable group {name} already exists")
    host.groups.append({"id": host.new_id(), **request.content})
    return host.groups[-1]


@route("PUT", r"_apis/distributedtask/variablegroups/(\d+)")
def _edit_group(host: AzureDevOps, request: Request, number: str) -> Any:
    """distributedtask/variablegroups/update: a secret without a value keeps the one it has."""
    group = by_id(host.groups, number)
    _, variables = _checked_group(request)
    for name, variable in variables.items():
        if variable.get("isSecret") and variable.get("value") is None:
            variable["value"] = group["variables"].get(name, {}).get("value")
    group |= request.content
    return group


def _checked_group(request: Request) -> tuple[str, dict[str, Any]]:
    name, kind, variables, references = request.need("name", "type", "variables", "variableGroupProjectReferences")
    if kind != "Vsts" or references[0]["projectReference"]["id"] != PROJECT_ID:
        raise Refused(400, "type or project")
    return name, variables


@route("DELETE", r"_apis/distributedtask/variablegroups/(\d+)")
def _delete_group(host: AzureDevOps, request: Request, number: str) -> Any:
    if request.query.get("projectIds") != PROJECT_ID:
        raise Refused(400, "projectIds")
    host.groups.remove(by_id(host.groups, number))
    host.checks = [
        each for each in host.checks if (each["resource"]["type"], each["resource"]["id"]) != ("variablegroup", number)
    ]


@route("GET", r"_apis/accesscontrollists/([\w-]+)")
def _rights(host: AzureDevOps, request: Request, namespace: str) -> Any:
    """security/access-control-lists/query."""
    token, identity = request.query["token"], request.query["descriptors"]
    allow = host.rights.get((namespace, token))
    entries = {} if allow is None else {identity: {"descriptor": identity, "allow": allow, "deny": 0}}
    return [{"token": token, "acesDictionary": entries}]


@route("POST", r"_apis/accesscontrolentries/([\w-]+)")
def _grant(host: AzureDevOps, request: Request, namespace: str) -> Any:
    """security/access-control-entries/set-access-control-entries."""
    token, entries = request.need("token", "accessControlEntries")
    for entry in entries:
        if entry["descriptor"] != FLOWS_IDENTITY:
            raise Refused(400, "no such identity")
        before = host.rights.get((namespace, token), 0) if request.content.get("merge") else 0
        host.rights[namespace, token] = before | entry["allow"]
    return entries


@route("DELETE", r"_apis/accesscontrolentries/([\w-]+)")
def _revoke(host: AzureDevOps, request: Request, namespace: str) -> Any:
    host.rights.pop((namespace, request.query["token"]), None)
    return {"value": True}


@route("GET", "{p}/git/policy/configurations")
def _policies(host: AzureDevOps, request: Request) -> Any:
    """git/policy-configurations/get."""
    wanted = {"repositoryId": request.query["repositoryId"], "refName": request.query["refName"]}
    kind = request.query.get("policyType")
    return [
        policy
        for policy in host.policies
        if kind in (None, policy["type"]["id"])
        and any(wanted.items() <= each.items() for each in policy["settings"]["scope"])
    ]


@route("POST", "{p}/policy/configurations")
def _make_policy(host: AzureDevOps, request: Request) -> Any:
    """policy/configurations/create."""
    request.need("type", "settings", "isEnabled", "isBlocking")
    _checked_policy(host, request)
    host.policies.append({"id": host.new_id(), **request.content})
    return host.policies[-1]


@route("PUT", r"{p}/policy/configurations/(\d+)")
def _edit_policy(host: AzureDevOps, request: Request, number: str) -> Any:
    _checked_policy(host, request)
    policy = by_id(host.policies, number)
    policy |= request.content
    return policy


@route("DELETE", r"{p}/policy/configurations/(\d+)")
def _delete_policy(host: AzureDevOps, request: Request, number: str) -> Any:
    host.policies.remove(by_id(host.policies, number))


def _checked_policy(host: AzureDevOps, request: Request) -> None:
    settings = request.content["settings"]
    if not settings.get("scope"):
        raise Refused(400, "scope")
    if "buildDefinitionId" in settings:
        by_id(host.definitions, str(settings["buildDefinitionId"]))


@contextmanager
def serving() -> Iterator[AzureDevOps]:
    """Serve an empty Azure DevOps; `url` is the organization's address."""
    host = AzureDevOps()

    class Served(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = host.answer(Request(self.command, self.path, dict(self.headers), body))
            sent = (
                b"<html>Sign in</html>" if status == 203 else b"" if content is None else json.dumps(content).encode()
            )
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if status == 203 else "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - the names of the base class

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name of the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Served)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    host.url = f"http://127.0.0.1:{server.server_port}/{ORGANIZATION}"
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
