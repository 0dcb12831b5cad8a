"""The infrastructure of environments, described by Terraform in infra/: what every cloud does alike.

infra/environment is applied for one environment at a time: what would change, doing exactly that, taking all of it
away. infra/bootstrap is the ground, applied once by an administrator; it leaves what the flows have to know.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from twoloops import config
from twoloops.contracts.platform import Change, Plan, role_variable
from twoloops.errors import ProjectError
from twoloops.paths import paths
from twoloops.platforms.shared import terraform
from twoloops.platforms.shared.terraform import Refusal
from twoloops.storage import read_json, replacing, write_json

PLAN, SUMMARY, LOCK = "environment.tfplan", "plan.json", "terraform.lock.hcl"
SCRIPT = "infra/bootstrap.sh"
REGION, TRACKING_URI = "CLOUD_REGION", "MLFLOW_TRACKING_URI"  # where the first is set, the flows know the cloud


class MissingSettingsError(ProjectError):
    """infra/bootstrap has not been applied yet."""


@dataclass(frozen=True)
class FlowSettings:
    """What the flows on the code host have to know of the cloud; nothing of it is secret."""

    region: str
    roles: Mapping[str, str]  # by the names of `role_names`: what a token of a flow's job is exchanged for
    tracking_uri: str | None = None  # of the cloud's own MLflow server


def role_names() -> list[str]:
    """Return the names of the flows' roles: who plans, who trains, and for each environment who applies and deploys."""
    environments = config.current().environments
    return ["plan", "train", *(f"{purpose}/{name}" for name in environments for purpose in ("apply", "deploy"))]


