"""A login to the cluster by the token of a flow's job: it is exchanged for one of the role's service account.

The API server itself knows the code host (infra/README.md), and a job's own token lasts minutes; the other lasts as
long as the job: https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import yaml

from twoloops.contracts.platform import Login, role_variable
from twoloops.errors import ProjectError
from twoloops.platforms.kubernetes.api import Api, RefusedError, explain_errors, namespaced
from twoloops.platforms.kubernetes.cluster import chosen, forget
from twoloops.platforms.kubernetes.kubeconfig import VARIABLE

FILE: Final = "kubeconfig"
TOKEN: Final = "cluster-token"  # noqa: S105 - a file's name
AUTHORITY: Final = "CLOUD_CLUSTER_CA"  # the variable with the authority of the cluster's certificate, as PEM
SHORTEST: Final = 600  # seconds: no token may last less


def log_in(login: Login) -> dict[str, str]:
    """Take a role, and leave its token where programs find it, in files that only this user can read.

    Args:
        login: the role and the token that says who asks.

    Returns:
        The variables by which the verbs, kubectl and Terraform find the login.

    Raises:
        ProjectError: nothing says which account the role has, or the cluster does not give it.
    """
    name = role_variable(login.role)
    namespace, _, account = login.variables.get(name, "").partition("/")
    if not account:
        raise ProjectError(
            f"The code host has no variable {name}: which account the role {login.role} has there is not known.",
            hint="The verb 'bootstrap' sets it.",
        )
    authority = login.variables.get(AUTHORITY, "").replace("\\n", "\n")
    token, path = login.folder / TOKEN, login.folder / FILE
    _write(token, _exchange(login, authority, namespace, account))
    cluster = {"server": chosen().cluster}
    if authority:
        _write(login.folder / "cluster-ca.pem", authority)
        cluster["certificate-authority"] = str(login.folder / "cluster-ca.pem")
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
    return {VARIABLE: str(path), "KUBE_CONFIG_PATHS": str(path)}


def _exchange(login: Login, authority: str, namespace: str, account: str) -> str:
    """Return a token of a service account that lasts as long as the job."""
    server = chosen().cluster
    what = f"Taking the role {login.role}, the account {namespace}/{account}"
    asked = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": max(SHORTEST, login.seconds)},
    }
    with explain_errors(what):
        context = ssl.create_default_context(cadata=authority or None) if urlsplit(server).scheme == "https" else None
        api = Api(server, lambda again: {"Authorization": f"Bearer {login.token}"}, context)
        try:
            answered = api.call("POST", namespaced("v1", "serviceaccounts", namespace, account, "token"), asked)
        except RefusedError as refused:
            if refused.status != 401:
                raise
            raise ProjectError(
                f"{what}: the cluster does not know the token of this job.",
                hint="Whoever runs the API server tells it of the code host: "
                "'terraform -chdir=infra/bootstrap output -raw authentication' says how.",
            ) from refused
    return str(answered["status"]["token"])


def _write(file: Path, text: str) -> None:
    """Write a file that nobody else can read, at no moment; one of an earlier login is replaced."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)
