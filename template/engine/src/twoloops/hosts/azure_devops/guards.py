"""What guards the flows and main on Azure DevOps: approvals, locks, rights and policies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twoloops.contracts.host import State, Step
from twoloops.errors import ProjectError
from twoloops.hosts.azure_devops import host
from twoloops.hosts.azure_devops.places import Place, covers, identity_server, settings_group, state_of

# Kinds of checks, by their fixed identifiers.
APPROVAL = {"id": "8c6f20a7-a545-4486-9777-f762fafe0d4d", "name": "Approval"}
LOCK = {"id": "2ef31ad6-baa0-403a-8b45-2cbc9b4e5563", "name": "ExclusiveLock"}
TASK = {"id": "fe1de3ee-a436-41b4-bb20-f6eb4cb879a7", "name": "Task Check"}
ONLY_MAIN = {
    "displayName": "Branch control",
    "definitionRef": {
        "id": "86b05a0c-73e6-4f7d-b3cf-e38f3b39a75b",
        "name": "evaluatebranchProtection",
        "version": "0.0.1",
    },
    "inputs": {"allowedBranches": host.MAIN, "ensureProtectionOfBranch": "false"},
    "retryInterval": 5,
}
MONTH_MINUTES = 43_200
# Kinds of policies.
REVIEW, BUILD = "fa4e907d-c16b-4a4c-9dfa-4906e5d171dd", "0609b952-1397-4640-95ec-e00a01b2c241"
OWNERS = "fd2167ab-b0be-447a-8ec8-39368250530e"
SERVICE = "Microsoft.TeamFoundation.ServiceIdentity"  # what the descriptors of the flows' own identities begin with


@dataclass(frozen=True)
class Right:
    """What the flows' own identity must be allowed: bits of a security namespace."""

    about: str
    namespace: str
    bits: int
    token: Callable[[Place], str]


RIGHTS = {
    "comment on changes and push branches": Right(
        "Contribute, create branch, contribute to pull requests", "2e9eb7ed-3c0a-47d4-87c1-0ffdd275fd87",
        4 | 16 | 16384,
        lambda place: f"repoV2/{place.project}/{place.repository}",
    ),
    "start pipelines": Right(
        "Queue builds", "33344d9c-fc72-4d6f-aba5-fa317101a7e9", 128, lambda place: place.project
    ),
    "write work items": Right(
        "View and edit work items", "83e28ad4-2d72-4ceb-97b0-c7726d5502c3", 16 | 32,
        lambda place: f"vstfs:///Classification/Node/{place.area()}",
    ),
    "tag work items": Right(
        "List and create tags", "bb50f182-8e5e-40b8-bc21-e8752a1e7ae2", 1 | 2, lambda place: f"/{place.project}"
    ),
}  # fmt: skip


def checks(place: Place, environments: Sequence[str], reviewers: list[str], shown: str) -> Iterable[Step]:
    """Yield what a run has to pass before it enters an environment, and before it uses the variables.

    Who may push a branch may change its pipelines: what they use is for main alone.

    Args:
        place: of the project.
        environments: in their order; the last one serves users.
        reviewers: identifiers of those of whom one must approve.
        shown: their names.
    """
    last = environments[-1]
    if reviewers:
        settings, of_last = approval(reviewers), look_up_environment(place, last)
        yield check(place, f"approval of {last}", f"by {shown}", ("environment", of_last), APPROVAL, settings)
    about = "nothing but main is deployed there"
    for name in environments:
        resource = ("environment", look_up_environment(place, name))
        yield check(place, f"only main into {name}", about, resource, TASK, ONLY_MAIN)
    group, name = ("variablegroup", place.group), settings_group()
    yield check(place, f"only main reads {name}", "runs of other branches do not", group, TASK, ONLY_MAIN)
    yield check(place, f"lock of {name}", "of runs that use it, one at a time", group, LOCK, {})


