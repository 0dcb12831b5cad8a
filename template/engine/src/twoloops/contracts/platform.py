"""What every platform can be asked: where a project's models run, whatever that is.

A platform is a module or object with these names, registered as an entry point of the group `twoloops.platforms`.
The verbs ask it what it offers; nothing else in the engine, and no file of a project outside infra/, knows which it is.
`tests/engine/platforms/conformance.py` of the template's repository holds each to this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from twoloops.errors import ProjectError

if TYPE_CHECKING:
    from twoloops.contracts.client import Endpoint
    from twoloops.contracts.graph import Graph
    from twoloops.contracts.records import Records
    from twoloops.contracts.release import Deployment, Status, Traffic
    from twoloops.contracts.scan import Scan

Tell = Callable[[str], None]

# What a platform may offer beside running services; a verb, or an option of one, is there where its platform has it.
PIPELINES = "pipelines"  # `run --submit`, `retrain --submit`: the graph runs there
SCORING = "scoring"  # `score --submit`, and scoring on a schedule
IMAGES = "images"  # `image`: containers are built and pushed
LOGIN = "login"  # `login`: a flow's job takes a role by the code host's token
INFRASTRUCTURE = "infrastructure"  # `infrastructure`, and what `bootstrap` makes on the platform


@dataclass(frozen=True)
class Login:
    """What a job of a flow asks of its platform: to act in a role, until the job ends."""

    role: str  # plan, train, deploy-ENVIRONMENT or apply-ENVIRONMENT
    token: str = field(repr=False)  # of the code host: says which repository, and which job of it, asks
    variables: Mapping[str, str]  # that `bootstrap` has set on the code host; none is secret
    run: str  # names the job in the platform's records: letters, digits and hyphens
    seconds: int  # for how long
    folder: Path  # for files that hold the login: outside the checkout, and gone with the job


def role_variable(role: str) -> str:
    """Return the variable on the code host that says what the platform calls a role of the flows."""
    return f"CLOUD_ROLE_{role.replace('/', '_').replace('-', '_').upper()}"


class UntrustedError(ProjectError):
    """A platform does not trust the token of a flow's job: it is for another job, branch or repository."""


class NotOfferedError(ProjectError):
    """A platform was asked for what it has not."""

    def __init__(self, platform: str, offer: str) -> None:
        """Say so, for people.

        Args:
            platform: its NAME.
            offer: one of the constants above.
        """
        super().__init__(
            f"The platform of this project, {platform}, has no {offer}.",
            hint=("Leave --submit out: it runs here. " if offer in (PIPELINES, SCORING) else "")
            + "Another platform is another answer: 'update-template --answer infrastructure=...'.",
        )


