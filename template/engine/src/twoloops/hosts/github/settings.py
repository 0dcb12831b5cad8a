"""What GitHub must have for the flows: environments, approval, protection of main, variables, a label, a right."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from twoloops.contracts.host import SetupRequest, State, Step
from twoloops.errors import ProjectError
from twoloops.hosts.github import host
from twoloops.hosts.web import Client, HostError

NOTE = "BOOTSTRAP_MADE"  # the variable that keeps what bootstrap made
# The variable without which the last job of the flow deploy runs only when a person starts that flow: GitHub lets
# the jobs of an environment pass that has lost its reviewers.
ENFORCED = ("APPROVAL", "enforced")
FLOWS = "flows"  # the environment that keeps the secrets of the flows
LABEL = {"name": "drift", "color": "d93f0b", "description": "The data or the model's quality has moved"}
CHECKS = ("check", "judge")  # the jobs of .github/workflows/check.yml
RULES: dict[str, dict[str, Any]] = {
    "deletion": {},
    "non_fast_forward": {},
    "pull_request": {
        "dismiss_stale_reviews_on_push": True,
        "require_code_owner_review": True,
        "require_last_push_approval": True,
        "required_approving_review_count": 1,
        "required_review_thread_resolution": False,
    },
    "required_status_checks": {
        "required_status_checks": [{"context": name} for name in CHECKS],
        "strict_required_status_checks_policy": True,
    },
}
RULESET = {
    "name": host.MAIN,
    "target": "branch",
    "enforcement": "active",
    "conditions": {"ref_name": {"include": [f"refs/heads/{host.MAIN}"], "exclude": []}},
    "rules": [{"type": kind} | ({"parameters": given} if given else {}) for kind, given in RULES.items()],
}
ONLY_MAIN = {"protected_branches": False, "custom_branch_policies": True}
# Plans of private repositories without the thing (https://docs.github.com/actions/reference/environments).
WITHOUT_ENVIRONMENTS = ("free",)
WITHOUT_APPROVAL = ("free", "pro", "team")


@dataclass(frozen=True)
class Place:
    """A repository and the login that asks about it."""

    github: Client
    path: str  # repos/OWNER/NAME
    owner: str
    plan: str  # "" when it is public, or the login may not know

    def url(self, *parts: str) -> str:
        """Return a path below the repository."""
        return "/".join((self.path, *parts))

    def remove(self, *parts: str) -> None:
        """Delete something; that it is gone already is as good."""
        try:
            self.github.ask("DELETE", self.url(*parts))
        except HostError as error:
            if error.status != 404:
                raise


def preflight() -> list[str]:
    """Say in lines what stands in the way, each with the way out; nothing when all is well."""
    try:
        github, name = host.client(), host.repository()
    except ProjectError as error:
        return [f"{error} {error.hint}"]
    try:
        found = github.get(f"repos/{name}")
    except HostError as error:
        if error.status == 404:
            way_out = f"'gh repo create {name} --private --source . --push' makes it"
            return [f"GitHub shows this login no repository {name}: {way_out}."]
        return [f"{error} {error.hint}".strip()]
    lines = []
    if found["default_branch"] != host.MAIN:
        lines.append(f"The default branch of {name} is {found['default_branch']}; schedules want {host.MAIN} to be it.")
    if not found["has_issues"]:
        lines.append(f"{name} has no issues, and drift is told in one: turn them on in its settings.")
    if not found.get("permissions", {}).get("admin"):
        return [*lines, f"The login may not administer {name}: ask its owner for the role Admin, or to run this verb."]
    for right, path in {"Administration": "actions/permissions/workflow", "Variables": "actions/variables"}.items():
        try:
            github.get(f"repos/{name}/{path}")
        except HostError as error:
            if error.status not in (403, 404):
                raise
            lines.append(f"The token lacks {right}: give it {host.RIGHTS}.")
    return lines


def plan(wanted: SetupRequest) -> list[Step]:
    """Return every step with its present state, in the order to do; main is protected last.

    Raises:
        ProjectError: a reviewer does not exist or may not see the repository.
    """
    github, name = host.client(), host.repository()
    found = github.get(f"repos/{name}")
    place = Place(github, f"repos/{name}", name.partition("/")[0], _plan(github, found) if found["private"] else "")
    reviewers = _reviewers(place, wanted.reviewers)
    return [
        _label(place),
        *(_variable(place, key, value) for key, value in wanted.variables.items()),
        _right(place),
        _environment(place, FLOWS, "its secrets are for the flows on main alone"),
        *(_environment(place, each) for each in wanted.environments),
        _approval(place, wanted.environments[-1], reviewers, ", ".join(wanted.reviewers)),
        _protection(place),
    ]


def list_made() -> list[str]:
    """Return the names of the steps that bootstrap made."""
    found = host.client().find(f"repos/{host.repository()}/actions/variables/{NOTE}")
    return [str(name) for name in json.loads(found["value"])] if found else []


def save_made(names: list[str]) -> None:
    """Note on GitHub what bootstrap made; an empty list removes the note."""
    place = Place(host.client(), f"repos/{host.repository()}", "", "")
    if names:
        _write_variable(place, NOTE, json.dumps(names))
    else:
        place.remove("actions/variables", NOTE)


def _plan(github: Client, found: dict[str, Any]) -> str:
    """Return what its owner pays for, as far as the login may know it."""
    owner = found["owner"]
    path = f"orgs/{owner['login']}" if owner["type"] == "Organization" else "user"
    told = github.find(path) or {}
    return str(told.get("plan", {}).get("name", "")) if told.get("login") == owner["login"] else ""


def _reviewers(place: Place, handles: Iterable[str]) -> list[dict[str, Any]]:
    """Return the reviewers as GitHub wants them: teams of the owner, given with or without it, else people."""
    found, unknown = [], []
    for handle in handles:
        slug = handle.removeprefix(f"{place.owner}/")
        repository = place.path.removeprefix("repos/")
        team = f"orgs/{place.owner}/teams/{slug.lower()}"
        if known := place.github.find(team):
            allowed = _is_there(place.github, f"{team}/repos/{repository}")
            found.append({"type": "Team", "id": known["id"]})
        else:
            known = place.github.find(f"users/{slug}")
            allowed = bool(known) and _is_there(place.github, place.url("collaborators", slug))
            found.append({"type": "User", "id": known["id"] if known else 0})
        if not allowed:
            unknown.append(handle)
    if unknown:
        raise ProjectError(
            f"No team of {place.owner} and no person who may see the repository is called {', '.join(unknown)}.",
            hint="Name reviewers with --reviewer, and give them access to the repository. Nothing has been changed.",
        )
    return found


def _is_there(github: Client, path: str) -> bool:
    """Say whether GitHub answers with success, with or without content."""
    try:
        github.ask("GET", path)
    except HostError as error:
        if error.status == 404:
            return False
        raise
    return True


def _step(name: str, about: str, look: Callable[[], State], do: Callable[[], None], undo: Callable[[], None]) -> Step:
    """Return a step with its state; one that the login or the plan does not allow is by hand."""
    try:
        return Step(name, about, look(), do, undo)
    except HostError as error:
        if error.status not in (403, 404):
            raise
        return Step(name, f"{about} {error}", State.by_hand)


def _label(place: Place) -> Step:
    def look() -> State:
        return State.there if place.github.find(place.url("labels", LABEL["name"])) else State.missing

    def do() -> None:
        place.github.ask("POST", place.url("labels"), LABEL)

    return _step("label drift", "of the issue about drift", look, do, lambda: place.remove("labels", LABEL["name"]))


def _variable(place: Place, name: str, value: str) -> Step:
    def look() -> State:
        found = place.github.find(place.url("actions/variables", name))
        if found is None:
            return State.missing
        return State.there if not value or found["value"] == value else State.differs

    step = _step(
        f"variable {name}",
        value,
        look,
        lambda: _write_variable(place, name, value),
        lambda: place.remove("actions/variables", name),
    )
    return step if value else replace(step, do=None)


def _write_variable(place: Place, name: str, value: str) -> None:
    content = {"name": name, "value": value}
    if place.github.find(place.url("actions/variables", name)):
        place.github.ask("PATCH", place.url("actions/variables", name), content)
    else:
        place.github.ask("POST", place.url("actions/variables"), content)


def _right(place: Place) -> Step:
    path, right = place.url("actions/permissions/workflow"), "can_approve_pull_request_reviews"

    def write(value: bool) -> None:
        try:
            place.github.ask("PUT", path, {right: value})
        except HostError as error:
            if error.status != 409:
                raise
            hint = f"An owner of {place.owner} has to allow it in the settings of Actions; the flow update-template "
            raise HostError(str(error), 409, hint=hint + "wants it.") from error

    return _step(
        "changes by flows",
        "the flow update-template may open pull requests",
        lambda: State.there if place.github.get(path)[right] else State.missing,
        lambda: write(True),
        lambda: write(False),
    )


def _environment(place: Place, name: str, about: str = "deployed to from main alone") -> Step:
    if place.plan in WITHOUT_ENVIRONMENTS:
        return Step(f"environment {name}", f"{about}: make the repository public, or pay for it", State.by_hand)
    path = place.url("environments", name)
    policies = f"{path}/deployment-branch-policies"

    def branches() -> list[str]:
        return [each["name"] for each in place.github.pages(policies, key="branch_policies", per_page=100)]

    def look() -> State:
        found = place.github.find(path)
        if found is None:
            return State.missing
        restricted = found["deployment_branch_policy"] == ONLY_MAIN and branches() == [host.MAIN]
        return State.there if restricted else State.differs

    def do() -> None:
        _write_environment(place, name)
        if host.MAIN not in branches():
            place.github.ask("POST", policies, {"name": host.MAIN, "type": "branch"})
        for each in list(place.github.pages(policies, key="branch_policies", per_page=100)):
            if each["name"] != host.MAIN:
                place.github.ask("DELETE", f"{policies}/{each['id']}")

    return _step(f"environment {name}", about, look, do, lambda: place.remove("environments", name))


def _approval(place: Place, name: str, reviewers: list[dict[str, Any]], handles: str) -> Step:
    step, about = f"approval of {name}", f"by {handles}"
    if place.plan in WITHOUT_APPROVAL:
        about += f": {place.plan} has none in private repositories, so only 'deploy' started by hand goes there"
        if place.github.find(place.url("actions/variables", ENFORCED[0])):  # there was another plan before
            return Step(step, about, State.differs, lambda: place.remove("actions/variables", ENFORCED[0]))
        return Step(step, about, State.by_hand)

    def look() -> State:
        noted = place.github.find(place.url("actions/variables", ENFORCED[0]))
        found = place.github.find(place.url("environments", name))
        present = _present(found, "required_reviewers").get("reviewers", [])
        ids = [{"type": each["type"], "id": each["reviewer"]["id"]} for each in present]
        if all(each in ids for each in reviewers):
            return State.there if noted and noted["value"] == ENFORCED[1] else State.differs
        return State.differs if ids else State.missing

    def do() -> None:
        _write_environment(place, name, reviewers)
        _write_variable(place, *ENFORCED)

    def undo() -> None:
        place.remove("actions/variables", ENFORCED[0])
        _write_environment(place, name, [])

    return _step(step, about, look, do, undo)


def _write_environment(place: Place, name: str, reviewers: list[dict[str, Any]] | None = None) -> None:
    """Create or correct an environment; what people have set otherwise stays, as GitHub keeps nothing by itself."""
    path = place.url("environments", name)
    found = place.github.find(path)
    approval = _present(found, "required_reviewers")
    if reviewers is None:
        reviewers = [{"type": each["type"], "id": each["reviewer"]["id"]} for each in approval.get("reviewers", [])]
    content = {
        "wait_timer": _present(found, "wait_timer").get("wait_timer", 0),
        "prevent_self_review": bool(reviewers) and approval.get("prevent_self_review", False),
        "reviewers": reviewers or None,
        "deployment_branch_policy": ONLY_MAIN,
    }
    place.github.ask("PUT", path, content)


def _present(environment: dict[str, Any] | None, kind: str) -> dict[str, Any]:
    """Return a protection rule of an environment, empty when it has none of this kind."""
    rules = environment["protection_rules"] if environment else []
    return next((rule for rule in rules if rule["type"] == kind), {})


def _plain(value: Any) -> Any:
    """Return a rule's setting as it is written: GitHub adds to a check which app reports it."""
    return [{"context": each["context"]} for each in value] if isinstance(value, list) else value


def _protection(place: Place) -> Step:
    def find() -> dict[str, Any] | None:
        listed = place.github.pages(place.url("rulesets"), includes_parents="false", per_page=100)
        number = next((each["id"] for each in listed if each["name"] == RULESET["name"]), None)
        found: dict[str, Any] | None = number and place.github.get(place.url("rulesets", str(number)))
        return found

    def look() -> State:
        found = find()
        if found is None:
            return State.missing
        rules = {rule["type"]: rule.get("parameters", {}) for rule in found["rules"]}
        kept = all(
            kind in rules and all(_plain(rules[kind].get(name)) == value for name, value in given.items())
            for kind, given in RULES.items()
        )
        same = all(found[name] == RULESET[name] for name in ("enforcement", "conditions"))
        return State.there if kept and same else State.differs

    def do() -> None:
        found = find()
        place.github.ask(
            "PUT" if found else "POST", place.url("rulesets", *([str(found["id"])] if found else [])), RULESET
        )

    def undo() -> None:
        if found := find():
            place.remove("rulesets", str(found["id"]))

    about = f"a pull request, a code owner's review, and {' and '.join(CHECKS)} green"
    return _step("protection of main", about, look, do, undo)
