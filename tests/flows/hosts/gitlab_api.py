"""A GitLab on loopback: the part of its REST interface that a project's flows and `bootstrap` use, with a memory.

It is modelled on https://docs.gitlab.com/api/rest/ (logins, pages, status codes) and on the pages named beside the
routes. A path that is not here is answered with 404 and kept in `unknown`, which the tests demand to be empty.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

Answer = tuple[int, Any]
Query = Mapping[str, str]
Route = Callable[..., Answer]

PAGE = 2  # entries of a list: small, so that whoever forgets the next page is found out
TOKEN, EXPIRED, NARROW = "glpat-good", "glpat-expired", "glpat-read-only"
PROJECT = "ml-team/churn"
NUMBER = 7
ROUTES: list[tuple[str, re.Pattern[str], str, int, bool]] = []


def route(method: str, path: str, *, level: int = 30, premium: bool = False) -> Callable[[Route], Route]:
    """Register a method for a path below /projects/:id; `level` is the role that it asks for."""

    def register(function: Route) -> Route:
        pattern = re.compile(re.sub(r":(\w+)", r"(?P<\1>[^/]+)", path) + r"\Z")
        ROUTES.append((method, pattern, function.__name__, level, premium))
        return function

    return register


class GitLab:
    """One project, its people and all that they make."""

    def __init__(self, inputs: Mapping[str, Any] | None = None, *, premium: bool = True, level: int = 40) -> None:
        """Begin with a project that has a main branch and nothing else.

        Args:
            inputs: of a pipeline: `spec:inputs` of .gitlab-ci.yml. Others are refused.
            premium: whether the group pays; GitLab Free has no such routes.
            level: the role of the login's person in the project.
        """
        self.inputs, self.premium, self.level = inputs or {}, premium, level
        self.url = ""
        self.known_as = f"project_path:{PROJECT}"  # as tokens name it
        self.requests: list[str] = []  # method and path, in the order in which they came
        self.unknown: list[str] = []
        self.broken: str | None = None  # the one request that is answered with 500, as "POST labels"
        self.before: dict[str, Callable[[], None]] = {}  # what another run does just before a request
        self._numbers = itertools.count(1)
        self.users = {"ana": 11, "bo": 12}
        self.groups = {"ml-team": 21}
        self.settings: dict[str, Any] = {
            "id": NUMBER,
            "default_branch": "main",
            "only_allow_merge_if_pipeline_succeeds": False,
        }
        self.protected_branches: dict[str, dict[str, Any]] = {}
        self.approval_rules: dict[str, dict[str, Any]] = {}
        self.environments: dict[str, dict[str, Any]] = {}
        self.protected_environments: dict[str, dict[str, Any]] = {}
        self.variables: dict[str, dict[str, Any]] = {}
        self.labels: dict[str, dict[str, Any]] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        self.issues: dict[str, dict[str, Any]] = {}
        self.merge_requests: dict[str, dict[str, Any]] = {}
        self.notes: dict[str, list[dict[str, Any]]] = {}  # by "issues/1" or "merge_requests/1"
        self.pipelines: list[dict[str, Any]] = []

    def answer(self, method: str, address: str, login: str | None, body: Any) -> tuple[int, Any, dict[str, str]]:
        """Return the status, the content and the headers of an answer."""
        parts = urlsplit(address)
        path = parts.path.removeprefix("/api/v4/")
        query = dict(parse_qsl(parts.query))
        below = re.sub(r"^projects/[^/]+/?", "", path)
        self.requests.append(f"{method} {path}")
        if action := self.before.pop(f"{method} {below}", None):
            action()
        if login not in (f"Bearer {TOKEN}", f"Bearer {NARROW}"):
            return 401, {"message": "401 Unauthorized"}, {}
        if self.broken == f"{method} {below}":
            self.broken = None
            return 500, {"message": "500 Internal Server Error"}, {}
        status, content = self._dispatch(method, path, below, query, body, login == f"Bearer {NARROW}")
        headers = {}
        if status == 200 and isinstance(content, list):
            page = int(query.get("page", "1"))
            if len(content) > page * PAGE:
                # https://docs.gitlab.com/api/rest/#pagination-link-header
                following = urlencode({**query, "page": page + 1})
                headers["Link"] = f'<{self.url}{parts.path}?{following}>; rel="next"'
            content = content[(page - 1) * PAGE : page * PAGE]
        return status, content, headers

    def _dispatch(self, method: str, path: str, below: str, query: Query, body: Any, narrow: bool) -> Answer:
        # https://docs.gitlab.com/api/personal_access_tokens/#get-single-personal-access-token
        if (method, path) == ("GET", "personal_access_tokens/self"):
            return 200, {"active": True, "scopes": ["read_user"] if narrow else ["api", "write_repository"]}
        if narrow:
            return 403, {"error": "insufficient_scope", "error_description": "needs higher privileges", "scope": "api"}
        if path.startswith("projects/"):
            known = unquote(path.split("/")[1]) in (str(NUMBER), PROJECT)
            return (
                self._in_project(method, below, query, body) if known else (404, {"message": "404 Project Not Found"})
            )
        if (method, path) == ("GET", "users"):  # https://docs.gitlab.com/api/users/
            number = self.users.get(query["username"])
            return 200, [{"id": number, "username": query["username"]}] if number else []
        if method == "GET" and path.startswith("groups/"):  # https://docs.gitlab.com/api/groups/
            return _one({name: {"id": number} for name, number in self.groups.items()}, unquote(path[len("groups/") :]))
        self.unknown.append(f"{method} {path}")
        return 404, {"error": "404 Not Found"}

    def _in_project(self, method: str, below: str, query: Query, body: Any) -> Answer:
        for wanted, pattern, name, level, premium in ROUTES:
            found = pattern.match(below)
            if wanted != method or found is None:
                continue
            if premium and not self.premium:
                return 404, {"error": "404 Not Found"}
            if self.level < level:
                return 403, {"message": "403 Forbidden"}
            arguments = {key: unquote(value) for key, value in found.groupdict().items()}
            answer: Answer = getattr(self, name)(query, body or {}, **arguments)
            return answer
        self.unknown.append(f"{method} {below}")
        return 404, {"error": "404 Not Found"}

    def _number(self) -> int:
        return next(self._numbers)

    # https://docs.gitlab.com/api/projects/
    @route("GET", "", level=10)
    def project(self, query: Query, body: Any) -> Answer:
        return 200, {
            **self.settings,
            "permissions": {"project_access": {"access_level": self.level}, "group_access": None},
        }

    @route("PUT", "", level=40)
    def edit_project(self, query: Query, body: Any) -> Answer:
        if set(body) - {"only_allow_merge_if_pipeline_succeeds"}:
            return 400, {"error": f"the fake does not know {set(body)}"}
        self.settings |= body
        return 200, self.settings

    # https://docs.gitlab.com/api/protected_branches/
    @route("GET", "protected_branches/:name", level=40)
    def protected_branch(self, query: Query, body: Any, name: str) -> Answer:
        return _one(self.protected_branches, name)

    @route("POST", "protected_branches", level=40)
    def protect_branch(self, query: Query, body: Any) -> Answer:
        if body["name"] in self.protected_branches:
            return 409, {"message": f"Protected branch '{body['name']}' already exists"}
        made = {
            "name": body["name"],
            "push_access_levels": [{"access_level": body.get("push_access_level", 40)}],
            "merge_access_levels": [{"access_level": body.get("merge_access_level", 40)}],
            "allow_force_push": body.get("allow_force_push", False),
        }
        self.protected_branches[body["name"]] = made
        return 201, made

    @route("DELETE", "protected_branches/:name", level=40)
    def unprotect_branch(self, query: Query, body: Any, name: str) -> Answer:
        return _removed(self.protected_branches, name)

    # https://docs.gitlab.com/api/merge_request_approvals/
    @route("GET", "approval_rules", premium=True)
    def list_rules(self, query: Query, body: Any) -> Answer:
        return 200, list(self.approval_rules.values())

    @route("POST", "approval_rules", level=40, premium=True)
    def make_rule(self, query: Query, body: Any) -> Answer:
        if missing := {"name", "approvals_required"} - set(body):
            return 400, {"error": f"{missing} is missing"}
        number = self._number()
        self.approval_rules[str(number)] = {"id": number, **body}
        return 201, self.approval_rules[str(number)]

    @route("DELETE", "approval_rules/:number", level=40, premium=True)
    def remove_rule(self, query: Query, body: Any, number: str) -> Answer:
        return _removed(self.approval_rules, number)

    # https://docs.gitlab.com/api/environments/
    @route("GET", "environments")
    def list_environments(self, query: Query, body: Any) -> Answer:
        return 200, [each for each in self.environments.values() if each["name"] == query["name"]]

    @route("POST", "environments")
    def make_environment(self, query: Query, body: Any) -> Answer:
        if body.get("tier") not in ("production", "staging", "testing", "development", "other", None):
            return 400, {"message": "tier is invalid"}
        number = self._number()
        self.environments[str(number)] = {"id": number, "state": "available", **body}
        return 201, self.environments[str(number)]

    @route("POST", "environments/:number/stop")
    def stop_environment(self, query: Query, body: Any, number: str) -> Answer:
        self.environments[number]["state"] = "stopped"
        return 200, self.environments[number]

    @route("DELETE", "environments/:number")
    def remove_environment(self, query: Query, body: Any, number: str) -> Answer:
        if self.environments[number]["state"] != "stopped":
            return 403, {"message": "403 Forbidden - The environment must be stopped first"}
        if self.environments[number]["name"] in self.protected_environments:
            return 403, {"message": "403 Forbidden"}
        return _removed(self.environments, number)

    # https://docs.gitlab.com/api/protected_environments/
    @route("GET", "protected_environments", premium=True)
    def list_protected(self, query: Query, body: Any) -> Answer:
        return 200, list(self.protected_environments.values())

    @route("POST", "protected_environments", level=40, premium=True)
    def protect_environment(self, query: Query, body: Any) -> Answer:
        if missing := {"name", "deploy_access_levels"} - set(body):
            return 400, {"error": f"{missing} is missing"}
        if body["name"] in self.protected_environments:
            return 409, {"message": f"Protected environment '{body['name']}' already exists"}
        made = {"name": body["name"], "deploy_access_levels": body["deploy_access_levels"], "approval_rules": []}
        self.protected_environments[body["name"]] = made
        return 201, self._rules(made, body)

    @route("PUT", "protected_environments/:name", level=40, premium=True)
    def edit_protected(self, query: Query, body: Any, name: str) -> Answer:
        return 200, self._rules(self.protected_environments[name], body)

    @route("DELETE", "protected_environments/:name", level=40, premium=True)
    def unprotect_environment(self, query: Query, body: Any, name: str) -> Answer:
        return _removed(self.protected_environments, name)

    def _rules(self, environment: dict[str, Any], body: Any) -> dict[str, Any]:
        for rule in body["approval_rules"]:
            if rule.get("_destroy"):
                kept = [each for each in environment["approval_rules"] if each["id"] != rule["id"]]
                environment["approval_rules"] = kept
            else:
                made = {"id": self._number(), "user_id": None, "group_id": None, **rule}
                environment["approval_rules"].append(made)
        return environment

    # https://docs.gitlab.com/api/project_level_variables/
    @route("GET", "variables/:key", level=40)
    def variable(self, query: Query, body: Any, key: str) -> Answer:
        return _one(self.variables, key)

    @route("POST", "variables", level=40)
    def make_variable(self, query: Query, body: Any) -> Answer:
        if body["key"] in self.variables:
            return 400, {"message": {"key": [f"({body['key']}) has already been taken"]}}
        if not re.fullmatch(r"\w{1,255}", body["key"]) or not isinstance(body["value"], str):
            return 400, {"message": "key or value is invalid"}
        self.variables[body["key"]] = body
        return 201, body

    @route("PUT", "variables/:key", level=40)
    def edit_variable(self, query: Query, body: Any, key: str) -> Answer:
        self.variables[key] |= body
        return 200, self.variables[key]

    @route("DELETE", "variables/:key", level=40)
    def remove_variable(self, query: Query, body: Any, key: str) -> Answer:
        return _removed(self.variables, key)

    # https://docs.gitlab.com/api/labels/
    @route("GET", "labels/:name", level=10)
    def label(self, query: Query, body: Any, name: str) -> Answer:
        return _one(self.labels, name)

    @route("POST", "labels", level=15)
    def make_label(self, query: Query, body: Any) -> Answer:
        if not re.fullmatch(r"#[0-9a-f]{6}", body["color"]):
            return 400, {"message": "color is invalid"}
        if body["name"] in self.labels:
            return 409, {"message": "Label already exists"}
        self.labels[body["name"]] = body
        return 201, body

    @route("DELETE", "labels/:name", level=15)
    def remove_label(self, query: Query, body: Any, name: str) -> Answer:
        return _removed(self.labels, name)

    # https://docs.gitlab.com/api/pipeline_schedules/ - the list has no inputs, a single schedule has
    @route("GET", "pipeline_schedules")
    def list_schedules(self, query: Query, body: Any) -> Answer:
        kept = ("id", "description", "ref", "cron")
        return 200, [{key: each[key] for key in kept} for each in self.schedules.values()]

    @route("GET", "pipeline_schedules/:number")
    def schedule(self, query: Query, body: Any, number: str) -> Answer:
        return _one(self.schedules, number)

    @route("POST", "pipeline_schedules")
    def make_schedule(self, query: Query, body: Any) -> Answer:
        if missing := {"description", "ref", "cron"} - set(body):
            return 400, {"error": f"{missing} is missing"}
        if refused := self._refused({each["name"]: each["value"] for each in body["inputs"]}):
            return 400, {"message": refused}
        number = self._number()
        self.schedules[str(number)] = {"id": number, **body}
        return 201, self.schedules[str(number)]

    @route("PUT", "pipeline_schedules/:number")
    def edit_schedule(self, query: Query, body: Any, number: str) -> Answer:
        self.schedules[number] |= body
        return 200, self.schedules[number]

    @route("DELETE", "pipeline_schedules/:number")
    def remove_schedule(self, query: Query, body: Any, number: str) -> Answer:
        return _removed(self.schedules, number)

    # https://docs.gitlab.com/api/pipelines/#create-a-new-pipeline
    @route("POST", "pipeline")
    def make_pipeline(self, query: Query, body: Any) -> Answer:
        if body["ref"] != "main":
            return 400, {"message": {"base": ["Reference not found"]}}
        if refused := self._refused(body.get("inputs", {})):
            return 400, {"message": {"base": [refused]}}
        self.pipelines.append({"id": self._number(), **body})
        return 201, {"id": self.pipelines[-1]["id"], "web_url": f"{self._web()}/-/pipelines/{self.pipelines[-1]['id']}"}

    def _refused(self, given: Mapping[str, Any]) -> str | None:
        """Say which input a pipeline would not take: https://docs.gitlab.com/ci/inputs/#for-a-pipeline."""
        for name, value in given.items():
            rule = self.inputs.get(name)
            if rule is None or not isinstance(value, str):
                return f"{name} is no input, or its value no string"
            if value not in rule.get("options", [value]) or not re.search(rule.get("regex", ""), value):
                return f"{name} may not be {value}"
        return None

    # https://docs.gitlab.com/api/issues/
    @route("GET", "issues", level=10)
    def list_issues(self, query: Query, body: Any) -> Answer:
        kept = [each for each in self.issues.values() if each["state"] == query.get("state", each["state"])]
        kept = [each for each in kept if query.get("labels") in (None, *each["labels"])]
        return 200, sorted(kept, key=lambda each: each["iid"], reverse=query.get("sort", "desc") == "desc")

    @route("POST", "issues", level=10)
    def make_issue(self, query: Query, body: Any) -> Answer:
        if not body.get("title"):
            return 400, {"error": "title is missing"}
        number = len(self.issues) + 1
        labels = [label for label in body.get("labels", "").split(",") if label]
        address = f"{self._web()}/-/issues/{number}"
        made = {"iid": number, "state": "opened", "web_url": address, "description": None, **body, "labels": labels}
        self.issues[str(number)] = made
        return 201, made

    @route("PUT", "issues/:number", level=20)
    def edit_issue(self, query: Query, body: Any, number: str) -> Answer:
        if number not in self.issues:
            return 404, {"message": "404 Not found"}
        changes = dict(body)
        if changes.pop("state_event", None) == "close":
            changes["state"] = "closed"
        self.issues[number] |= changes
        return 200, self.issues[number]

    # https://docs.gitlab.com/api/notes/
    @route("GET", ":kind/:number/notes", level=10)
    def list_notes(self, query: Query, body: Any, kind: str, number: str) -> Answer:
        return 200, self.notes.get(f"{kind}/{number}", [])[::-1]  # the newest first

    @route("POST", ":kind/:number/notes", level=10)
    def make_note(self, query: Query, body: Any, kind: str, number: str) -> Answer:
        if not body.get("body") or number not in getattr(self, kind):
            return 400, {"error": "body is missing, or what it is about"}
        self.notes.setdefault(f"{kind}/{number}", []).append({"id": self._number(), "system": False, **body})
        return 201, self.notes[f"{kind}/{number}"][-1]

    @route("PUT", ":kind/:number/notes/:note", level=10)
    def edit_note(self, query: Query, body: Any, kind: str, number: str, note: str) -> Answer:
        (found,) = (each for each in self.notes[f"{kind}/{number}"] if each["id"] == int(note))
        found |= body
        return 200, found

    @route("DELETE", ":kind/:number/notes/:note", level=10)
    def remove_note(self, query: Query, body: Any, kind: str, number: str, note: str) -> Answer:
        notes = self.notes[f"{kind}/{number}"]
        notes[:] = [each for each in notes if each["id"] != int(note)]
        return 204, None

    # https://docs.gitlab.com/api/merge_requests/
    @route("GET", "merge_requests", level=10)
    def list_merge_requests(self, query: Query, body: Any) -> Answer:
        names = ("state", "source_branch", "target_branch")
        conditions = {name: query[name] for name in names if name in query}
        found = self.merge_requests.values()
        return 200, [each for each in found if conditions.items() <= each.items()]

    @route("POST", "merge_requests")
    def make_merge_request(self, query: Query, body: Any) -> Answer:
        if missing := {"source_branch", "target_branch", "title"} - set(body):
            return 400, {"error": f"{missing} is missing"}
        ends = {"state": "opened", "source_branch": body["source_branch"], "target_branch": body["target_branch"]}
        if self.list_merge_requests(ends, None)[1]:
            return 409, {"message": ["Another open merge request already exists for this source branch: !1"]}
        number = len(self.merge_requests) + 1
        address = f"{self._web()}/-/merge_requests/{number}"
        self.merge_requests[str(number)] = {"iid": number, "state": "opened", "web_url": address, **body}
        return 201, self.merge_requests[str(number)]

    @route("PUT", "merge_requests/:number")
    def edit_merge_request(self, query: Query, body: Any, number: str) -> Answer:
        self.merge_requests[number] |= body
        return 200, self.merge_requests[number]

    def _web(self) -> str:
        return f"{self.url}/{PROJECT}"


def _one(things: Mapping[str, Any], name: str) -> Answer:
    return (200, things[name]) if name in things else (404, {"message": "404 Not found"})


def _removed(things: dict[str, Any], name: str) -> Answer:
    return (204, None) if things.pop(name, None) else (404, {"message": "404 Not found"})


@contextmanager
def serving(gitlab: GitLab) -> Iterator[GitLab]:
    """Answer on loopback, at `gitlab.url`; at the end nothing unknown may have been asked for."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            found = gitlab.answer(self.command, self.path, self.headers.get("Authorization"), body)
            status, content, headers = found
            raw = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - the names of the base class

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name of the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    gitlab.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield gitlab
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert not gitlab.unknown, gitlab.unknown
