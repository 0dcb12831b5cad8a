"""The rights that infra/bootstrap gives, read from its Terraform: as the API server knows them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from commands.rendering import TEMPLATE

FILE = TEMPLATE / "template/{{ layer.infra_kubernetes }}/infra/bootstrap/roles.tf"
RULE = re.compile(
    r"\{ api_groups = \[(?P<groups>[^]]*)\], resources = \[(?P<resources>[^]]*)\], "
    r"resource_names = (?P<names>null|\[[^]]*\]), verbs = \[(?P<verbs>[^]]*)\] \}"
)


def rules(*lists: str, file: Path = FILE) -> list[dict[str, Any]]:
    """Return the rules of lists of roles.tf, with every condition taken for true, as a Role has them.

    Args:
        lists: such as deploy_rules.
        file: the Terraform.
    """
    text = file.read_text(encoding="utf-8")
    found = []
    for name in lists:
        (body,) = re.findall(rf"^  {name} += (.*?)^  [\])]", text, re.DOTALL | re.MULTILINE)
        lines = [line for line in body.splitlines() if "api_groups" in line]
        matches = list(RULE.finditer(body))
        assert len(lines) == len(matches) > 0, f"{name} in {file} has a rule that this does not read"
        found += [_rule(match) for match in matches]
    return found


def _rule(match: re.Match[str]) -> dict[str, Any]:
    def words(name: str) -> list[str]:
        return re.findall(r'"([^"]*)"', match[name])

    rule = {"apiGroups": words("groups"), "resources": words("resources"), "verbs": words("verbs")}
    return rule | ({"resourceNames": words("names")} if match["names"] != "null" else {})
