"""Terraform, for one environment at a time: what would change, doing exactly that, and taking all of it away."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twoloops import config
from twoloops.errors import ProjectError
from twoloops.paths import paths
from twoloops.platforms.aws.account import settings
from twoloops.storage import read_json, replacing, write_json

PLAN, SUMMARY, LOCK = "environment.tfplan", "plan.json", "terraform.lock.hcl"
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

# What Terraform says, what that means, and the way out. The first that is found is told.
AGAIN = "'infrastructure {environment} --plan' looks again; what has been made already is not made twice."
REFUSALS = (
    (
        r"Error acquiring the state lock",
        "somebody is changing it at this moment: {who}, since {created}.",
        "Wait and run the same verb again. If that run is dead: "
        "TF_WORKSPACE={environment} terraform -chdir=infra/environment force-unlock {id}",
    ),
    (
        r"Saved plan is stale|saved plan.*no longer",
        "it has changed since the plan was made, so the plan is not applied.",
        AGAIN,
    ),
    (
        r"AWS account ID not allowed: (?P<found>\d+)",
        "the login is of the account {found}, and not of the project's.",
        "infra/README.md names the account.",
    ),
    (
        r"ExpiredToken|RequestExpired|security token .* is expired",
        "the login has expired.",
        f"Log in again. {AGAIN}",
    ),
    (
        r"No valid credential sources found(?:.*?Error: (?P<found>.{1,300}))?",
        "Terraform finds no login: {found}",
        "Log in; in a flow, the verb 'bootstrap' sets the roles.",
    ),
    (
        r"AccessDenied|AuthorizationError|not authorized to perform: (?P<found>[\w:]+)",
        "the login may not do that: {found}.",
        "infra/README.md tells which role may do what. " + AGAIN,
    ),
    (
        r"Failed to query available provider packages|could not connect to registry|Failed to install provider",
        "Terraform cannot fetch the provider.",
        "Is this machine connected? Then run the same verb again.",
    ),
    (
        r"Unsupported Terraform Core version",
        "this Terraform is too old or too new.",
        "infra/environment/versions.tf says which version it has to be.",
    ),
)


@dataclass(frozen=True)
class Change:
    """What becomes of a resource. Values are left out: a reviewer reads the files for them."""

    address: str
    action: str  # one of ACTIONS' values
    attributes: tuple[str, ...] = ()  # those that change


@dataclass(frozen=True)
class Plan:
    """What would be done to an environment."""

    environment: str
    changes: tuple[Change, ...]
    drift: tuple[str, ...]  # what somebody has changed by hand, and the plan takes back

    @property
    def heading(self) -> str:
        """The plan in a line."""
        if not self.changes:
            return f"{self.environment}: nothing to change"
        counts = Counter(each.action for each in self.changes)
        return f"{self.environment}: " + ", ".join(f"{count} to {action}" for action, count in counts.items())


def plan(environment: str) -> Plan:
    """Look what would change in an environment, and save the plan for `apply`. Nothing is changed.

    Args:
        environment: one of the project's.

    Raises:
        ProjectError: there is no such environment, or Terraform or AWS refuse.
    """
    _prepare(environment)
    with replacing(paths().plans / environment) as new:
        new.mkdir()
        path = (new / PLAN).resolve()
        # Who only plans may not write a lock. A state that moves on meanwhile makes the plan stale: `apply` sees it.
        _terraform(environment, "plan", "-lock=false", f"-out={path}")
        found = _read(environment, json.loads(_terraform(environment, "show", "-json", str(path))))
        write_json(new / SUMMARY, asdict(found))
        shutil.copy(
            paths().infrastructure / "environment" / f".{LOCK}", new / LOCK
        )  # the plan can be applied with the same provider alone
    return found


def saved(environment: str) -> Plan:
    """Return the plan that `apply` would apply.

    Raises:
        ProjectError: there is none.
    """
    _known(environment)
    path = paths().plans / environment / SUMMARY
    if not path.exists():
        raise ProjectError(
            f"There is no plan for {environment} in {paths().plans}.",
            hint=f"'infrastructure {environment} --plan' makes one.",
        )
    content = read_json(path, "infrastructure --plan")
    changes = tuple(Change(each["address"], each["action"], tuple(each["attributes"])) for each in content["changes"])
    return Plan(environment, changes, tuple(content["drift"]))


def apply(environment: str, tell: Callable[[str], None]) -> None:
    """Do exactly what the saved plan says; it is used up then.

    Args:
        environment: one of the project's.
        tell: is given what Terraform says, line by line.

    Raises:
        ProjectError: there is no plan, it is stale, or Terraform or AWS refuse. What has been made is noted.
    """
    saved(environment)
    folder = paths().plans / environment
    shutil.copy(folder / LOCK, paths().infrastructure / "environment" / f".{LOCK}")
    _prepare(environment)
    _terraform(environment, "apply", str((folder / PLAN).resolve()), tell=tell)
    shutil.rmtree(folder)


def destroy(environment: str, tell: Callable[[str], None]) -> None:
    """Take an environment away; what bootstrap/ has made stays: data, images, models, roles.

    Args:
        environment: one of the project's.
        tell: is given what Terraform says, line by line.

    Raises:
        ProjectError: Terraform or AWS refuse. What is gone is noted.
    """
    _prepare(environment)
    _terraform(environment, "destroy", "-auto-approve", tell=tell)


def told(plan: Plan) -> list[str]:
    """Return a plan in lines for people."""
    changes = [f"  {change.action:<8} {change.address}" for change in plan.changes]
    return [plan.heading, *changes, *(f"  changed by hand, and would be put back: {address}" for address in plan.drift)]


def page(plans: list[Plan]) -> Path:
    """Write plans as Markdown for reviewers, and return the path."""
    sections = []
    for each in plans:
        rows = [f"| {change.action} | `{change.address}` | {', '.join(change.attributes)} |" for change in each.changes]
        table = ["", "| | resource | what of it |", "| --- | --- | --- |", *rows] if rows else []
        drift = [f"- `{address}` was changed by hand, and would be put back" for address in each.drift]
        sections.append("\n".join([f"## {each.heading}", *table, *([""] if drift else []), *drift]))
    target = paths().plans / "plan.md"
    with replacing(target) as new:
        new.write_text("\n\n".join(["# What this does to the infrastructure", *sections]) + "\n", encoding="utf-8")
    return target


def version() -> None:
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


def _known(environment: str) -> None:
    if environment not in config.current().environments:
        raise ProjectError(
            f"There is no environment {environment!r}.", hint=f"Known: {', '.join(config.current().environments)}."
        )


def _prepare(environment: str) -> None:
    """Look whether all is there that Terraform needs, and let it fetch the provider."""
    _known(environment)
    version()
    settings()  # says in words who is logged in to what, and whether bootstrap/ has been applied
    _terraform(environment, "init", "-reconfigure", "-backend-config=../state.tfbackend")


def _terraform(environment: str, *words: str, tell: Callable[[str], None] | None = None) -> str:
    """Run Terraform in the environment's workspace, and return what it prints.

    Ctrl-C reaches Terraform as well: it ends what it is doing, notes what is made, and releases the lock. It is
    waited for.
    """
    more = {"TF_WORKSPACE": environment, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "TF_CLI_ARGS": "-no-color"}
    lines: list[str] = []
    interrupted = False
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            ["terraform", *words],
            cwd=paths().infrastructure / "environment",
            env=os.environ | more,
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
        raise _refused(environment, words[0], failure or "".join(lines))
    return "".join(lines)


def _refused(environment: str, what: str, failure: str) -> ProjectError:
    """Return Terraform's failure in words."""
    text = re.sub(r"^[╷│╵] ?", "", failure, flags=re.MULTILINE).strip()
    flat = " ".join(text.split())
    details = {name.lower(): value.strip() for name, value in re.findall(r"^ +(ID|Who|Created): +(.+)$", text, re.M)}
    for pattern, message, hint in REFUSALS:
        if found := re.search(pattern, flat):
            known = {"environment": environment, "id": "ID", "who": "unknown", "created": "a while"} | details
            known |= {name: value or "see its log" for name, value in found.groupdict().items()}
            if "found" not in known:
                known["found"] = flat[:300]
            return ProjectError(
                f"The {what} of {environment} stopped: {message.format(**known)}", hint=hint.format(**known)
            )
    return ProjectError(
        f"The {what} of {environment} stopped:\n" + "\n".join(text.splitlines()[-SHOWN:]),
        hint=f"infra/README.md tells what refusals mean. {AGAIN.format(environment=environment)}",
    )


def _read(environment: str, shown: Mapping[str, Any]) -> Plan:
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
        if each["address"] in changed and _by_hand(each["change"], changed[each["address"]])
    ]
    return Plan(environment, tuple(changes), tuple(drift))


def _by_hand(drift: Mapping[str, Any], change: Change) -> bool:
    """Say whether a change takes back what is otherwise than Terraform has left it."""
    before, after = drift["before"], drift["after"]
    return after is None or any(_full(before.get(name)) != _full(after.get(name)) for name in change.attributes)


def _full(value: Any) -> Any:
    """Return a value without what is empty: the provider reads that in another way than it was written."""
    if isinstance(value, dict):
        return {name: each for name, each in ((name, _full(each)) for name, each in value.items()) if each} or None
    if isinstance(value, list):
        return [_full(each) for each in value] or None
    return value or None


def _attributes(change: Mapping[str, Any]) -> tuple[str, ...]:
    before, after, unknown = change["before"] or {}, change["after"] or {}, change.get("after_unknown") or {}
    names = sorted({*before, *after, *unknown})
    return tuple(name for name in names if unknown.get(name) or before.get(name) != after.get(name))
