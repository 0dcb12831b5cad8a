"""What the flows on the code host have to know of AWS, and the first apply of infra/bootstrap that it comes from."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from twoloops import config
from twoloops.errors import ProjectError
from twoloops.platforms.aws.account import MissingSettingsError, account, settings
from twoloops.platforms.aws.terraform import version

SCRIPT = "infra/bootstrap.sh"
MARK = "CLOUD_REGION"  # where it is set, the flows know the cloud


def roles() -> list[str]:
    """Return the names of the flows' roles."""
    environments = config.current().environments
    return ["plan", "train", *(f"{purpose}/{name}" for name in environments for purpose in ("apply", "deploy"))]


def names() -> list[str]:
    """Return the names of the variables, whether there is an account or not."""
    return [MARK, *map(_variable, roles()), "MLFLOW_TRACKING_URI"]


def variables() -> dict[str, str]:
    """Return the variables that the flows read; none is secret.

    Raises:
        ProjectError: the login is of another account, or bootstrap/ has not been applied.
    """
    known = settings()
    found = {MARK: account().region, **{_variable(name): known.flow_role_arns[name] for name in roles()}}
    return found | ({"MLFLOW_TRACKING_URI": known.tracking_uri} if known.tracking_uri else {})


def is_made() -> bool:
    """Say whether infra/bootstrap has been applied.

    Raises:
        ProjectError: nobody is logged in, or to another account.
    """
    try:
        settings()
    except MissingSettingsError:
        return False
    return True


def make(identifiers: Mapping[str, str], *, ask: bool) -> None:
    """Apply infra/bootstrap; what is there already is left as it is.

    Args:
        identifiers: what the code host calls the repository and its owner: the variables of bootstrap/code_host.tf.
        ask: whether Terraform shows its plan and asks.

    Raises:
        ProjectError: Terraform is missing, or what it was asked for was refused. What has been made is noted.
    """
    version()
    env = os.environ | {f"TF_VAR_{name}": value for name, value in identifiers.items()}
    try:
        done = subprocess.run(["sh", SCRIPT, *([] if ask else ["-auto-approve"])], env=env, check=False)
        code = done.returncode
    except KeyboardInterrupt:  # Terraform has got it as well
        code = 1
    if code:
        raise ProjectError(
            f"{SCRIPT} ended before all was made; above it says why.",
            hint="Mend that, and run the same verb again: it goes on where it stopped. infra/README.md tells more.",
        )


def _variable(role: str) -> str:
    return f"CLOUD_ROLE_{role.replace('/', '_').replace('-', '_').upper()}"
