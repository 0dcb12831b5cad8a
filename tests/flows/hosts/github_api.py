"""GitHub on loopback: the endpoints that a project uses, with state, as https://docs.github.com/rest documents them.

It knows every login and what it may do, refuses what the documentation does not name, and gives lists
in small pages. What a client should not have asked is kept in `wrong`, which tests expect to be empty.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from .tokens import token as make_token

ISSUER = "https://token.actions.githubusercontent.com"
PAGE = 2  # entries: GitHub gives up to 100, and clients have to follow the links all the same
FLOW = "ghs_flow"  # the login that GitHub gives to a job
RIGHTS = ("actions", "administration", "contents", "issues", "members", "pull-requests", "variables")
OWNER_RIGHTS = dict.fromkeys(RIGHTS, "write")
# What the endpoints take, of https://docs.github.com/rest; those that must be given end with "!".
FIELDS = {
    "comment": ("body!",),
    "issue": ("title!", "body", "labels", "assignees", "milestone"),
    "issue change": ("title", "body", "state", "state_reason", "labels", "assignees", "milestone"),
    "label": ("name!", "color!", "description"),
    "dispatch": ("ref!", "inputs", "return_run_details"),
    "pull": ("title!", "head!", "base!", "body", "draft", "maintainer_can_modify"),
    "pull change": ("title", "body", "state", "base", "maintainer_can_modify"),
    "variable": ("name!", "value!"),
    "variable change": ("name", "value"),
    "right": ("default_workflow_permissions", "can_approve_pull_request_reviews"),
    "environment": ("wait_timer", "prevent_self_review", "reviewers", "deployment_branch_policy"),
    "policy": ("name!", "type"),
    "ruleset": ("name!", "target", "enforcement!", "bypass_actors", "conditions", "rules"),
}
# The parameters that a rule must have, and the others are told apart by their types.
RULES = {
    "deletion": (),
    "non_fast_forward": (),
    "pull_request": (
        "dismiss_stale_reviews_on_push", "require_code_owner_review", "require_last_push_approval",
        "required_approving_review_count", "required_review_thread_resolution",
    ),
    "required_status_checks": ("required_status_checks", "strict_required_status_checks_policy"),
}  # fmt: skip


class Refused(Exception):  # noqa: N818 - an answer, no error of ours
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Route:
    method: str
    path: re.Pattern[str]
    rights: tuple[str, ...]  # any of them
    fields: str
    status: int
    answer: Callable[..., Any]


ROUTES: list[Route] = []


def route(method: str, path: str, *rights: str, fields: str = "", status: int = 200) -> Callable[[Any], Any]:
    """Register a handler; {name} in a path is a part of it, and REPO stands for the repository."""
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path.replace("REPO", "/repos/{owner}/{repo}"))

    def register(handler: Callable[..., Any]) -> Callable[..., Any]:
        ROUTES.append(Route(method, re.compile(pattern), rights, fields, status, handler))
        return handler

    return register


@dataclass
class GitHub:
    """A repository of an organization, and all that is around it."""

    origin: Path  # the bare repository: a branch must have been pushed before it can be proposed
    workflows: Path
    name: str = "team/churn"
    private: bool = False
    plan: str = "enterprise"
    address: str = ""
    logins: dict[str, Mapping[str, str]] = field(default_factory=lambda: {"owner": OWNER_RIGHTS})
    teams: dict[str, int] = field(default_factory=lambda: {"ml-team": 11})
    people: dict[str, int] = field(default_factory=lambda: {"ada": 21, "stranger": 22})
    collaborators: set[str] = field(default_factory=lambda: {"ada"})
    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    comments: dict[int, dict[str, Any]] = field(default_factory=dict)
    pulls: dict[int, dict[str, Any]] = field(default_factory=dict)
    labels: dict[str, dict[str, Any]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    policies: dict[str, dict[int, str]] = field(default_factory=dict)
    rulesets: dict[int, dict[str, Any]] = field(default_factory=dict)
    may_propose: bool = False
    immutable: bool | None = True  # whether tokens name owner and repository by number too; None: in a form of its own
    known_as: str = "repo:ml-team@1/churn@2"  # as tokens name it
    dispatched: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    refuse_after: int | None = None  # so many further changes succeed, then the host is out of order
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def number(self) -> int:
        self.count += 1
        return self.count

    def changes(self) -> list[tuple[str, str]]:
        """Return the requests that changed something, and forget all."""
        found = [each for each in self.requests if each[0] != "GET"]
        self.requests.clear()
        return found

    def job(self, flow: str, name: str) -> dict[str, Any]:
        """Return a job of a flow, or of one that the flow calls: that one has no right that the calling job lacks."""
        jobs: dict[str, dict[str, Any]] = yaml.safe_load((self.workflows / flow).read_text(encoding="utf-8"))["jobs"]
        if name in jobs:
            return jobs[name]
        calling = next(each for each in jobs.values() if "uses" in each)
        called = self.job(calling["uses"].rpartition("/")[2], name)
        permissions = {each: kind for each, kind in called["permissions"].items() if each in calling["permissions"]}
        return called | {"permissions": permissions}

    def pull_request(self, branch: str = "change", source: str | None = None) -> dict[str, Any]:
        """Add a pull request from a branch, and return what an event tells of it."""
        number = self.number()
        head = {"ref": branch, "sha": "0" * 40, "repo": {"full_name": source or self.name}}
        base = {"ref": "main", "sha": "0" * 40, "repo": {"full_name": self.name}}
        self.pulls[number] = {"number": number, "state": "open", "head": head, "base": base}
        return {"number": number, "pull_request": self.pulls[number], "repository": {"full_name": self.name}}

    def respond(self, method: str, path: str, query: Mapping[str, str], token: str, sent: Any) -> tuple[int, Any]:
        """Return the status and the content of an answer."""
        self.requests.append((method, path))
        if token not in self.logins:
            return 401, {"message": "Bad credentials"}
        for each in ROUTES:
            found = each.path.fullmatch(path)
            if each.method != method or found is None:
                continue
            parts = found.groupdict()
            try:
                self._allow(each, parts, token)
                if method != "GET":
                    self._count_down()
                return self._status(each, sent), each.answer(self, query=query, sent=sent or {}, token=token, **parts)
            except Refused as refusal:
                return refusal.status, {"message": str(refusal)}
        self.wrong.append(f"{method} {path} is not known here")
        return 404, {"message": "Not Found"}

    def _allow(self, asked: Route, parts: Mapping[str, str], token: str) -> None:
        if "repo" in parts and f"{parts['owner']}/{parts['repo']}" != self.name:
            raise Refused(404, "Not Found")
        rights = self.logins[token]
        enough = ("read", "write") if asked.method == "GET" else ("write",)
        if asked.rights and not any(rights.get(right) in enough for right in asked.rights):
            who = "integration" if token == FLOW else "personal access token"
            raise Refused(403, f"Resource not accessible by {who}")

    def _status(self, asked: Route, sent: Any) -> int:
        known = FIELDS.get(asked.fields, ())
        given = set(sent or {})
        missing = [name for name in known if name.endswith("!") and name.rstrip("!") not in given]
        unknown = given - {name.rstrip("!") for name in known}
        if missing or unknown:
            self.wrong.append(f"{asked.method} {asked.path.pattern}: without {missing}, with unknown {unknown}")
            raise Refused(422, "Invalid request.")
        return asked.status

    def _count_down(self) -> None:
        if self.refuse_after is not None:
            if self.refuse_after == 0:
                raise Refused(500, "Server Error")
            self.refuse_after -= 1


# https://docs.github.com/rest/repos/repos#get-a-repository
@route("GET", "REPO")
def _repository(github: GitHub, token: str, **_: Any) -> Any:
    owner = {"login": github.name.partition("/")[0], "type": "Organization", "id": 1}
    admin = github.logins[token].get("role", "admin") == "admin"
    return {
        "id": 2, "full_name": github.name, "default_branch": "main", "has_issues": True, "private": github.private,
        "owner": owner, "permissions": {"admin": admin, "push": True, "pull": True},
    }  # fmt: skip


# https://docs.github.com/rest/actions/oidc; use_immutable_subject is of 2026-04, and may be left out.
@route("GET", "REPO/actions/oidc/customization/sub", "actions")
def _subject(github: GitHub, **_: Any) -> Any:
    if github.immutable is None:
        return {"use_default": False, "include_claim_keys": ["repo"]}
    return {"use_default": True, "use_immutable_subject": github.immutable}


# https://docs.github.com/actions/reference/security/oidc; GitHub's own address of it says which job asks.
@route("GET", "/id-token")
def _id_token(github: GitHub, query: Mapping[str, str], **_: Any) -> Any:
    job = github.job(query["flow"], query["job"])
    if job["permissions"].get("id-token") != "write":
        raise Refused(403, "Resource not accessible by integration")
    place = f"environment:{job['environment']}" if "environment" in job else query["place"]
    return {"value": make_token(ISSUER, f"{github.known_as}:{place}", query["audience"])}


# https://docs.github.com/rest/orgs/orgs#get-an-organization
@route("GET", "/orgs/{org}")
def _organization(github: GitHub, org: str, **_: Any) -> Any:
    return {"login": org, "plan": {"name": github.plan}}


# https://docs.github.com/rest/teams/teams#get-a-team-by-name
@route("GET", "/orgs/{org}/teams/{slug}", "members")
def _team(github: GitHub, slug: str, **_: Any) -> Any:
    if slug not in github.teams:
        raise Refused(404, "Not Found")
    return {"id": github.teams[slug], "slug": slug}


# https://docs.github.com/rest/teams/teams#check-team-permissions-for-a-repository
@route("GET", "/orgs/{org}/teams/{slug}/repos/{owner}/{repo}", "members", status=204)
def _team_access(github: GitHub, slug: str, **_: Any) -> Any:
    if slug not in github.teams:
        raise Refused(404, "Not Found")


# https://docs.github.com/rest/users/users#get-a-user
@route("GET", "/users/{login}")
def _person(github: GitHub, login: str, **_: Any) -> Any:
    if login not in github.people:
        raise Refused(404, "Not Found")
    return {"id": github.people[login], "login": login}


# https://docs.github.com/rest/collaborators/collaborators#check-if-a-user-is-a-repository-collaborator
@route("GET", "REPO/collaborators/{login}", status=204)
def _collaborator(github: GitHub, login: str, **_: Any) -> Any:
    if login not in github.collaborators:
        raise Refused(404, "Not Found")


# https://docs.github.com/rest/issues/comments#list-issue-comments
@route("GET", "REPO/issues/{number}/comments", "issues", "pull-requests")
def _comments(github: GitHub, number: str, **_: Any) -> Any:
    return [each for each in github.comments.values() if each["of"] == int(number)]


# https://docs.github.com/rest/issues/comments#create-an-issue-comment
@route("POST", "REPO/issues/{number}/comments", "issues", "pull-requests", fields="comment", status=201)
def _comment(github: GitHub, number: str, sent: Any, token: str, **_: Any) -> Any:
    if int(number) not in github.issues and int(number) not in github.pulls:
        raise Refused(404, "Not Found")
    if len(sent["body"]) > 65_536:
        raise Refused(422, "Validation Failed: body is too long (maximum is 65536 characters)")
    made = github.number()
    where = f"https://github.com/{github.name}/issues/{number}#issuecomment-{made}"
    user = {"login": "github-actions[bot]", "type": "Bot"} if token == FLOW else {"login": token, "type": "User"}
    github.comments[made] = {"id": made, "of": int(number), "body": sent["body"], "html_url": where, "user": user}
    return github.comments[made]


# https://docs.github.com/rest/issues/comments#update-an-issue-comment
@route("PATCH", "REPO/issues/comments/{number}", "issues", "pull-requests", fields="comment")
def _edit_comment(github: GitHub, number: str, sent: Any, **_: Any) -> Any:
    if int(number) not in github.comments:
        raise Refused(404, "Not Found")
    return github.comments[int(number)] | {"body": github.comments[int(number)].update(sent) or sent["body"]}


# https://docs.github.com/rest/issues/comments#delete-an-issue-comment
@route("DELETE", "REPO/issues/comments/{number}", "issues", "pull-requests", status=204)
def _remove_comment(github: GitHub, number: str, **_: Any) -> Any:
    _take(github.comments, int(number))


# https://docs.github.com/rest/issues/issues#list-repository-issues
@route("GET", "REPO/issues", "issues")
def _issues(github: GitHub, query: Mapping[str, str], **_: Any) -> Any:
    wanted = set(filter(None, query.get("labels", "").split(",")))
    state = query.get("state", "open")
    # A pull request is an issue too: it bears the key that tells it.
    pulls = [{**each, "labels": [], "pull_request": {}, "body": None} for each in github.pulls.values()]
    entries = [
        each
        for each in [*pulls, *github.issues.values()]
        if each["state"] == state and wanted <= {label["name"] for label in each["labels"]}
    ]
    return sorted(entries, key=lambda each: each["number"], reverse=query.get("direction", "desc") == "desc")


# https://docs.github.com/rest/issues/issues#create-an-issue
@route("POST", "REPO/issues", "issues", fields="issue", status=201)
def _open_issue(github: GitHub, sent: Any, **_: Any) -> Any:
    number = github.number()
    names = sent.pop("labels", [])
    for name in names:
        github.labels.setdefault(name, {"name": name})
    where = f"https://github.com/{github.name}/issues/{number}"
    labels = [{"name": name} for name in names]
    made = {"number": number, "state": "open", "labels": labels, "html_url": where, "body": None}
    github.issues[number] = made | sent
    return github.issues[number]


# https://docs.github.com/rest/issues/issues#update-an-issue
@route("PATCH", "REPO/issues/{number}", "issues", fields="issue change")
def _edit_issue(github: GitHub, number: str, sent: Any, **_: Any) -> Any:
    if int(number) not in github.issues:
        raise Refused(404, "Not Found")
    if sent.get("state_reason") not in (None, "completed", "not_planned", "duplicate", "reopened"):
        raise Refused(422, "Validation Failed")
    github.issues[int(number)].update(sent)
    return github.issues[int(number)]


# https://docs.github.com/rest/issues/labels
@route("GET", "REPO/labels/{label}", "issues", "pull-requests")
def _label(github: GitHub, label: str, **_: Any) -> Any:
    return _get(github.labels, label)


@route("POST", "REPO/labels", "issues", "pull-requests", fields="label", status=201)
def _make_label(github: GitHub, sent: Any, **_: Any) -> Any:
    if sent["name"] in github.labels or not re.fullmatch("[0-9a-f]{6}", sent["color"]):
        raise Refused(422, "Validation Failed")
    github.labels[sent["name"]] = sent
    return sent


@route("DELETE", "REPO/labels/{label}", "issues", "pull-requests", status=204)
def _remove_label(github: GitHub, label: str, **_: Any) -> Any:
    _take(github.labels, label)


# https://docs.github.com/rest/actions/workflows#create-a-workflow-dispatch-event
@route("POST", "REPO/actions/workflows/{file}/dispatches", "actions", fields="dispatch")
def _dispatch(github: GitHub, file: str, sent: Any, **_: Any) -> Any:
    path = github.workflows / file
    if not path.exists():
        raise Refused(404, "Not Found")
    triggers = yaml.safe_load(path.read_text(encoding="utf-8"))[True]  # YAML 1.1 reads `on` so
    if "workflow_dispatch" not in triggers:
        raise Refused(422, "Workflow does not have 'workflow_dispatch' trigger")
    _require_branch(github, sent["ref"], f"No ref found for: {sent['ref']}")
    unexpected = set(sent.get("inputs", {})) - set((triggers["workflow_dispatch"] or {}).get("inputs", {}))
    if unexpected or not all(isinstance(value, str) for value in sent.get("inputs", {}).values()):
        raise Refused(422, f"Unexpected inputs provided: {sorted(unexpected)}")
    github.dispatched.append({"flow": file, **sent})
    run = github.number()
    where = f"https://github.com/{github.name}/actions/runs/{run}"
    return {"workflow_run_id": run, "run_url": where, "html_url": where} if sent.get("return_run_details") else None


# https://docs.github.com/rest/pulls/pulls
@route("GET", "REPO/pulls", "pull-requests")
def _pulls(github: GitHub, query: Mapping[str, str], **_: Any) -> Any:
    owner = github.name.partition("/")[0]
    return [
        each
        for each in github.pulls.values()
        if each["state"] == query.get("state", "open")
        and query.get("base", "main") == each["base"]["ref"]
        and query.get("head", f"{owner}:{each['head']['ref']}") == f"{owner}:{each['head']['ref']}"
    ]


@route("POST", "REPO/pulls", "pull-requests", fields="pull", status=201)
def _open_pull(github: GitHub, sent: Any, token: str, **_: Any) -> Any:
    if token == FLOW and not github.may_propose:
        raise Refused(403, "GitHub Actions is not permitted to create or approve pull requests.")
    _require_branch(github, sent["head"], "Validation Failed: head is invalid")
    if any(each["head"]["ref"] == sent["head"] and each["state"] == "open" for each in github.pulls.values()):
        raise Refused(422, f"A pull request already exists for {sent['head']}.")
    github.pull_request(sent["head"])
    return _edit_pull(github, number=str(github.count), sent={"title": sent["title"], "body": sent.get("body")})


@route("PATCH", "REPO/pulls/{number}", "pull-requests", fields="pull change")
def _edit_pull(github: GitHub, number: str, sent: Any, **_: Any) -> Any:
    found = _get(github.pulls, int(number))
    found.update(sent, html_url=f"https://github.com/{github.name}/pull/{number}")
    return found


# https://docs.github.com/rest/actions/variables
@route("GET", "REPO/actions/variables", "variables")
def _variables(github: GitHub, **_: Any) -> Any:
    return {"total_count": len(github.variables), "variables": []}


@route("GET", "REPO/actions/variables/{variable}", "variables")
def _variable(github: GitHub, variable: str, **_: Any) -> Any:
    return {"name": variable, "value": _get(github.variables, variable)}


@route("POST", "REPO/actions/variables", "variables", fields="variable", status=201)
def _make_variable(github: GitHub, sent: Any, **_: Any) -> Any:
    if sent["name"] in github.variables:
        raise Refused(409, "Already exists - Variable already exists")
    github.variables[sent["name"]] = sent["value"]
    return {}


@route("PATCH", "REPO/actions/variables/{variable}", "variables", fields="variable change", status=204)
def _edit_variable(github: GitHub, variable: str, sent: Any, **_: Any) -> Any:
    _get(github.variables, variable)
    github.variables[variable] = sent["value"]


@route("DELETE", "REPO/actions/variables/{variable}", "variables", status=204)
def _remove_variable(github: GitHub, variable: str, **_: Any) -> Any:
    _take(github.variables, variable)


# https://docs.github.com/rest/actions/permissions#get-default-workflow-permissions-for-a-repository
@route("GET", "REPO/actions/permissions/workflow", "administration")
def _right(github: GitHub, **_: Any) -> Any:
    return {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": github.may_propose}


@route("PUT", "REPO/actions/permissions/workflow", "administration", fields="right", status=204)
def _edit_right(github: GitHub, sent: Any, **_: Any) -> Any:
    github.may_propose = sent["can_approve_pull_request_reviews"]


# https://docs.github.com/rest/deployments/environments
@route("GET", "REPO/environments/{environment}", "actions")
def _environment(github: GitHub, environment: str, **_: Any) -> Any:
    return _get(github.environments, environment)


@route("PUT", "REPO/environments/{environment}", "administration", fields="environment")
def _edit_environment(github: GitHub, environment: str, sent: Any, **_: Any) -> Any:
    reviewers = sent.get("reviewers") or []
    if github.private and reviewers and github.plan != "enterprise":
        raise Refused(
            422,
            "Failed to create the environment protection rule. Please ensure the billing plan supports the required "
            "reviewers protection rule.",
        )
    known = {("Team", number) for number in github.teams.values()}
    known |= {("User", github.people[each]) for each in github.collaborators}
    if len(reviewers) > 6 or not {(each["type"], each["id"]) for each in reviewers} <= known:
        raise Refused(422, "Validation Failed")
    branches = sent.get("deployment_branch_policy")
    if branches and branches["protected_branches"] == branches["custom_branch_policies"]:
        raise Refused(422, "protected_branches and custom_branch_policies cannot have the same value")
    rules: list[dict[str, Any]] = []
    if reviewers:
        shown = [{"type": each["type"], "reviewer": {"id": each["id"]}} for each in reviewers]
        self_review = sent.get("prevent_self_review", False)
        rules.append({"type": "required_reviewers", "reviewers": shown, "prevent_self_review": self_review})
    if sent.get("wait_timer"):
        rules.append({"type": "wait_timer", "wait_timer": sent["wait_timer"]})
    if branches:
        rules.append({"type": "branch_policy"})
    made = {"name": environment, "protection_rules": rules, "deployment_branch_policy": branches}
    github.environments[environment] = made
    github.policies.setdefault(environment, {})
    return made


@route("DELETE", "REPO/environments/{environment}", "administration", status=204)
def _remove_environment(github: GitHub, environment: str, **_: Any) -> Any:
    _take(github.environments, environment)
    github.policies.pop(environment)


# https://docs.github.com/rest/deployments/branch-policies
@route("GET", "REPO/environments/{environment}/deployment-branch-policies", "actions")
def _policies(github: GitHub, environment: str, **_: Any) -> Any:
    found = _get(github.policies, environment)
    return {"total_count": len(found), "branch_policies": [{"id": key, "name": name} for key, name in found.items()]}


@route("POST", "REPO/environments/{environment}/deployment-branch-policies", "administration", fields="policy")
def _make_policy(github: GitHub, environment: str, sent: Any, **_: Any) -> Any:
    if not (_get(github.environments, environment)["deployment_branch_policy"] or {}).get("custom_branch_policies"):
        raise Refused(404, "Not Found or `deployment_branch_policy.custom_branch_policies` is set to false")
    number = github.number()
    github.policies[environment][number] = sent["name"]
    return {"id": number, "name": sent["name"]}


@route("DELETE", "REPO/environments/{environment}/deployment-branch-policies/{number}", "administration", status=204)
def _remove_policy(github: GitHub, environment: str, number: str, **_: Any) -> Any:
    _take(github.policies[environment], int(number))


# https://docs.github.com/rest/repos/rules
@route("GET", "REPO/rulesets")
def _rulesets(github: GitHub, **_: Any) -> Any:
    if github.private and github.plan == "free":
        raise Refused(403, "Upgrade to GitHub Pro or make this repository public to enable this feature.")
    return [{"id": number, "name": each["name"]} for number, each in github.rulesets.items()]


@route("GET", "REPO/rulesets/{number}")
def _ruleset(github: GitHub, number: str, **_: Any) -> Any:
    return _get(github.rulesets, int(number))


@route("POST", "REPO/rulesets", "administration", fields="ruleset", status=201)
def _make_ruleset(github: GitHub, sent: Any, **_: Any) -> Any:
    if any(each["name"] == sent["name"] for each in github.rulesets.values()):
        raise Refused(422, "Validation Failed: Name must be unique")
    return _edit_ruleset(github, number=str(github.number()), sent=sent, fresh=True)


@route("PUT", "REPO/rulesets/{number}", "administration", fields="ruleset")
def _edit_ruleset(github: GitHub, number: str, sent: Any, fresh: bool = False, **_: Any) -> Any:
    if not fresh:
        _get(github.rulesets, int(number))
    for rule in sent["rules"]:
        if set(RULES[rule["type"]]) != set(rule.get("parameters", {})):
            raise Refused(422, f"Validation Failed: parameters of {rule['type']}")
    # It tells in answers which app may report a check, also when none was named.
    shown = json.loads(json.dumps(sent))
    for rule in shown["rules"]:
        for each in rule.get("parameters", {}).get("required_status_checks", []):
            each.setdefault("integration_id", None)
    github.rulesets[int(number)] = {"id": int(number), **shown}
    return github.rulesets[int(number)]


@route("DELETE", "REPO/rulesets/{number}", "administration", status=204)
def _remove_ruleset(github: GitHub, number: str, **_: Any) -> Any:
    _take(github.rulesets, int(number))


def _get(known: Mapping[Any, Any], key: Any) -> Any:
    if key not in known:
        raise Refused(404, "Not Found")
    return known[key]


def _take(known: dict[Any, Any], key: Any) -> None:
    _get(known, key)
    del known[key]


def _require_branch(github: GitHub, branch: str, message: str) -> None:
    command = ["git", f"--git-dir={github.origin}", "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise Refused(422, message)


class _Handler(BaseHTTPRequestHandler):
    github: GitHub

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = json.loads(self.rfile.read(length)) if length else None
        address = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(address.query).items()}
        # https://docs.github.com/rest/using-the-rest-api/getting-started-with-the-rest-api#headers
        for header in ("X-GitHub-Api-Version", "User-Agent", "Authorization"):
            if not self.headers[header] and address.path != "/id-token":
                self.github.wrong.append(f"{self.command} {address.path} has no {header}")
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        with self.github.lock:
            status, content = self.github.respond(self.command, address.path, query, token, sent)
        links = ""
        key = next((key for key in ("branch_policies",) if isinstance(content, dict) and key in content), None)
        entries = content[key] if key else content
        if isinstance(entries, list):
            page = int(query.get("page", 1))
            if len(entries) > page * PAGE:
                rest = "&".join(f"{name}={value}" for name, value in query.items() if name != "page")
                links = f'<{self.github.address}{address.path}?{rest}&page={page + 1}>; rel="next"'
            entries = entries[(page - 1) * PAGE : page * PAGE]
            content = {**content, key: entries} if key else entries
        if content is None and status == 200:
            status = 204
        body = b"" if status == 204 else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if links:
            self.send_header("Link", links)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(github: GitHub) -> Iterator[GitHub]:
    """Serve GitHub on loopback; its `address` is the one to ask."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"github": github}))
    github.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield github
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
