"""Terraform on infra/environment, for one environment at a time; it knows no cloud."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from twoloops.contracts.platform import Change, Plan
from twoloops.errors import ProjectError
from twoloops.paths import paths

AT_LEAST = (1, 11)  # as infra/environment/versions.tf wants it
# What a plan does with a resource, by what Terraform calls it.
ACTIONS = {
    ("create",): "create",
    ("update",): "change",
    ("delete",): "destroy",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
}
SHOWN = 30  # lines of a failure that nothing below knows
AGAIN = "'infrastructure {environment} --plan' looks again; what has been made already is not made twice."


@dataclass(frozen=True)
class Refusal:
    """What Terraform, its provider or the cloud says, what that means, and the way out.

    Message and hint may name {environment}, {found} (the group of this name in the pattern), {who}, {created} and {id}.
    """

    pattern: str
    message: str
    hint: str


# Terraform's own. The first that is found is told; a cloud's come after these.
REFUSALS = (
    Refusal(
        r"Error acquiring the state lock",
        "somebody is changing it at this moment: {who}, since {created}.",
        "Wait and run the same verb again. If that run is dead: "
        "TF_WORKSPACE={environment} terraform -chdir=infra/environment force-unlock {id}",
    ),
    Refusal(
        r"Saved plan is stale|saved plan.*no longer",
        "it has changed since the plan was made, so the plan is not applied.",
        AGAIN,
    ),
    Refusal(
        r"Failed to query available provider packages|could not connect to registry|Failed to install provider",
        "Terraform cannot fetch the provider.",
        "Is this machine connected? Then run the same verb again.",
    ),
    Refusal(
        r"Unsupported Terraform Core version",
        "this Terraform is too old or too new.",
        "infra/environment/versions.tf says which version it has to be.",
    ),
)


def check_version() -> None:
    """Look whether there is a Terraform, and one that is new enough.

    Raises:
        ProjectError: there is not.
    """
    if not shutil.which("terraform"):
        raise ProjectError(
            "Terraform is not installed.", hint="https://developer.hashicorp.com/terraform/install tells how."
        )
    done = subprocess.run(["terraform", "version", "-json"], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["terraform_version"]
    if tuple(map(int, found.split(".")[:2])) < AT_LEAST:
        wanted = ".".join(map(str, AT_LEAST))
        raise ProjectError(f"Terraform is {found}, and has to be {wanted} or newer.", hint="Install a newer one.")


def run(
    environment: str,
    *words: str,
    refusals: Iterable[Refusal] = (),
    tell: Callable[[str], None] | None = None,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Run Terraform in the environment's workspace, and return what it prints.

    Ctrl-C reaches Terraform as well: it ends what it is doing, notes what is made, and releases the lock. It is
    waited for.

    Args:
        environment: one of the project's.
        words: the subcommand and its options.
        refusals: the cloud's own.
        tell: is given what Terraform says, line by line.
        variables: by which the provider finds the login.

    Raises:
        ProjectError: Terraform or the cloud refuse, or somebody has pressed Ctrl-C. What has been made is noted.
    """
    more = {"TF_WORKSPACE": environment, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "TF_CLI_ARGS": "-no-color"}
    lines: list[str] = []
    interrupted = False
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            ["terraform", *words],
            cwd=paths().infrastructure / "environment",
            env=os.environ | more | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        while True:
            try:
                for line in process.stdout or ():
                    lines.append(line)
                    if tell:
                        tell(line.rstrip())
                process.wait()
                break
            except KeyboardInterrupt:
                interrupted = True
        errors.seek(0)
        failure = errors.read()
    if interrupted:
        raise ProjectError(
            f"Interrupted: {words[0]} of {environment}. What was made until then is noted.",
            hint=AGAIN.format(environment=environment),
        )
    if process.returncode:
        raise _explain(environment, words[0], failure or "".join(lines), (*REFUSALS, *refusals))
    return "".join(lines)


def _explain(environment: str, what: str, failure: str, refusals: Iterable[Refusal]) -> ProjectError:
    """Return Terraform's failure in words."""
    text = re.sub(r"^[╷│╵] ?", "", failure, flags=re.MULTILINE).strip()
    flat = " ".join(text.split())
    details = {name.lower(): value.strip() for name, value in re.findall(r"^ +(ID|Who|Created): +(.+)$", text, re.M)}
    for refusal in refusals:
        if found := re.search(refusal.pattern, flat):
            known = {"environment": environment, "id": "ID", "who": "unknown", "created": "a while"} | details
            known |= {name: value or "see its log" for name, value in found.groupdict().items()}
            if "found" not in known:
                known["found"] = flat[:300]
            return ProjectError(
                f"The {what} of {environment} stopped: {refusal.message.format(**known)}",
                hint=refusal.hint.format(**known),
            )
    return ProjectError(
        f"The {what} of {environment} stopped:\n" + "\n".join(text.splitlines()[-SHOWN:]),
        hint=f"infra/README.md tells what refusals mean. {AGAIN.format(environment=environment)}",
    )


def read_plan(environment: str, shown: Mapping[str, Any]) -> Plan:
    """Return what a plan would do, from Terraform's JSON."""
    changes = []
    for each in shown.get("resource_changes", []):
        action = ACTIONS.get(tuple(each["change"]["actions"]))
        if each["mode"] == "managed" and action:
            attributes = _attributes(each["change"]) if action in ("change", "replace") else ()
            changes.append(Change(each["address"], action, attributes))
    changed = {each.address: each for each in changes}
    drift = [
        each["address"]
        for each in shown.get("resource_drift", [])
        if each["address"] in changed and _is_put_back(each["change"], changed[each["address"]])
    ]
    return Plan(environment, tuple(changes), tuple(drift))


def _is_put_back(drift: Mapping[str, Any], change: Change) -> bool:
    """Say whether a change takes back what is otherwise than Terraform has left it."""
    before, after = drift["before"], drift["after"]
    return after is None or any(
        _drop_empty(before.get(name)) != _drop_empty(after.get(name)) for name in change.attributes
    )


def _drop_empty(value: Any) -> Any:
    """Return a value without what is empty: the provider reads that in another way than it was written."""
    if isinstance(value, dict):
        return {
            name: each for name, each in ((name, _drop_empty(each)) for name, each in value.items()) if each
        } or None
    if isinstance(value, list):
        return [_drop_empty(each) for each in value] or None
    return value or None


def _attributes(change: Mapping[str, Any]) -> tuple[str, ...]:
    before, after, unknown = change["before"] or {}, change["after"] or {}, change.get("after_unknown") or {}
    names = sorted({*before, *after, *unknown})
    return tuple(name for name in names if unknown.get(name) or before.get(name) != after.get(name))
