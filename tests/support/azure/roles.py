"""What the roles that Terraform makes allow, read from its files."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from typing import Any

from commands.rendering import TEMPLATE

from .state import SUBSCRIPTION

FILE = TEMPLATE / "template" / "{{ layer.infra_azure }}" / "infra/bootstrap/identities.tf"
LEARNING = "Microsoft.MachineLearningServices/workspaces"


def read_roles() -> dict[str, list[str]]:
    """Return the actions of each custom role."""
    text = FILE.read_text(encoding="utf-8").replace("${local.learning}", LEARNING)
    roles = text[text.index("  roles = {") : text.index("  group_ids")]
    operations = re.findall(r'"([^"]+)"', re.search(r"operations = \[(.+)\]", text)[1])  # type: ignore[index]
    found = {}
    for name, block in re.findall(r"^    (\w+) = \{\n(.*?)^    \}", roles, re.DOTALL | re.MULTILINE):
        given = block[block.index("actions") :]
        found[name] = operations if "local.operations" in given else re.findall(r'"(Microsoft[^"]+)"', given)
    assert all(found.values()), found
    return found


def allows(actions: list[str], action: str) -> bool:
    """Say whether one of a role's actions, with their wildcards, allows one; Azure does not look at case."""
    return any(fnmatch(action.lower(), each.lower()) for each in actions)


def flow_rights(names: Any) -> tuple[dict[str, str], dict[str, str], list[dict[str, Any]]]:
    """Return what Terraform makes of identities and of rights at resources, as bootstrap/identities.tf assigns them.

    Args:
        names: `account.Names` of the project.

    Returns:
        By which number each role logs in: those of the flows, and training and serving/ENVIRONMENT of what runs in
        Azure; the numbers by the paths of identities; and what the emulator takes as rights of train and deploy.
    """
    actions, whole = read_roles(), f"/subscriptions/{SUBSCRIPTION}"
    shared, subscription = (names.workspace(), "train"), (whole, "operations")
    assigned: dict[str, list[tuple[str, str]]] = {
        "train": [shared, (names.identity("training"), "reader"), subscription],
        "training": [shared],
    }
    paths = {role: names.identity(f"ci-{role}") for role in ("plan", "train")} | {
        "training": names.identity("training")
    }
    for each in names.environments:
        paths[f"serving/{each}"] = names.identity("serving", each)
        paths |= {f"{role}/{each}": names.identity(f"ci-{role}", each) for role in ("apply", "deploy")}
        assigned[f"deploy/{each}"] = [
            (names.workspace(each), "deploy"),
            (names.workspace(), "register"),
            (names.logs, "log"),
            (names.identity("serving", each), "operator"),
            subscription,
            *((names.workspace(other), "look") for other in names.environments if other != each),
        ]
    identity = "Microsoft.ManagedIdentity/userAssignedIdentities"
    actions |= {"reader": [f"{identity}/read"], "operator": [f"{identity}/read", f"{identity}/assign/action"]}
    clients = {role: f"00000000-0000-0000-0002-{number:012}" for number, role in enumerate(paths)}
    rights = [
        {"who": clients[role], "scope": scope, "actions": actions[own]}
        for role, scopes in assigned.items()
        for scope, own in scopes
    ]
    return clients, {path: clients[role] for role, path in paths.items()}, rights
