"""A login to the cluster by the token of a flow's job: the API server itself knows the code host, and takes the token.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#openid-connect-tokens
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import yaml

from twoloops.contracts.platform import Login, role_variable
from twoloops.errors import ProjectError
from twoloops.platforms.kubernetes.cluster import chosen, forget
from twoloops.platforms.kubernetes.kubeconfig import VARIABLE

FILE: Final = "kubeconfig"
TOKEN: Final = "cluster-token"  # noqa: S105 - a file's name
AUTHORITY: Final = "CLOUD_CLUSTER_CA"  # the variable with the authority of the cluster's certificate, as PEM


def log_in(login: Login) -> dict[str, str]:
    """Leave the token where programs find it, in files that only this user can read.

    Args:
        login: the role and the token that says who asks. How long it lasts, the code host has decided.

    Returns:
        The variables by which the verbs, kubectl and Terraform find the login.

    Raises:
        ProjectError: nothing says that the cluster knows this role.
    """
    name = role_variable(login.role)
    if not login.variables.get(name):
        raise ProjectError(
            f"The code host has no variable {name}: whom the cluster takes the role {login.role} for is not known.",
            hint="The verb 'bootstrap' sets it.",
        )
    token, path = login.folder / TOKEN, login.folder / FILE
    authority = login.folder / "cluster-ca.pem"
    _write(token, login.token)
    cluster = {"server": chosen().cluster}
    if login.variables.get(AUTHORITY):
        _write(authority, login.variables[AUTHORITY].replace("\\n", "\n"))
        cluster["certificate-authority"] = str(authority)
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": login.role, "user": {"tokenFile": str(token)}}],
        "contexts": [{"name": login.role, "context": {"cluster": "cluster", "user": login.role}}],
        "current-context": login.role,
    }
    _write(path, yaml.safe_dump(content))
    forget()
    # The verbs and kubectl read the one, Terraform's providers the other.
    return {VARIABLE: str(path), "KUBE_CONFIG_PATH": str(path)}


def _write(file: Path, text: str) -> None:
    """Write a file that nobody else can read, at no moment; one of an earlier login is replaced."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)