class Platform(Protocol):
    """Where models run.

    What is not among OFFERS raises NotOfferedError when it is asked for.
    """

    @property
    def NAME(self) -> str:  # noqa: N802 - a constant of a module
        """What people call it."""

    @property
    def OFFERS(self) -> frozenset[str]:  # noqa: N802
        """What it has beside services: some of the constants above."""

    @property
    def LATE_SECONDS(self) -> float:  # noqa: N802
        """So late come the figures of `traffic`."""

    @property
    def STOPPED(self) -> str:  # noqa: N802
        """What `stop` does, in a word."""

    def lasts(self) -> bool:
        """Say whether what a flow's job deploys is still there after it."""

    def deployment(self, environment: str) -> Deployment | None:
        """Return what the environment was last told to run, or None."""

    def deploy(self, environment: str, wanted: Deployment) -> None:
        """Let the environment run `wanted`, and return when it does; can be repeated at any time.

        Raises:
            UnfitError: the service refuses a model; it goes on with what it was told before.
            ProjectError: an artifact cannot be had (nothing has changed then), or no service comes up.
        """

    def status(self, environment: str) -> Status | None:
        """Return what the environment's service says of itself, or None when none answers."""

    def endpoint(self, environment: str) -> Endpoint:
        """Return where the environment's service answers.

        Raises:
            ProjectError: it does not run.
        """

    def traffic(self, environment: str) -> Mapping[str, Traffic]:
        """Return what the environment's service has counted for each version.

        Raises:
            ProjectError: it does not answer.
        """

    def stop(self, environment: str) -> bool:
        """Stop what serves or scores in the environment, and return whether anything did."""

    def remove(self, environment: str) -> None:
        """Stop the environment's service, and forget what it was to run."""

    def lock(self, what: str) -> AbstractContextManager[None]:
        """Let no other deployment, rollback or stop come between.

        Raises:
            ProjectError: another one is under way.
        """

    def records(self) -> Records:
        """Return where the notes of deployments are kept: which artifact has passed which trial, and was champion."""

    def image(self, tolerated: Scan) -> str | None:
        """Return the image that services run in, by its digest; None: no image is used here.

        Args:
            tolerated: what may be found in it.

        Raises:
            ProjectError: it cannot be had, nobody has scanned it, or what was found is not tolerated.
        """

    def follow_champion(self, version: Any) -> None:
        """Let the platform follow a registered version that is about to become champion; may be repeated."""

    def captures(self) -> AbstractContextManager[None]:
        """Bring what the monitor needs to this machine, and keep afterwards what it remembers."""

    def monitor_memory(self) -> AbstractContextManager[None]:
        """Bring what the monitor and retrainings remember, and keep what is new of it, also after a failure."""

    def submit(self, graph: Graph, tell: Tell) -> None:
        """Run a graph there, wait, and leave here what a local run leaves (PIPELINES).

        Raises:
            RedVerdictError: the model is not good enough.
            ProjectError: something is missing, or a step failed.
        """

    def score(self, tell: Tell) -> dict[str, Any]:
        """Score there now, as the schedule would, and wait (SCORING).

        Returns:
            `target`, where the results are, and `summary`, the run's.
        """

    def push_images(self, engine: str | None, tell: Tell) -> dict[str, str]:
        """Build the images that the project needs there, push them, and return their references (IMAGES)."""

    def audience(self, role: str) -> str:
        """Return for whom a token has to be by which a flow takes a role (LOGIN)."""

    def log_in(self, login: Login) -> dict[str, str]:
        """Take a role by a token, and return the variables by which programs find the login; none is secret (LOGIN).

        Raises:
            UntrustedError: the token is not one that the platform trusts for this role.
            ProjectError: the platform does not give the role.
        """

    def infrastructure(self) -> Infrastructure:
        """Return what changes the infrastructure of environments (INFRASTRUCTURE)."""


@dataclass(frozen=True)
class Change:
    """What becomes of a part of the infrastructure. Values are left out: a reviewer reads the files for them."""

    address: str
    action: str  # create, change, destroy or replace
    attributes: tuple[str, ...] = ()  # those that change


@dataclass(frozen=True)
class Plan:
    """What would be done to the infrastructure of an environment."""

    environment: str
    changes: tuple[Change, ...]  # empty where there is nothing to do
    drift: tuple[str, ...]  # what somebody has changed by hand, and the plan takes back

    @property
    def heading(self) -> str:
        """The plan in a line."""
        if not self.changes:
            return f"{self.environment}: nothing to change"
        counts = Counter(each.action for each in self.changes)
        return f"{self.environment}: " + ", ".join(f"{count} to {action}" for action, count in counts.items())


class Infrastructure(Protocol):
    """What is made for a project before anything is deployed, by its description in infra/."""

    @property
    def MARK(self) -> str:  # noqa: N802
        """By which its comment on a change is found again."""

    @property
    def BOOTSTRAP(self) -> str:  # noqa: N802
        """What makes the ground, for people."""

    def plan(self, environment: str) -> Plan:
        """Look what would change, and save that."""

    def saved(self, environment: str) -> Plan:
        """Return the saved plan."""

    def apply(self, environment: str, tell: Tell) -> None:
        """Do exactly what the saved plan says."""

    def destroy(self, environment: str, tell: Tell) -> None:
        """Take it away."""

    def describe(self, plan: Plan) -> list[str]:
        """Return a plan in lines."""

    def page(self, plans: list[Plan]) -> Path:
        """Write plans for reviewers."""

    def deployed(self, environment: str) -> list[str]:
        """Return in words what deployments have made there, beside the infrastructure."""

    def is_made(self) -> bool:
        """Say whether the ground is made: what all environments share."""

    def make(self, identifiers: Mapping[str, str], *, ask: bool) -> None:
        """Make the ground, as an administrator; `identifiers` say of which repository's flows the roles are."""

    def variables(self) -> dict[str, str]:
        """Return the variables by which flows know the platform."""

    def variable_names(self) -> list[str]:
        """Return the names of these variables, made or not."""
