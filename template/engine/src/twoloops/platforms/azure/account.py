"""The subscription: what the project chose, what everything is called, and whether bootstrap/ has made it.

Nothing is stored. Every name follows from the project's configuration, here and in infra/project/names.tf alike.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twoloops import config
from twoloops.errors import ProjectError
from twoloops.platforms.azure import rest
from twoloops.platforms.azure.rest import LEARNING, explain_errors
from twoloops.platforms.shared.infrastructure import MissingSettingsError

GUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
CONTAINER = "project"  # of the storage account, and the datastore that stands for it in each workspace
# An endpoint's name has at most 32 characters, a workspace's 33: so much is left for the project and the environment.
LONGEST_PROJECT, LONGEST_ENVIRONMENT = 14, 10


class Account(BaseModel):
    """`[tool.twoloops.azure]`: what the project chose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subscription: str = Field(pattern=GUID)
    tenant: str = Field(pattern=GUID)
    region: str = Field(pattern=r"^[a-z]{4,20}[0-9]?$")
    private_network: bool = False


def account() -> Account:
    """Return what the project chose.

    Raises:
        ProjectError: a key is missing, unknown, or has a value that is not allowed.
    """
    chosen = config.current()
    try:
        return Account.model_validate(dict(chosen.platform_settings))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, each['loc'])) or 'the table'}: {each['msg']}" for each in error.errors()]
        raise ProjectError(
            f"[tool.twoloops.azure] in {chosen.root / config.FILE} is not valid:\n"
            + "\n".join(f"  - {line}" for line in lines),
            hint="It has subscription and tenant, as 'az account show' names them, and region, such as westeurope.",
        ) from error


def short(text: str, longest: int) -> str:
    """Return a name in a-z, 0-9 and single hyphens; what had to be changed ends with a digest of the whole.

    Args:
        text: a package or an environment.
        longest: how many characters it may have.
    """
    plain = re.sub(r"-+", "-", text.replace("_", "-")).strip("-")
    if plain == text.replace("_", "-") and len(plain) <= longest:
        return plain
    return f"{plain[: longest - 6].rstrip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:5]}".lstrip("-")


@dataclass(frozen=True)
class Names:
    """What everything of the project is called."""

    subscription: str
    region: str
    package: str
    environments: tuple[str, ...]

    @property
    def project(self) -> str:
        """The project, in names."""
        return short(self.package, LONGEST_PROJECT)

    @property
    def suffix(self) -> str:
        """What makes a name that has to be unique in the world unique."""
        return hashlib.sha256(f"{self.subscription}/{self.package}".encode()).hexdigest()[:6]

    def room(self, environment: str | None) -> str:
        """Return what a name ends with: of what all share, or of an environment, where there are several."""
        own = environment is not None and len(self.environments) > 1
        return f"-{short(str(environment), LONGEST_ENVIRONMENT)}" if own else ""

    def group(self, environment: str | None = None) -> str:
        """Return the path of a resource group."""
        return f"/subscriptions/{self.subscription}/resourceGroups/rg-{self.project}{self.room(environment)}"

    def workspace(self, environment: str | None = None) -> str:
        """Return the path of an environment's workspace; without one, of that which trains."""
        named = f"mlw-{self.project}{self.room(environment)}"
        return f"{self.group(environment)}/providers/{LEARNING}/workspaces/{named}"

    def endpoint(self, environment: str) -> str:
        """Return the name of an environment's endpoint, which is unique in its region."""
        return f"{self.project}-{short(environment, LONGEST_ENVIRONMENT)}-{self.suffix}"

    def identity(self, role: str, environment: str | None = None) -> str:
        """Return the path of a user-assigned identity."""
        named = f"id-{self.project}{self.room(environment)}-{role}"
        return f"{self.group(environment)}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{named}"

    @property
    def logs(self) -> str:
        """The path of where logs go."""
        return f"{self.group()}/providers/Microsoft.OperationalInsights/workspaces/log-{self.project}"

    @property
    def storage(self) -> str:
        """The storage account."""
        return f"st{self.project.replace('-', '')[:12]}{self.suffix}"

    @property
    def registry(self) -> str:
        """The registry of images."""
        return f"cr{self.project.replace('-', '')}{self.suffix}"

    @property
    def rooms(self) -> tuple[str | None, ...]:
        """What all share, and each environment."""
        return (None, *self.environments)

    def vault(self, environment: str | None = None) -> str:
        """Return the vault that a workspace wants."""
        group = self.group(environment).rpartition("/")[2]
        return f"kv-{hashlib.sha256(f'{self.subscription}/{group}'.encode()).hexdigest()[:18]}"

    @property
    def home(self) -> str:
        """The project's place in the storage account, as a URL that pyarrow and obstore understand as well."""
        return f"abfss://{CONTAINER}@{self.storage}.dfs.core.windows.net"

    def datastore(self, environment: str | None, url: str) -> str:
        """Return a URL below `home` as a workspace names it.

        Args:
            environment: whose workspace; None: that which trains.
            url: below `home`.
        """
        inside = self.workspace(environment).replace(f"/providers/{LEARNING}", "").lstrip("/")
        return f"azureml://{inside}/datastores/{CONTAINER}/paths/{url.removeprefix(self.home).lstrip('/')}"


def names() -> Names:
    """Return what everything of the current project is called."""
    chosen, made = config.current(), account()
    return Names(made.subscription, made.region, chosen.package, chosen.environments)


def tags() -> dict[str, str]:
    """Return the tags as Terraform gives them to what it makes: the budget counts what has the first one."""
    return {"Project": names().project, "ManagedBy": config.current().package}


def bootstrap() -> str:
    """Return who makes what is missing."""
    return f"An administrator makes it with 'uv run {config.current().package} bootstrap': infra/README.md."


def check_made() -> Names:
    """Return the names, once the login reaches the subscription and bootstrap/ has been applied.

    Raises:
        ProjectError: the login is of another tenant, or something is somewhere else than the project says.
        MissingSettingsError: bootstrap/ has not been applied.
    """
    return _check_made(names())


@lru_cache
def _check_made(known: Names) -> Names:
    path = known.workspace()
    with explain_errors("Looking whether the project's infrastructure is there"):
        found = rest.find(path)
    if found is None:
        raise MissingSettingsError(
            f"There is no workspace {path.rpartition('/')[2]} in the subscription {known.subscription} yet.",
            hint=bootstrap(),
        )
    if found["location"].replace(" ", "").lower() != known.region:
        raise ProjectError(
            f"The workspace {path.rpartition('/')[2]} is in {found['location']}, and the project belongs to "
            f"{known.region}.",
            hint="Change the answer: 'update-template --answer azure_region=...'.",
        )
    return known


def find_client_id(role: str, environment: str | None = None) -> str:
    """Return by which number an identity takes a login.

    Args:
        role: of the identity.
        environment: to which it belongs.

    Raises:
        ProjectError: there is no such identity.
    """
    path = names().identity(role, environment)
    with explain_errors(f"Looking for the identity {path.rpartition('/')[2]}"):
        found: dict[str, Any] | None = rest.find(path)
    if found is None:
        raise MissingSettingsError(f"There is no identity {path.rpartition('/')[2]} yet.", hint=bootstrap())
    return str(found["properties"]["clientId"])


def flow_identity(role: str) -> tuple[str, str | None]:
    """Return the identity of a flow's role, and to which environment it belongs.

    Args:
        role: as `infrastructure.role_names` has it, such as train or deploy/production.
    """
    purpose, _, environment = role.partition("/")
    return f"ci-{purpose}", environment or None
