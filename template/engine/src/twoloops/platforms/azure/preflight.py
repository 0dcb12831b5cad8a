"""What stands in the way of bootstrap: looked at before anything is made, and told at once."""

from __future__ import annotations

import math
from collections import Counter
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
VAULTS: Final = "Microsoft.KeyVault/vaults"
SPARE = 1.2
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
    storage, registry = "Microsoft.Storage/storageAccounts", "Microsoft.ContainerRegistry/registries"
    wanted: list[tuple[str, str, str | None]] = [(storage, known.storage, None), (registry, known.registry, None)]
    wanted += [(VAULTS, known.vault(room), room) for room in {known.group(each): each for each in known.rooms}.values()]
    here = f"/subscriptions/{known.subscription}/providers"
    for kind, name, room in wanted:
        provider = kind.partition("/")[0]
        if rest.find(f"{known.group(room)}/providers/{kind}/{name}"):
            continue
        if rest.ask("POST", f"{here}/{provider}/checkNameAvailability", {"name": name, "type": kind})["nameAvailable"]:
            continue
        # What was deleted here lately, Terraform recovers: the provider's features in infra/bootstrap/versions.tf.
        if kind == VAULTS and rest.find(f"{here}/{provider}/locations/{known.region}/deletedVaults/{name}"):
            continue
        yield f"the name {name} is taken, or was deleted a moment ago: another package_name gives another one"


def _machines(known: Names) -> Iterator[str]:
    """Tell which machine the region lacks, and of which the subscription may never have enough at the same time."""
    here = f"/subscriptions/{known.subscription}/providers/{LEARNING}/locations/{known.region}"
    offered = {str(each["name"]).lower(): each for each in rest.ask("GET", f"{here}/vmSizes")["value"]}
    wanted = _wanted(machines.load())
    for machine in sorted(set(wanted) - set(offered)):
        yield f"Azure ML offers no {wanted[machine][0]} in {known.region}: infra/machines.yaml"
    cores: Counter[str] = Counter()
    for machine in set(wanted) & set(offered):
        cores[str(offered[machine]["family"]).lower()] += wanted[machine][1] * int(offered[machine]["vCPUs"])
    for each in rest.pages(f"{here}/usages"):
        # Cheap machines that can be taken away at any moment have a quota of the same name.
        needed = cores[str(each["name"]["value"]).lower()] if "Dedicated" in each["name"]["localizedValue"] else 0
        # What runs already is this project's own, after the first time; so the limit counts. Below 0 there is none.
        if 0 <= each["limit"] < needed:
            yield (
                f"infra/machines.yaml wants {needed} vCPUs at the same time, and the subscription may have "
                f"{each['limit']}: {each['name']['localizedValue']} in {known.region}. Request an increase (Quotas)"
            )


def _wanted(chosen: machines.Machines) -> dict[str, tuple[str, int]]:
    """Return how many machines of each kind work at the same time, by its name in lower case."""
    counts = Counter([chosen.training.machine, *([chosen.scoring.machine] if chosen.scoring else [])])
    for service in chosen.serving.values():
        # Azure ML keeps a fifth more for its own upgrades, and a canary is one more.
        counts[service.machine] += math.ceil(SPARE * service.count) + math.ceil(SPARE)
    return {machine.lower(): (machine, count) for machine, count in counts.items()}
