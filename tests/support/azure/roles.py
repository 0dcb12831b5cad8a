"""What the roles that Terraform makes allow, read from its files."""

from __future__ import annotations

import re
from fnmatch import fnmatch

from commands.rendering import TEMPLATE

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
