"""The login of whoever runs a verb: a kubeconfig, as kubectl reads it, or the account of the pod that this runs in.

https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from twoloops.errors import ProjectError
from twoloops.platforms.kubernetes.api import Api

VARIABLE = "KUBECONFIG"  # files, separated as in PATH; of two that name the same thing the first counts
DEFAULT = Path("~/.kube/config")
# Where a pod has the token of its account, and the authority that signs the API server's certificate.
POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
EXEC_SECONDS = 60
KINDS = {"clusters": "cluster", "contexts": "context", "users": "user"}
Headers = Callable[[bool], Mapping[str, str]]


def context(server: str) -> str | None:
    """Return the name of the context that is of a cluster, or None where a pod's account logs in.

    Args:
        server: the address of the project's cluster.
    """
    files = _files()
    return _choose(files, server)[0] if files else None


def authority(server: str) -> str | None:
    """Return the authority that signs the certificate of a cluster, as PEM, or None where any public one does.

    Args:
        server: the address of the project's cluster.
    """
    files = _files()
    if files:
        _, _, cluster = _choose(files, server)
        return _content(cluster, "certificate-authority").decode() or None
    return (POD / "ca.crt").read_text(encoding="utf-8") if (POD / "ca.crt").is_file() else None


def load(server: str) -> Api:
    """Return the API server with a login of this machine.

    Args:
        server: the address of the project's cluster.

    Raises:
        ProjectError: there is no login to it, or it is one that nobody here understands.
    """
    files = _files()
    if files:
        name, known, cluster = _choose(files, server)
        user = known["users"].get(known["contexts"][name].get("user"), {})
        try:
            return Api(server.rstrip("/"), _headers(user, name), _tls(cluster, user) if _is_tls(server) else None)
        except (OSError, ValueError) as error:
            raise ProjectError(
                f"The context {name!r} of the kubeconfig cannot be used: {error}",
                hint="'kubectl --context' with this name shows whether it is well.",
            ) from error
    if (POD / "token").is_file():
        return Api(server, _token_file(POD / "token"), ssl.create_default_context(cafile=str(POD / "ca.crt")))
    raise ProjectError(
        f"Nobody is logged in to a cluster: there is no kubeconfig ({os.environ.get(VARIABLE) or DEFAULT}).",
        hint=f"Let your platform team give you one for {server}; in a flow, 'bootstrap' sets the roles.",
    )


def _files() -> list[Path]:
    names = [Path(name) for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    return [path for path in names or [DEFAULT.expanduser()] if path.is_file()]


def _choose(files: list[Path], server: str) -> tuple[str, dict[str, Any], Mapping[str, Any]]:
    """Return the context that is of a cluster, the current one first, with all that is known, and the cluster."""
    known = _merge(files)
    current = [name for name in [known["current"]] if name in known["contexts"]]
    for name in [*current, *known["contexts"]]:
        cluster = known["clusters"].get(known["contexts"][name].get("cluster"), {})
        if _address(cluster.get("server", "")) == _address(server):
            return name, known, cluster
    others = ", ".join(sorted(known["contexts"])) or "none"
    raise ProjectError(
        f"No context of {' or '.join(map(str, files))} is of this project's cluster, {server}. It has: {others}.",
        hint="Log in to that cluster; or change the answer: 'update-template --answer kubernetes_cluster=...'.",
    )


def _merge(files: list[Path]) -> dict[str, Any]:
    """Read kubeconfigs as kubectl does: of two things of one name, the first counts. Paths begin at their file."""
    found: dict[str, Any] = {kind: {} for kind in KINDS} | {"current": None}
    for path in files:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            for kind, inner in KINDS.items():
                for each in content.get(kind) or []:
                    said = {name: _resolve(path, name, value) for name, value in (each[inner] or {}).items()}
                    found[kind].setdefault(each["name"], said)
            found["current"] = found["current"] or content.get("current-context")
        except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
            raise ProjectError(
                f"{path} is not a kubeconfig: {error!r}", hint="'kubectl config view' reads it."
            ) from error
    return found


def _resolve(path: Path, name: str, value: Any) -> Any:
    is_file = name in ("certificate-authority", "client-certificate", "client-key", "tokenFile")
    return str(path.parent / value) if is_file and isinstance(value, str) else value


def _address(url: str) -> tuple[str, str, int | None, str]:
    """Return what tells two addresses of API servers apart."""
    parts = urlsplit(url)
    return (
        parts.scheme,
        parts.hostname or "",
        parts.port or {"https": 443, "http": 80}.get(parts.scheme),
        parts.path.rstrip("/"),
    )


def _is_tls(server: str) -> bool:
    return urlsplit(server).scheme == "https"


def _headers(user: Mapping[str, Any], context: str) -> Headers:
    """Return what gives the headers that say who asks."""
    if user.get("tokenFile"):
        return _token_file(Path(user["tokenFile"]))
    if user.get("token"):
        return lambda again: {"Authorization": f"Bearer {user['token']}"}
    if user.get("exec"):
        return _program(user["exec"], context)
    for name in ("auth-provider", "username"):
        if user.get(name):
            raise ValueError(f"its user logs in by {name}, which clusters have given up")
    return lambda again: {}  # a certificate, or nobody


def _token_file(path: Path) -> Headers:
    # Read each time: what writes the file renews it.
    return lambda again: {"Authorization": f"Bearer {path.read_text(encoding='utf-8').strip()}"}


def _program(described: Mapping[str, Any], context: str) -> Headers:
    """Return what asks a program for a token, as clouds do, and remembers it until it is refused."""
    known: dict[str, str] = {}

    def headers(again: bool) -> Mapping[str, str]:
        if again or not known:
            known["Authorization"] = f"Bearer {_ask(described, context)}"
        return known

    return headers


def _ask(described: Mapping[str, Any], context: str) -> str:
    """Run the program that a kubeconfig names: https://kubernetes.io/docs/reference/config-api/client-authentication.v1/."""
    command = [described["command"], *(described.get("args") or [])]
    asked = {"apiVersion": described.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
    more = {each["name"]: each["value"] for each in described.get("env") or []}
    try:
        done = subprocess.run(
            command,
            env=os.environ | more | {"KUBERNETES_EXEC_INFO": json.dumps(asked)},
            capture_output=True,
            text=True,
            timeout=EXEC_SECONDS,
            check=False,
        )
        token = str(json.loads(done.stdout)["status"]["token"]) if done.returncode == 0 else ""
    except FileNotFoundError as error:
        raise ProjectError(
            f"The context {context!r} logs in by {command[0]}, which is not installed.",
            hint=described.get("installHint") or "Install it, as your cloud's documentation tells.",
        ) from error
    except (subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise ProjectError(
            f"{command[0]}, by which the context {context!r} logs in, gives no token: {error!r}",
            hint="Run it by hand: it has to print an ExecCredential with a token.",
        ) from error
    if not token:
        raise ProjectError(
            f"{command[0]}, by which the context {context!r} logs in, failed: {done.stderr.strip()[-500:]}",
            hint="Log in to your cloud again.",
        )
    return token


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    """Return how the server is recognized, and, by a certificate, who asks."""
    authority = cluster.get("certificate-authority-data")
    context = ssl.create_default_context(
        cafile=None if authority else cluster.get("certificate-authority"),
        cadata=base64.b64decode(authority).decode() if authority else None,
    )
    if cluster.get("insecure-skip-tls-verify"):
        raise ValueError("insecure-skip-tls-verify is set: whoever stands between could read the login")
    certificate = _content(user, "client-certificate")
    if certificate:
        # Python takes certificates from files alone. They are of this user, and gone at once.
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / name for name in ("certificate", "key")]
            for path, content in zip(paths, (certificate, _content(user, "client-key")), strict=True):
                path.write_bytes(content)
            context.load_cert_chain(paths[0], paths[1])
    return context


def _content(user: Mapping[str, Any], name: str) -> bytes:
    if data := user.get(f"{name}-data"):
        return base64.b64decode(data)
    return Path(user[name]).read_bytes() if user.get(name) else b""
