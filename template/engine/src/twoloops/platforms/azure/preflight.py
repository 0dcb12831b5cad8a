"""What stands in the way of bootstrap: looked at before anything is made, and told at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from twoloops.errors import ProjectError
from twoloops.platforms.azure import machines, rest
from twoloops.platforms.azure.account import Names, names
from twoloops.platforms.azure.rest import LEARNING, explain_errors

# What infra/bootstrap makes is of these.
PROVIDERS: Final = (
    *(LEARNING, "Microsoft.ContainerRegistry", "Microsoft.Storage", "Microsoft.KeyVault"),
    *("Microsoft.ManagedIdentity", "Microsoft.Insights", "Microsoft.OperationalInsights"),
)
GIVES_RIGHTS: Final = "Microsoft.Authorization/roleAssignments/write"
SUBSCRIPTION_VERSION, PERMISSIONS_VERSION = "2021-04-01", "2022-04-01"


def check() -> None:
    """Look whether bootstrap can make what it makes.

    Raises:
        ProjectError: it cannot; every reason is told, and nothing has been changed.
    """
    known = names()
    with explain_errors("Looking whether everything can be made"):
        found = [*_unregistered(known)] or [*_rights(known), *_taken(known), *_machines(known)]
    if found:
        raise ProjectError(
            "The infrastructure cannot be made yet:\n" + "\n".join(f"  - {line}" for line in found),
            hint="Mend this, then run the same verb again. Nothing has been changed.",
        )


def _unregistered(known: Names) -> Iterator[str]:
    for name in PROVIDERS:
        found = rest.ask("GET", f"/subscriptions/{known.subscription}/providers/{name}", version=SUBSCRIPTION_VERSION)
        if found["registrationState"] not in ("Registered", "Registering"):
            yield f"the subscription is not registered for {name}: 'az provider register --namespace {name}'"


def _rights(known: Names) -> Iterator[str]:
    path = f"/subscriptions/{known.subscription}/providers/Microsoft.Authorization/permissions"
    given = rest.ask("GET", path, version=PERMISSIONS_VERSION)["value"]
    if not any(_allows(each, GIVES_RIGHTS) for each in given):
        yield "this login may not give rights, which bootstrap does: it takes an owner of the subscription"


def _allows(given: Mapping[str, Any], action: str) -> bool:
    """Say whether a permission, with wildcards, allows an action and does not take it back."""

    def named(those: str) -> bool:
        return any(fnmatchcase(action.lower(), each.lower()) for each in given.get(those, []))

    return named("actions") and not named("notActions")


def _taken(known: Names) -> Iterator[str]:
    """Tell which name somebody else in the world has; what is ours already is left as it is."""
    for kind, name in (
        ("Microsoft.Storage/storageAccounts", known.storage),
        ("Microsoft.ContainerRegistry/registries", known.registry),
    ):
        if rest.find(f"{known.group()}/providers/{kind}/{name}"):
            continue
        path = f"/subscriptions/{known.subscription}/providers/{kind.partition('/')[0]}/checkNameAvailability"
        if not rest.ask("POST", path, {"name": name, "type": kind})["nameAvailable"]:
            yield f"the name {name} is taken, or was deleted a moment ago: another package_name gives another one"


def _machines(known: Names) -> Iterator[str]:
    path = f"/subscriptions/{known.subscription}/providers/{LEARNING}/locations/{known.region}/vmSizes"
    offered = {str(each["name"]).lower() for each in rest.ask("GET", path)["value"]}
    wanted = machines.load()
    for machine in sorted(
        {each.machine for each in (wanted.training, wanted.scoring, *wanted.serving.values()) if each}
    ):
        if machine.lower() not in offered:
            yield f"Azure ML offers no {machine} in {known.region}: infra/machines.yaml"
