"""What the policies of a project allow, against AWS's Service Authorization Reference (as policy-sentry carries it)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from policy_sentry.querying.actions import get_action_data

from .harness import many

# In a policy that belongs to a resource, * as the resource is that very resource.
OWN = ("aws_kms_key_policy", "aws_vpc_endpoint")

# Where IAM's name of an action is not the name of the call.
RENAMED = {
    "s3:HeadObject": "s3:GetObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "sns:ListSubscriptionsByTopic": "sns:GetTopicAttributes",
}
FREE = {"sts:GetCallerIdentity"}  # needs no permission


@cache
def resources_of(action: str) -> tuple[str, ...]:
    """Return the forms of resource that an action takes; ("*",) for one that takes none.

    Raises:
        AssertionError: there is no such action.
    """
    service, _, name = action.partition(":")
    found = get_action_data(service, name)
    assert found, f"AWS has no action {action}"
    return tuple(row["resource_arn_format"] for row in found[service])


def problems(address: str, document: dict[str, Any]) -> Iterator[str]:
    """Yield what in a policy could be narrower."""
    for statement in document["Statement"]:
        if statement["Effect"] == "Deny":
            continue
        where = f"{address}: {statement.get('Sid', '')}"
        endpoint = "aws_vpc_endpoint.services" in address
        for action in many(statement["Action"]):
            if endpoint and action == "*":
                assert statement["Condition"]["StringEquals"]["aws:PrincipalAccount"], where
                continue
            if "*" in action:
                yield f"{where}: the action {action} has a wildcard"
                continue
            forms = resources_of(action)
            # Tags on creation add "*" to the forms of an action that takes a resource.
            if (
                "*" in many(statement.get("Resource", []))
                and set(forms) != {"*"}
                and not any(own in address for own in OWN)
            ):
                yield f"{where}: {action} could name {forms[0]}"
        for resource in many(statement.get("Resource", [])):
            if resource != "*" and resource.split(":", 5)[-1] in ("*", "/*"):
                yield f"{where}: the resource {resource} is everything"


def allows(document: dict[str, Any], action: str, resource: str = "") -> bool:
    """Say whether a policy allows an action on a resource; without one, on anything at all. Conditions are not read."""
    return any(
        statement["Effect"] == "Allow"
        and any(fnmatchcase(action, allowed) for allowed in many(statement["Action"]))
        and (not resource or any(fnmatchcase(resource, form) for form in many(statement["Resource"])))
        for statement in document["Statement"]
    )


def decides(
    policies: Iterable[Mapping[str, Any]], action: str, resource: str, context: Mapping[str, str] | None = None
) -> bool:
    """Say whether policies, taken together, allow a request, as IAM evaluates them: a denial wins.

    Args:
        policies: those of the role, and of the resource where that names everybody.
        action: such as s3:PutObject.
        resource: the ARN that is acted on.
        context: the request's condition keys; one that is not there is null.
    """
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in policy["Statement"]
        if any(fnmatchcase(action, form) for form in many(statement["Action"]))
        and any(fnmatchcase(resource, form) for form in many(statement["Resource"]))
        and _holds(statement.get("Condition", {}), context or {})
    }
    return effects == {"Allow"}


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    """Say whether every test of a condition holds.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html

    Raises:
        KeyError: a test of a kind that is not known here.
    """
    kinds = {
        "ArnEquals": fnmatchcase,
        "Bool": lambda value, wanted: value.lower() == wanted.lower(),
        "StringEquals": lambda value, wanted: value == wanted,
        "StringLike": fnmatchcase,
    }
    for kind, tests in condition.items():
        for key, wanted in tests.items():
            if kind == "Null":
                if (key not in context) != (str(wanted).lower() == "true"):
                    return False
            elif key not in context or not any(kinds[kind](context[key], str(each)) for each in many(wanted)):
                return False
    return True
