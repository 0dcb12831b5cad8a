"""What Azure DevOps must have for the flows: pipelines, variables, environments; what guards them is in guards.py."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from twoloops import config
from twoloops.contracts.host import SetupRequest, State, Step
from twoloops.errors import ProjectError
from twoloops.hosts.azure_devops import connections, guards, host
from twoloops.hosts.azure_devops.places import Place, find_place, identity_server, settings_group, state_of
from twoloops.hosts.web import HostError
from twoloops.paths import paths

NOTE = "BOOTSTRAP_MADE"
HIDDEN = "MLFLOW_TRACKING_TOKEN"  # a variable whose value nobody is shown
# Each is always there, if empty: the agent leaves $(NAME) as it is where there is no NAME.
ALWAYS = ("MLFLOW_TRACKING_URI", "PROJECT_STATE", HIDDEN)
POOL = "RUNNER"
SETTINGS = "azure-pipelines/templates/settings.yml"
INFRASTRUCTURE = "infrastructure"
FLOWS = ("check", "train", "deploy", "monitor", INFRASTRUCTURE, "update-template")
ENTERING = ("train", "deploy", INFRASTRUCTURE)  # have jobs in environments
OWN = ("train", "deploy", "monitor")  # read the variables, and run on one's own machine where there is one


def note_group() -> str:
    """Return the name of the group that keeps what bootstrap made, beyond the end of the other one."""
    return f"{config.current().package}-bootstrap"


def flows(among: Iterable[str] = FLOWS) -> tuple[str, ...]:
    """Return which flows the project has, in their order: each is a file."""
    return tuple(name for name in among if (paths().root / f"azure-pipelines/{name}.yml").exists())


def preflight() -> list[str]:
    """Say in lines what stands in the way, each with the way out; nothing when all is well."""
    try:
        azure, where = host.client(), host.place()
        azure.get(f"{where.collection}_apis/connectionData")
    except ProjectError as error:
        return [f"{error} {error.hint}".strip()]
    try:
        found = azure.get(where.api("", of="repository").rstrip("/"))
    except HostError as error:
        if error.status != 404:
            return [f"{error} {error.hint}".strip()]
        way_out = f"make it at {where.web}/_git, then 'git push origin HEAD:main'"
        return [f"{host.NAME} shows this login no repository {where.repository} in {where.project}: {way_out}."]
    lines = []
    if found.get("defaultBranch") != host.MAIN:
        lines.append(f"The default branch of {where.repository} is not main: push main, and make it the default.")
    probes = {
        "Agent Pools": where.api("distributedtask/queues"),
        "Build": where.api("build/definitions"),
        "Environment": where.api("pipelines/environments"),
        "Identity": f"{identity_server(where)}?searchFilter=General&filterValue={quote(where.project)}",
        "Security": f"{where.collection}_apis/securitynamespaces",
        "Variable Groups": where.api("distributedtask/variablegroups"),
        "Work Items": where.api(f"wit/workitemtypes/{host.ISSUE_TYPE}/states"),
    }
    if INFRASTRUCTURE in flows():
        probes["Service Connections (read, query & manage)"] = where.api(connections.ENDPOINTS)
    for scope, address in sorted(probes.items()):
        try:
            azure.get(address)
        except HostError as error:
            if error.status not in (401, 403):
                raise
            lines.append(f"The login lacks {scope}: give the token the scopes {host.SCOPES}.")
    return lines


def plan(wanted: SetupRequest) -> list[Step]:
    """Return every step with its present state, in the order to do; main is protected last.

    Raises:
        ProjectError: a reviewer does not exist.
    """
    place = find_place()
    reviewers = [guards.reviewer(place, name) for name in wanted.reviewers]
    shown = ", ".join(wanted.reviewers)
    return [
        _group(place),
        *(_variable(place, name, each) for name, each in wanted.variables.items() if name in ALWAYS),
        *(_pipeline(place, flow) for flow in flows()),
        *(_environment(place, name) for name in wanted.environments),
        *guards.checks(place, wanted.environments, reviewers, shown),
        guards.use(place, f"variable group {settings_group()}", "variablegroup", place.group, OWN),
        *(
            guards.use(
                place, f"environment {name}", "environment", guards.look_up_environment(place, name), flows(ENTERING)
            )
            for name in wanted.environments
        ),
        *(_pool(place, wanted.variables[POOL]) if POOL in wanted.variables else ()),
        *connections.steps(place, wanted, reviewers),
        *(guards.right(place, name, each) for name, each in guards.RIGHTS.items()),
        guards.review(place),
        *([guards.owners(place, reviewers, shown)] if reviewers else []),
        guards.validation(place),
    ]


def list_made() -> list[str]:
    """Return the names of the steps that bootstrap made."""
    found = find_place().group(note_group())
    return [str(name) for name in json.loads(found["variables"][NOTE]["value"])] if found else []


def save_made(names: list[str]) -> None:
    """Note on Azure DevOps what bootstrap made; an empty list removes the note."""
    place = find_place()
    if names:
        note = {NOTE: {"value": json.dumps(names)}}
        _write_group(place, note_group(), note, "What the verb bootstrap made, and would take back")
    elif found := place.group(note_group()):
        _remove_group(place, found)


# --------------------------------------------------------------------------------------- variables


def _group(place: Place) -> Step:
    def do() -> None:
        have = (place.group() or {"variables": {}})["variables"]
        empty = {name: {"value": "", "isSecret": name == HIDDEN} for name in ALWAYS if name not in have}
        _write_group(place, settings_group(), empty, "What the flows read")

    def undo() -> None:
        if found := place.group():
            _remove_group(place, found)

    present = place.group()
    right = present is not None and set(ALWAYS) <= set(present["variables"])
    about = f"what the flows read; the secret {HIDDEN} is set by hand, in Pipelines > Library"
    return Step(f"variable group {settings_group()}", about, state_of(present, right), do, undo)


def _variable(place: Place, name: str, value: str) -> Step:
    present = ((place.group() or {"variables": {}})["variables"].get(name) or {}).get("value") or ""

    def write(text: str) -> None:
        _write_group(place, settings_group(), {name: {"value": text}}, "What the flows read")

    return Step(
        f"variable {name}", value, state_of(present, present == value), lambda: write(value), lambda: write("")
    )  # fmt: skip


def _write_group(place: Place, name: str, changes: Mapping[str, Any], about: str) -> None:
    found = place.group(name)
    variables = (found["variables"] if found else {}) | dict(changes)
    reference = {"name": name, "projectReference": {"id": place.project, "name": place.where.project}}
    content = {
        "type": "Vsts", "name": name, "description": about, "variables": variables,
        "variableGroupProjectReferences": [reference],
    }  # fmt: skip
    path = f"{place.where.collection}_apis/distributedtask/variablegroups"
    place.azure.ask("PUT" if found else "POST", f"{path}/{found['id']}" if found else path, content)


def _remove_group(place: Place, group: Mapping[str, Any]) -> None:
    path = f"{place.where.collection}_apis/distributedtask/variablegroups/{group['id']}"
    place.azure.ask("DELETE", path, query={"projectIds": place.project})


def _pool(place: Place, name: str) -> Iterable[Step]:
    """Say how the flows come to run on one's own machine: no interface can write it, the file has to."""
    permission = "use of agent pool"
    guard = ("only main in the agent pool", "no run of another branch reaches the machine")
    if not name:  # to take back, a name is not given; the permission ends with the pipelines
        yield Step(permission, f"by {', '.join(OWN)}", State.missing)
        for pool in place.azure.get(place.api("distributedtask/queues"))["value"]:
            yield guards.check(place, *guard, ("queue", partial(dict, pool)), guards.TASK, guards.ONLY_MAIN)
        return
    file = paths().root / SETTINGS
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    written = f'    value: "{name}"' in lines
    about = f"write {name!r} as the value of {POOL} into {SETTINGS}, and push: Azure reads it from there alone"
    yield Step("agent pool", name if written else about, State.there if written else State.by_hand)
    if place.pool(name):
        yield guards.use(place, "agent pool", "queue", lambda: place.pool(name), OWN)
        queue = ("queue", lambda: place.pool(name))
        yield guards.check(place, *guard, queue, guards.TASK, guards.ONLY_MAIN)
    else:
        about = f"add {name!r} in Project settings > Agent pools, and an agent to it, then repeat"
        yield Step(permission, about, State.by_hand)


def _pipeline(place: Place, flow: str) -> Step:
    path = f"/azure-pipelines/{flow}.yml"

    def do() -> None:
        repository = {"id": place.repository, "type": "azureReposGit"}
        content = {
            "name": host.pipeline_name(flow), "folder": "\\",
            "configuration": {"type": "yaml", "path": path, "repository": repository},
        }  # fmt: skip
        place.azure.ask("POST", place.api("pipelines"), content)

    def undo() -> None:
        if found := place.pipeline(flow):
            place.remove(f"build/definitions/{found['id']}")

    return Step(f"pipeline {flow}", f"runs {path[1:]}", state_of(place.pipeline(flow), True), do, undo)


def _environment(place: Place, name: str) -> Step:
    def do() -> None:
        content = {"name": name, "description": "Models pass through it"}
        place.azure.ask("POST", place.api("pipelines/environments"), content)

    def undo() -> None:
        if found := place.environment(name):
            place.remove(f"pipelines/environments/{found['id']}")

    state = state_of(place.environment(name), True)
    return Step(f"environment {name}", "keeps the history of what was deployed", state, do, undo)