def approval(reviewers: list[str]) -> dict[str, Any]:
    """Return the settings of a check that one of the reviewers has to approve."""
    return {
        "approvers": [{"id": each} for each in reviewers],
        "executionOrder": "anyOrder",
        "minRequiredApprovers": 1,
        "instructions": "Does this model serve users from now on?",
        "requesterCannotBeApprover": False,
    }


def look_up_environment(place: Place, name: str) -> Callable[[], Any]:
    """Return a function that looks an environment up."""
    return lambda: place.environment(name)


def check(
    place: Place, name: str, about: str, resource: tuple[str, Callable[[], Any]], kind: dict[str, str], settings: Any
) -> Step:
    """Return the step that puts a check on a resource, which a run that uses it has to pass."""
    what, look_up = resource
    path = "pipelines/checks/configurations"

    def present() -> Any | None:
        found = look_up()
        if not found:
            return None
        query = {"resourceType": what, "resourceId": str(found["id"]), "$expand": "settings"}
        checks = place.azure.get(place.api(path), **query)["value"]
        same = (each for each in checks if each["type"]["id"].lower() == kind["id"])
        reference = settings.get("definitionRef")
        return next(
            (each for each in same if not reference or covers(each["settings"], {"definitionRef": reference})), None
        )

    def do() -> None:
        there, target = present(), look_up()
        owner = {"type": what, "id": str(target["id"]), "name": target["name"]}
        content = {"type": kind, "settings": settings, "resource": owner, "timeout": MONTH_MINUTES}
        if there:
            place.azure.ask("PATCH", place.api(f"{path}/{there['id']}"), content | {"id": there["id"]})
        else:
            place.azure.ask("POST", place.api(path), content)

    def undo() -> None:
        if there := present():
            place.remove(f"{path}/{there['id']}")

    there = present()
    right = there is not None and covers(there.get("settings") or {}, settings)
    return Step(name, about, state_of(there, right), do, undo)


def use(place: Place, name: str, kind: str, look_up: Callable[[], Any], flows: tuple[str, ...]) -> Step:
    """Let pipelines use a resource, which else waits for someone to permit it."""

    def authorized() -> tuple[str, set[int]]:
        found = look_up()
        if not found:
            return "", set()
        path = place.api(f"pipelines/pipelinepermissions/{kind}/{found['id']}")
        permitted = place.azure.get(path)["pipelines"]
        return path, {each["id"] for each in permitted if each["authorized"]}

    def ids() -> set[int]:
        return {found["id"] for flow in flows if (found := place.pipeline(flow))}

    def write(authorize: bool) -> None:
        path, _ = authorized()
        if path and ids():
            content = {"pipelines": [{"id": each, "authorized": authorize} for each in sorted(ids())]}
            place.azure.ask("PATCH", path, content)

    present = authorized()[1] & ids()
    right = len(present) == len(flows)
    return Step(
        f"use of {name}", f"by {', '.join(flows)}", state_of(present, right), lambda: write(True), lambda: write(False)
    )


def right(place: Place, name: str, right: Right) -> Step:
    """Give the flows' own identity a right; it exists once a pipeline of the project has run."""
    identity = f"{SERVICE};{place.organization}:Build:{place.project}"
    root = f"{place.where.collection}_apis"
    entry = {"token": right.token(place), "descriptors": identity}
    lists = place.azure.get(f"{root}/accesscontrollists/{right.namespace}", **entry)["value"]
    present = next((each["acesDictionary"].get(identity, {}).get("allow", 0) for each in lists), 0)
    known = [each for each in place.azure.get(identity_server(place.where), descriptors=identity)["value"] if each]
    name = f"right to {name}"
    if not known:
        about = f"run the pipeline {host.pipeline_name('check')} once, then repeat: before, nobody can be given it"
        return Step(name, about, State.by_hand)

    def do() -> None:
        content = {
            "token": right.token(place), "merge": True,
            "accessControlEntries": [{"descriptor": identity, "allow": right.bits, "deny": 0}],
        }  # fmt: skip
        place.azure.ask("POST", f"{root}/accesscontrolentries/{right.namespace}", content)

    def undo() -> None:
        place.azure.ask("DELETE", f"{root}/accesscontrolentries/{right.namespace}", query=entry)

    return Step(name, f"{right.about}, for the flows", state_of(present, present & right.bits == right.bits), do, undo)