class TerraformInfrastructure(ABC):
    """`contracts.platform.Infrastructure` by Terraform; a cloud adds what is abstract here."""

    MARK: Final = "<!-- twoloops: plan of the infrastructure -->"
    BOOTSTRAP: Final = SCRIPT
    refusals: Sequence[Refusal] = ()  # the cloud's own

    @abstractmethod
    def read_flow_settings(self) -> FlowSettings:
        """Return what infra/bootstrap has left for the flows.

        Raises:
            MissingSettingsError: it has not been applied.
            ProjectError: nobody is logged in, or to another account.
        """

    def check_login(self) -> None:
        """Say in words who is logged in to what, and whether bootstrap/ has been applied.

        A cloud where who plans may not look at every role asks for less.

        Raises:
            ProjectError: as `read_flow_settings`.
        """
        self.read_flow_settings()

    @abstractmethod
    def deployed(self, environment: str) -> list[str]:
        """Return in words what deployments have made in an environment, beside its infrastructure."""

    # ------------------------------------------------------------------ infra/environment

    def plan(self, environment: str) -> Plan:
        """Look what would change in an environment, and save the plan for `apply`. Nothing is changed.

        Args:
            environment: one of the project's.

        Raises:
            ProjectError: there is no such environment, or Terraform or the cloud refuse.
        """
        self._prepare(environment)
        with replacing(paths().plans / environment) as new:
            new.mkdir()
            path = (new / PLAN).resolve()
            # Who only plans may not write a lock. A state that moves on makes the plan stale: `apply` sees it.
            self._run(environment, "plan", "-lock=false", f"-out={path}")
            found = terraform.read_plan(environment, json.loads(self._run(environment, "show", "-json", str(path))))
            write_json(new / SUMMARY, asdict(found))
            # The plan can be applied with the same provider alone.
            shutil.copy(paths().infrastructure / "environment" / f".{LOCK}", new / LOCK)
        return found

    def saved(self, environment: str) -> Plan:
        """Return the plan that `apply` would apply.

        Raises:
            ProjectError: there is none.
        """
        config.current().check_environment(environment)
        path = paths().plans / environment / SUMMARY
        if not path.exists():
            raise ProjectError(
                f"There is no plan for {environment} in {paths().plans}.",
                hint=f"'infrastructure {environment} --plan' makes one.",
            )
        content = read_json(path, "infrastructure --plan")
        changes = (Change(each["address"], each["action"], tuple(each["attributes"])) for each in content["changes"])
        return Plan(environment, tuple(changes), tuple(content["drift"]))

    def apply(self, environment: str, tell: Callable[[str], None]) -> None:
        """Do exactly what the saved plan says; it is used up then.

        Args:
            environment: one of the project's.
            tell: is given what Terraform says, line by line.

        Raises:
            ProjectError: there is no plan, it is stale, or Terraform or the cloud refuse. What has been made is noted.
        """
        self.saved(environment)
        folder = paths().plans / environment
        shutil.copy(folder / LOCK, paths().infrastructure / "environment" / f".{LOCK}")
        self._prepare(environment)
        self._run(environment, "apply", str((folder / PLAN).resolve()), tell=tell)
        shutil.rmtree(folder)

    def destroy(self, environment: str, tell: Callable[[str], None]) -> None:
        """Take an environment away; what bootstrap/ has made stays: data, images, models, roles.

        Args:
            environment: one of the project's.
            tell: is given what Terraform says, line by line.

        Raises:
            ProjectError: Terraform or the cloud refuse. What is gone is noted.
        """
        self._prepare(environment)
        self._run(environment, "destroy", "-auto-approve", tell=tell)

    def describe(self, plan: Plan) -> list[str]:
        """Return a plan in lines for people."""
        changes = [f"  {change.action:<8} {change.address}" for change in plan.changes]
        drift = [f"  changed by hand, and would be put back: {address}" for address in plan.drift]
        return [plan.heading, *changes, *drift]

    def page(self, plans: list[Plan]) -> Path:
        """Write plans as Markdown for reviewers, and return the path."""
        sections = []
        for each in plans:
            rows = [f"| {made.action} | `{made.address}` | {', '.join(made.attributes)} |" for made in each.changes]
            table = ["", "| | resource | what of it |", "| --- | --- | --- |", *rows] if rows else []
            drift = [f"- `{address}` was changed by hand, and would be put back" for address in each.drift]
            sections.append("\n".join([f"## {each.heading}", *table, *([""] if drift else []), *drift]))
        target = paths().plans / "plan.md"
        with replacing(target) as new:
            new.write_text("\n\n".join(["# What this does to the infrastructure", *sections]) + "\n", encoding="utf-8")
        return target

    def _prepare(self, environment: str) -> None:
        """Look whether all is there that Terraform needs, and let it fetch the provider."""
        config.current().check_environment(environment)
        terraform.check_version()
        self.check_login()
        self._run(environment, "init", "-reconfigure", "-backend-config=../state.tfbackend")

    def _run(self, environment: str, *words: str, tell: Callable[[str], None] | None = None) -> str:
        return terraform.run(environment, *words, refusals=self.refusals, tell=tell, variables=self.login_variables())

    def login_variables(self) -> Mapping[str, str]:
        """Return the variables by which the provider finds the login, where they are not the verbs' own."""
        return {}

    # ------------------------------------------------------------------ infra/bootstrap

    def is_made(self) -> bool:
        """Say whether infra/bootstrap has been applied.

        Raises:
            ProjectError: nobody is logged in, or to another account.
        """
        try:
            self.read_flow_settings()
        except MissingSettingsError:
            return False
        return True

    def make(self, identifiers: Mapping[str, str], *, ask: bool) -> None:
        """Apply infra/bootstrap; what is there already is left as it is.

        Args:
            identifiers: what the code host calls the repository and its owner: the variables of bootstrap/code_host.tf.
            ask: whether Terraform shows its plan and asks.

        Raises:
            ProjectError: Terraform is missing, or what it was asked for was refused. What has been made is noted.
        """
        terraform.check_version()
        own = {f"TF_VAR_{name}": value for name, value in identifiers.items()}
        env = os.environ | own | dict(self.login_variables())
        command = ["sh", SCRIPT, *([] if ask else ["-auto-approve"])]
        try:
            code = subprocess.run(command, cwd=config.current().root, env=env, check=False).returncode
        except KeyboardInterrupt:  # Terraform has got it as well
            code = 1
        if code:
            raise ProjectError(
                f"{SCRIPT} ended before all was made; above it says why.",
                hint="Mend that, and run the same verb again: it goes on where it stopped. infra/README.md tells more.",
            )

    def variables(self) -> dict[str, str]:
        """Return the variables that the flows read; none is secret.

        Raises:
            ProjectError: the login is of another account, or bootstrap/ has not been applied.
        """
        known = self.read_flow_settings()
        found = {REGION: known.region, **{role_variable(name): known.roles[name] for name in role_names()}}
        return found | ({TRACKING_URI: known.tracking_uri} if known.tracking_uri else {})

    def variable_names(self) -> list[str]:
        """Return the names of the variables, whether there is an account or not."""
        return [REGION, *map(role_variable, role_names()), TRACKING_URI]
