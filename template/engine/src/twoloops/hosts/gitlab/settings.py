"""What the project on GitLab must have for the flows: each as a step that can be taken, repeated and taken back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from twoloops import config
from twoloops.contracts.host import SetupRequest, State, Step
from twoloops.errors import ProjectError
from twoloops.hosts.gitlab import host
from twoloops.hosts.web import Client, HostError

NOTE = "BOOTSTRAP_MADE"  # the variable that keeps the names of the steps that were taken
REVIEW = "Review by the owners"  # the name of the rule about approvals of merge requests
NOBODY, MAINTAINER = 0, 40  # GitLab's levels of access
LEVELS = ("push_access_levels", "merge_access_levels")
SCHEDULES = {
    # flow: (when, further inputs)
    "train": ("17 3 * * 1", {"reason": "weekly"}),
    "monitor": ("43 5 * * *", {}),
    "update-template": ("29 4 * * 2", {}),
}
SECRETS = {
    host.TOKEN: "issues and merge requests of the flows on main: a project access token, role Developer, scopes api "
    "and write_repository",
    host.REPORT_TOKEN: "the comment on a merge request: a project access token, role Reporter, scope api",
    "MLFLOW_TRACKING_TOKEN": "the login to MLflow's server",
}
# Whoever may push a branch reads what the pipeline of a change knows: a variable of this kind is for main alone.
PROTECTED = {host.TOKEN, "MLFLOW_TRACKING_TOKEN"}


def preflight() -> list[str]:
    """Return what stands in the way, a line each with the way out; nothing when all is well."""
    try:
        client = host.api()
        path = host.project()
        token = client.get("personal_access_tokens/self")
    except ProjectError as error:
        return [f"{error} {error.hint}".strip()]
    found = []
    if "api" not in token["scopes"]:
        found.append(f"{host.TOKEN} has the scopes {', '.join(token['scopes'])}, and lacks api. {host.TOKEN_HINT}")
        return found
    content = client.find(path)
    if content is None:
        return ["There is no such project, or the login may not see it. Make an empty project on GitLab and push main."]
    levels = [access["access_level"] for access in content["permissions"].values() if access]
    if max(levels, default=NOBODY) < MAINTAINER:
        found.append("The login is no Maintainer of the project. Ask one of them to run this, or for the role.")
    if content["default_branch"] is None:
        found.append("The project on GitLab is empty: push main first.")
    return found


def plan(wanted: SetupRequest) -> list[Step]:
    """Return every step with its present state, in the order in which they are taken.

    Raises:
        ProjectError: a reviewer does not exist.
    """
    client, path = host.api(), host.project()
    reviewers = [_reviewer(client, name) for name in wanted.reviewers]
    last = wanted.environments[-1]
    return [
        _protection(client, path),
        _checked(client, path),
        _reviewed(client, path, reviewers),
        *(_environment(client, path, name, last) for name in wanted.environments),
        _approval(client, path, last, reviewers),
        *(_variable(client, path, name, value) for name, value in wanted.variables.items()),
        *_secrets(client, path, wanted),
        _label(client, path),
        *_schedules(client, path),
    ]


def list_made() -> list[str]:
    """Return the names of the steps that `bootstrap` took."""
    found = host.api().find(f"{host.project()}/variables/{NOTE}")
    names: list[str] = json.loads(found["value"]) if found else []
    return names


def save_made(names: list[str]) -> None:
    """Keep the names of the steps that `bootstrap` took, in a variable of the project; none: remove it."""
    client, path = host.api(), f"{host.project()}/variables"
    there = client.find(f"{path}/{NOTE}")
    if names:
        _set_variable(client, path, NOTE, json.dumps(names), there)
    elif there:
        client.ask("DELETE", f"{path}/{NOTE}")


def _reviewer(client: Client, name: str) -> dict[str, int]:
    """Return who approves, as GitLab wants it: a person's or a group's number."""
    people = client.get("users", username=name)
    if people:
        return {"user_id": people[0]["id"]}
    group = client.find(f"groups/{quote(name, safe='')}")
    if group:
        return {"group_id": group["id"]}
    raise ProjectError(
        f"GitLab knows no person and no group called {name!r}.",
        hint="Name who may approve with --reviewer HANDLE. Nothing has been changed.",
    )


def _protection(client: Client, path: str) -> Step:
    branch = host.main_branch()
    one = f"{path}/protected_branches/{quote(branch, safe='')}"
    found = client.find(one)

    def do() -> None:
        if found:
            client.ask("DELETE", one)  # only GitLab Premium can change a rule
        rights = {"push_access_level": NOBODY, "merge_access_level": MAINTAINER, "allow_force_push": False}
        client.ask("POST", f"{path}/protected_branches", {"name": branch, **rights})

    pushing, merging = ([each["access_level"] for each in found[kind]] if found else [] for kind in LEVELS)
    right = found and not found["allow_force_push"] and set(pushing) <= {NOBODY}
    # The flows' own token is a Developer's: it may propose a change, and never merge one.
    right = right and all(level == NOBODY or level >= MAINTAINER for level in merging)
    state = State.missing if not found else State.there if right else State.differs
    return Step(
        f"protection of {branch}",
        "only merge requests change it, which Maintainers merge",
        state,
        do,
        _delete(client, one),
    )


def _checked(client: Client, path: str) -> Step:
    setting = "only_allow_merge_if_pipeline_succeeds"

    def put(value: bool) -> Callable[[], None]:
        return lambda: client.ask("PUT", path, {setting: value}) and None

    state = State.there if client.get(path)[setting] else State.missing
    return Step("passing checks", "a merge request needs a pipeline that succeeded", state, put(True), put(False))


def _reviewed(client: Client, path: str, reviewers: list[dict[str, int]]) -> Step:
    name, rules = "approving review", f"{path}/approval_rules"
    found = _premium(client, rules)
    if found is None:
        return Step(name, "GitLab Free cannot demand one: agree on it in the team", State.by_hand)

    def do() -> None:
        ids = {f"{kind}s": [each[kind] for each in reviewers if kind in each] for kind in ("user_id", "group_id")}
        client.ask("POST", rules, {"name": REVIEW, "approvals_required": 1, **ids})

    def undo() -> None:
        for rule in client.get(rules):
            if rule["name"] == REVIEW:
                client.ask("DELETE", f"{rules}/{rule['id']}")

    demanded = any(rule["approvals_required"] for rule in found)
    return Step(name, "a merge request needs one", State.there if demanded else State.missing, do, undo)


def _environment(client: Client, path: str, name: str, last: str) -> Step:
    environments = f"{path}/environments"
    found = client.get(environments, name=name)

    def do() -> None:
        client.ask("POST", environments, {"name": name, "tier": "production" if name == last else "staging"})

    def undo() -> None:
        one = f"{environments}/{found[0]['id']}"
        client.ask("POST", f"{one}/stop", {"force": True})  # before it can be deleted
        client.ask("DELETE", one)

    return Step(f"environment {name}", "shows what is deployed", State.there if found else State.missing, do, undo)


def _approval(client: Client, path: str, name: str, reviewers: list[dict[str, int]]) -> Step:
    step, protected = f"approval of {name}", f"{path}/protected_environments"
    found = _premium(client, protected)
    if found is None:
        who = "GitLab Free cannot name who approves: whoever may merge into main can start the last job"
        return Step(step, who, State.by_hand)
    one = f"{protected}/{quote(name, safe='')}"
    old: list[dict[str, Any]] = next((each["approval_rules"] for each in found if each["name"] == name), [])
    there = any(each["name"] == name for each in found)

    def do() -> None:
        rules = [{**each, "required_approvals": 1} for each in reviewers]
        if there:
            rules += [{"id": each["id"], "_destroy": True} for each in old]
            client.ask("PUT", one, {"approval_rules": rules})
        else:
            levels = [{"access_level": MAINTAINER}]
            content = {"name": name, "deploy_access_levels": levels, "approval_rules": rules}
            client.ask("POST", protected, content)

    now = sorted((each["user_id"] or 0, each["group_id"] or 0) for each in old)
    wanted = sorted((each.get("user_id", 0), each.get("group_id", 0)) for each in reviewers)
    state = State.missing if not there else State.there if now == wanted else State.differs
    about = "its job waits for the approval of each reviewer, then a Maintainer starts it"
    return Step(step, about, state, do, _delete(client, one))


def _variable(client: Client, path: str, name: str, value: str) -> Step:
    variables = f"{path}/variables"
    one = f"{variables}/{name}"
    found = client.find(one)
    right = found and (found["value"], found["protected"]) == (value, not name.startswith("CLOUD_"))
    state = State.missing if not found else State.there if right else State.differs

    def do() -> None:
        _set_variable(client, variables, name, value, found)

    return Step(f"variable {name}", f"{value!r}, for the flows on main", state, do, _delete(client, one))


def _set_variable(client: Client, variables: str, name: str, value: str, there: Mapping[str, Any] | None) -> None:
    # Protected: jobs of protected branches alone see it. What the cloud is called, the check of a change has to know
    # as well: it may read there, and of names nothing is secret. Raw: a $ in it stays one.
    content = {"value": value, "protected": not name.startswith("CLOUD_"), "raw": True}
    if there:
        client.ask("PUT", f"{variables}/{name}", content)
    else:
        client.ask("POST", variables, {"key": name, **content})


def _secrets(client: Client, path: str, wanted: SetupRequest) -> Iterator[Step]:
    """Yield what a person has to put in: no secret passes through this command."""
    for name, about in SECRETS.items():
        if name != "MLFLOW_TRACKING_TOKEN" or wanted.variables.get("MLFLOW_TRACKING_URI"):
            found = client.find(f"{path}/variables/{name}")
            right = found is not None and (name not in PROTECTED or found["protected"])
            way = f"{about}. Settings > CI/CD > Variables, masked{' and protected' if name in PROTECTED else ''}"
            yield Step(f"secret {name}", about if right else way, State.there if right else State.by_hand)


def _label(client: Client, path: str) -> Step:
    labels = f"{path}/labels"
    found = client.find(f"{labels}/drift")

    def do() -> None:
        client.ask("POST", labels, {"name": "drift", "color": "#dd2b0e"})

    state = State.there if found else State.missing
    return Step("label drift", "marks the issue about drift", state, do, _delete(client, f"{labels}/drift"))


def _schedules(client: Client, path: str) -> Iterator[Step]:
    schedules = f"{path}/pipeline_schedules"
    there = {each["description"]: each["id"] for each in client.pages(schedules, per_page=host.PAGE)}
    for flow, (cron, more) in SCHEDULES.items():
        yield _schedule(
            client, schedules, flow, cron, {"flow": flow, **more}, there.get(f"{config.current().package}: {flow}")
        )


def _schedule(client: Client, path: str, flow: str, cron: str, inputs: Mapping[str, str], number: int | None) -> Step:
    one = f"{path}/{number}"
    pairs = [{"name": name, "value": value} for name, value in inputs.items()]

    def do() -> None:
        if number:
            client.ask("PUT", one, {"inputs": pairs})
        else:
            content = {
                "description": f"{config.current().package}: {flow}",
                "ref": f"refs/heads/{host.main_branch()}",
                "cron": cron,
            }
            client.ask("POST", path, {**content, "cron_timezone": "UTC", "inputs": pairs})

    # When it runs is the team's to change.
    right = number and {"name": "flow", "value": flow} in client.get(one)["inputs"]
    state = State.missing if not number else State.there if right else State.differs
    return Step(f"schedule {flow}", f"cron {cron}, UTC", state, do, _delete(client, one))


def _premium(client: Client, path: str) -> list[dict[str, Any]] | None:
    """Return a list that only GitLab Premium and Ultimate have; None on GitLab Free."""
    try:
        return list(client.pages(path, per_page=host.PAGE))
    except HostError as error:
        if error.status in (403, 404):
            return None
        raise


def _delete(client: Client, path: str) -> Callable[[], None]:
    def undo() -> None:
        client.ask("DELETE", path)

    return undo
