"""The service connections by whose tokens the flows log in to the cloud, one for each role, and who may use them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twoloops import config
from twoloops.contracts.host import SetupRequest, Step
from twoloops.hosts.azure_devops import guards
from twoloops.hosts.azure_devops.places import Place, state_of

ROLE, CONNECTION = "CLOUD_ROLE_", "CLOUD_CONNECTION_"
FLOWS = ("check", "train", "deploy", "monitor", "infrastructure")
# Which flows may use the connection of which role. A change's own code gets to read, and no more.
USERS = {
    "plan": ("check", "infrastructure"),
    "train": ("train", "monitor"),
    "apply": ("infrastructure",),
    "deploy": ("train", "deploy", "infrastructure"),
}
ENDPOINTS = "serviceendpoint/endpoints"


def cloud_group() -> str:
    """Return the name of the group with the variables of the flows, `check` too: nothing of them is secret."""
    return f"{config.current().package}-cloud"


def steps(place: Place, wanted: SetupRequest, reviewers: list[str]) -> Iterable[Step]:
    """Yield the steps for every role that the variables name.

    Args:
        place: of the project.
        wanted: what the verb was asked for.
        reviewers: identifiers of those of whom one must approve what touches the last environment.
    """
    variables = {name: value for name, value in wanted.variables.items() if name.startswith("CLOUD_")}
    roles = [name.removeprefix(ROLE) for name in variables if name.startswith(ROLE)]
    if not roles:
        return
    for role in roles:
        yield _connection(place, role)
    yield _group(place, variables, roles)
    yield guards.use(
        place, f"variable group {cloud_group()}", "variablegroup", lambda: place.group(cloud_group()), FLOWS
    )
    last = wanted.environments[-1].upper().replace("-", "_")
    for role in roles:
        purpose = role.partition("_")[0].lower()
        name, look_up = _name(role), _look_up(place, role)
        yield guards.use(place, f"service connection {name}", "endpoint", look_up, USERS[purpose])
        if purpose != "plan":
            what, about = f"only main uses {name}", "nothing else logs in with it"
            yield guards.check(place, what, about, ("endpoint", look_up), guards.TASK, guards.ONLY_MAIN)
        if reviewers and role in (f"APPLY_{last}", f"DEPLOY_{last}"):
            yield guards.check(
                place,
                f"approval of {name}",
                "by those who approve the environment",
                ("endpoint", look_up),
                guards.APPROVAL,
                guards.approval(reviewers),
            )


def _name(role: str) -> str:
    """Return the name of a role's connection, as infra/bootstrap/code_host.tf trusts it."""
    return f"{config.current().package}-{role}".replace("_", "-").lower()


def _look_up(place: Place, role: str) -> Callable[[], Any]:
    return lambda: _find(place, role)


def _find(place: Place, role: str) -> Any | None:
    found = place.azure.get(place.api(ENDPOINTS), endpointNames=_name(role))["value"]
    return next((each for each in found if each["name"] == _name(role)), None)


def _connection(place: Place, role: str) -> Step:
    name = _name(role)

    def do() -> None:
        project = {"id": place.project, "name": place.where.project}
        content = {
            "name": name, "type": "generic", "url": place.where.collection, "isShared": False, "isReady": True,
            # It holds no login and leads nowhere: what counts is the token that Azure makes for it.
            "authorization": {"scheme": "UsernamePassword", "parameters": {"username": "", "password": ""}},
            "serviceEndpointProjectReferences": [{"name": name, "projectReference": project}],
        }  # fmt: skip
        place.azure.ask("POST", f"{place.where.collection}_apis/{ENDPOINTS}", content)

    def undo() -> None:
        if found := _find(place, role):
            path = f"{place.where.collection}_apis/{ENDPOINTS}/{found['id']}"
            place.azure.ask("DELETE", path, query={"projectIds": place.project})

    return Step(f"service connection {name}", "its token takes a role", state_of(_find(place, role), True), do, undo)


def _group(place: Place, variables: dict[str, str], roles: list[str]) -> Step:
    """Keep the variables in a group of their own, after the connections, whose identifiers are among them."""
    path = "distributedtask/variablegroups"

    def values() -> dict[str, str]:
        found = {role: _find(place, role) for role in roles}
        return variables | {f"{CONNECTION}{role}": each["id"] for role, each in found.items() if each}

    def do() -> None:
        reference = {"name": cloud_group(), "projectReference": {"id": place.project, "name": place.where.project}}
        content = {
            "name": cloud_group(), "type": "Vsts", "description": "By what the flows know the cloud",
            "variables": {name: {"value": value} for name, value in values().items()},
            "variableGroupProjectReferences": [reference],
        }  # fmt: skip
        root, present = f"{place.where.collection}_apis/{path}", place.group(cloud_group())
        place.azure.ask("PUT" if present else "POST", f"{root}/{present['id']}" if present else root, content)

    def undo() -> None:
        if present := place.group(cloud_group()):
            root = f"{place.where.collection}_apis/{path}/{present['id']}"
            place.azure.ask("DELETE", root, query={"projectIds": place.project})

    present = place.group(cloud_group())
    have = {name: each.get("value") for name, each in (present or {"variables": {}})["variables"].items()}
    right = len(values()) == len(variables) + len(roles) and values().items() <= have.items()
    # By this name the verb learns whether the cloud is new to the flows.
    return Step(
        "variable CLOUD_REGION", f"and the roles, in the group {cloud_group()}", state_of(present, right), do, undo
    )
