"""From a training, staging or change identity no right leads to what production runs: evaluated on roles.tf."""

from __future__ import annotations

import re
from typing import Any

from tests.support.kubernetes.roles import FILE, rules

LAST, FIRST = "production", "staging"
READING = {"get", "list", "watch"}
PROJECT, STATE = "module.project.name", "module.project.state_namespace"


def grants() -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Return each role, the namespace in which it has rights, and the rules; for two environments."""
    text = FILE.read_text(encoding="utf-8")
    text = text[text.index("  grants = merge(") : text.index('resource "kubernetes_role_v1"')]
    found = re.findall(r'role = "([^"]+)",\s+namespace = (.+?),\s+rules = (.+?)\s*\}', text)
    assert len(found) == text.count("rules = "), "each of them is read"
    return [
        (
            role.replace("${name}", environment),
            environment if namespace == "namespace" else namespace,
            [rule for name in _lists(said) for rule in rules(name)],
        )
        for role, namespace, said in found
        for environment in (FIRST, LAST)
    ]


def _lists(said: str) -> list[str]:
    """Return the lists that an expression names; what keeps a service's pods is one of two."""
    names = re.findall(r"local\.(\w+)", said)
    return [each for name in names for each in (
        ("deployment_rules", "kserve_rules") if name == "workload_rules" else (name,)
    )]  # fmt: skip


def changes(given: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Return what rules let one change: resources and verbs."""
    return {
        (resource, verb)
        for rule in given
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if verb not in READING and resource != "services/proxy"  # asks the service
    }


def test_no_role_elsewhere_changes_what_production_runs() -> None:
    may: dict[str, set[str]] = {}
    for role, namespace, given in grants():
        if changes(given):
            may.setdefault(role, set()).add(namespace)
    assert "plan" not in may, "a change changes nothing"
    assert {role for role, places in may.items() if LAST in places} == {f"deploy/{LAST}", f"apply/{LAST}"}
    assert may["train"] <= {PROJECT}, "its Jobs, where nothing serves"
    assert may[f"deploy/{FIRST}"] == {FIRST, PROJECT}
    own = [given for role, place, given in grants() if (role, place) == (f"deploy/{FIRST}", PROJECT)]
    assert {resource for given in own for resource, _ in changes(given)} == {"leases"}, (
        "both take the one lock of deployments"
    )
    assert may[f"apply/{FIRST}"] == {FIRST, STATE}


def test_no_role_gives_itself_rights_or_reads_secrets_but_the_state() -> None:
    for role, namespace, given in grants():
        for rule in given:
            assert "*" not in (*rule["verbs"], *rule["resources"], *rule["apiGroups"]), (role, rule)
            assert "rbac.authorization.k8s.io" not in rule["apiGroups"], role
            assert not {"impersonate", "escalate", "bind"} & set(rule["verbs"]), role
            assert not {"serviceaccounts/token", "pods/exec", "pods/attach"} & set(rule["resources"]), role
            if "secrets" in rule["resources"]:
                assert namespace == STATE, role