def review(place: Place) -> Step:
    """Return the policy by which another one looks at each change."""
    settings = {
        "minimumApproverCount": 1, "creatorVoteCounts": False, "allowDownvotes": False, "resetOnSourcePush": True,
    }  # fmt: skip
    about = "a change to main wants the approval of another"
    return _policy(place, "review of changes", about, REVIEW, lambda: settings)


def owners(place: Place, reviewers: list[str], shown: str) -> Step:
    """Return the policy by which one of the reviewers looks at each change: the flows' own identity may vote, too."""
    settings = {
        "requiredReviewerIds": reviewers, "minimumApproverCount": 1, "creatorVoteCounts": False,
        "message": "Code, contract, parameters and gate decide which model is shipped.",
    }  # fmt: skip
    return _policy(place, "review by the owners", f"by {shown}", OWNERS, lambda: settings)


def validation(place: Place) -> Step:
    """Return the policy by which each change passes the pipeline `check`: Azure Repos knows no other trigger for it."""

    def settings() -> dict[str, Any]:
        found = place.pipeline("check")
        return {
            "buildDefinitionId": found["id"] if found else 0, "displayName": "check", "manualQueueOnly": False,
            "queueOnSourceUpdateOnly": True, "validDuration": 720.0,
        }  # fmt: skip

    return _policy(place, "checks of changes", "a change to main passes the pipeline check", BUILD, settings)


def _policy(place: Place, name: str, about: str, kind: str, settings: Callable[[], dict[str, Any]]) -> Step:
    scope = [{"repositoryId": place.repository, "refName": host.MAIN, "matchKind": "Exact"}]

    def present() -> Any | None:
        query = {"repositoryId": place.repository, "refName": host.MAIN, "policyType": kind}
        found = place.azure.get(place.api("git/policy/configurations"), **query)["value"]
        # More than one may be there: people have their own builds, too.
        mine = (each for each in found if each["settings"].get("displayName") == settings().get("displayName"))
        return next(mine, None)

    def do() -> None:
        there = present()
        content = {
            "isEnabled": True, "isBlocking": True, "type": {"id": kind}, "settings": settings() | {"scope": scope},
        }  # fmt: skip
        path = place.api("policy/configurations")
        place.azure.ask("PUT" if there else "POST", f"{path}/{there['id']}" if there else path, content)

    def undo() -> None:
        if there := present():
            place.remove(f"policy/configurations/{there['id']}")

    there = present()
    right = bool(there) and covers(there, {"isEnabled": True, "isBlocking": True, "settings": settings()})
    return Step(name, about, state_of(there, right), do, undo)


def reviewer(place: Place, name: str) -> str:
    """Return the identifier of a person or a team.

    Raises:
        ProjectError: there is none of that name, or more than one.
    """
    told = place.azure.get(identity_server(place.where), searchFilter="General", filterValue=name)["value"]
    found = [each for each in told if each and each.get("isActive")]
    found = [each for each in found if not str(each.get("descriptor", "")).startswith(SERVICE)]  # no person, no team
    exact = [each for each in found if name.lower() in _names(each)] or found
    if len(exact) == 1:
        return str(exact[0]["id"])
    fits = "nobody" if not exact else ", ".join(sorted(each["providerDisplayName"] for each in exact))
    raise ProjectError(
        f"The reviewer {name!r} is not one person or team of {place.where.collection}: the name fits {fits}.",
        hint="Name an e-mail address, or a team as '[PROJECT]\\TEAM', with --reviewer. Nothing has been changed.",
    )


def _names(identity: Mapping[str, Any]) -> set[str]:
    properties = identity.get("properties", {})
    shown = identity["providerDisplayName"]
    more = (properties.get(key, {}).get("$value", "") for key in ("Account", "Mail"))
    names = [shown, shown.rpartition("\\")[2], *more]
    return {name.lower() for name in names if name}
