"""The rights that infra/bootstrap gives, read from its Terraform; given to an API server as it does."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twoloops.contracts.platform import role_variable
from twoloops.platforms.kubernetes.api import Api, namespaced

from commands.rendering import TEMPLATE

Json = dict[str, Any]
REPOSITORY = "repo:acme@11/churn@22"  # as its tokens name it
RIGHTS = "rbac.authorization.k8s.io"
FILE = TEMPLATE / "template/{{ layer.infra_kubernetes }}/infra/bootstrap/roles.tf"
RULE = re.compile(
    r"\{ api_groups = \[(?P<groups>[^]]*)\], resources = \[(?P<resources>[^]]*)\], "
    r"resource_names = (?P<names>null|try\(.*?, \[\]\)|\[[^]]*\]), verbs = \[(?P<verbs>[^]]*)\] \}"
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
    return rule | ({"resourceNames": words("names")} if match["names"].startswith("[") else {})


@dataclass(frozen=True)
class Roles:
    """What Terraform works out of a project's bootstrap/."""

    namespace: str  # of the flows' accounts
    accounts: dict[str, str]  # by role
    bound: dict[str, list[Json]]  # by role, whose token is exchanged for one of its account
    grants: dict[str, Json]  # of each: the role, the namespace and the rules

    @classmethod
    def read(cls, said: str) -> Roles:
        """Read what `terraform console` prints for EXPRESSION."""
        found = json.loads(json.loads(said))
        return cls(**found)

    def variables(self) -> dict[str, str]:
        """Return the variables by which a job finds the account of its role."""
        return {role_variable(role): f"{self.namespace}/{account}" for role, account in self.accounts.items()}

    def give(self, admin: Api) -> None:
        """Make the accounts, and give each its rights.

        Args:
            admin: of the cluster, which has the project's other namespaces.
        """
        for space in {self.namespace, *(grant["namespace"] for grant in self.grants.values())}:
            admin.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
        for role, account in self.accounts.items():
            body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}
            admin.create(namespaced("v1", "serviceaccounts", self.namespace), body)
            rule = {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}
            subjects = [{**each, "apiGroup": RIGHTS} for each in self.bound[role]]
            _bind(admin, self.namespace, account, [{**rule, "resourceNames": [account]}], subjects)
        for name, grant in self.grants.items():
            own = [{key: value for key, value in rule.items() if value is not None} for rule in grant["rules"]]
            written = {"api_groups": "apiGroups", "resource_names": "resourceNames"}
            own = [{written.get(key, key): value for key, value in rule.items()} for rule in own]
            mine = {"kind": "ServiceAccount", "name": self.accounts[grant["role"]], "namespace": self.namespace}
            _bind(admin, grant["namespace"], name.replace("/", "-"), own, [mine])


EXPRESSION = (
    "jsonencode({ namespace = module.project.flows_namespace, accounts = module.project.roles, bound = local.bound, "
    "grants = local.grants })"
)


def _bind(admin: Api, space: str, name: str, rights: list[Json], subjects: list[Json]) -> None:
    common = {"apiVersion": f"{RIGHTS}/v1", "metadata": {"name": name, "namespace": space}}
    referred = {"apiGroup": RIGHTS, "kind": "Role", "name": name}
    admin.create(namespaced(f"{RIGHTS}/v1", "roles", space), {**common, "kind": "Role", "rules": rights})
    binding = {**common, "kind": "RoleBinding", "roleRef": referred, "subjects": subjects}
    admin.create(namespaced(f"{RIGHTS}/v1", "rolebindings", space), binding)
