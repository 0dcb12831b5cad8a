"""A registry of images, whichever it is: the part of the OCI distribution protocol that asks for a digest.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md. The login is the one that the engine of
containers has: its file, as `docker login` and `podman login` write it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from twoloops.errors import ProjectError
from twoloops.platforms.kubernetes.cluster import chosen
from twoloops.platforms.shared import images

TIMEOUT_SECONDS = 30.0
ACCEPTED = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.manifest.v1",
        "oci.image.index.v1",
        "docker.distribution.manifest.v2",
        "docker.distribution.manifest.list.v2",
    )
)
LOGIN = ("REGISTRY_USER", "REGISTRY_PASSWORD")  # variables: they go before the files
Answer = tuple[int, Mapping[str, str], bytes]


class Registry:
    """The project's repository, in a registry of the team's choice."""

    @property
    def repository(self) -> str:
        """HOST/NAME."""
        return chosen().image_repository

    def find_digest(self, tag: str) -> str | None:
        """Return the digest of the image with this tag, or None.

        Raises:
            ProjectError: the registry refuses to say, or does not answer.
        """
        host, _, name = self.repository.partition("/")
        path = f"/v2/{name}/manifests/{tag}"
        try:
            status, headers, _ = _ask(host, "HEAD", path, {"Accept": ACCEPTED})
            if status == 401:
                login = _log_in(host, headers.get("www-authenticate", ""))
                status, headers, _ = _ask(host, "HEAD", path, {"Accept": ACCEPTED, **login})
        except (OSError, HTTPException) as error:
            raise ProjectError(
                f"The registry {host} does not answer: {error}", hint="Is this machine connected?"
            ) from error
        if status == 404:
            return None
        if status != 200:
            raise ProjectError(
                f"The registry {host} does not say whether it has {name}:{tag}: it answers {status}.",
                hint=f"Log in: 'docker login {host}' or 'podman login {host}'; in a flow, set {' and '.join(LOGIN)}.",
            )
        digest = headers.get("docker-content-digest", "")
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise ProjectError(
                f"The registry {host} tells no digest of {name}:{tag}.", hint="It does not keep to the OCI protocol."
            )
        return digest

    def log_in(self) -> tuple[str, str]:
        """Return a user and a password with which an engine pushes.

        Raises:
            ProjectError: there is no login.
        """
        host = self.repository.partition("/")[0]
        found = _login_of(host)
        if found is None:
            raise ProjectError(
                f"There is no login to the registry {host}.",
                hint=f"'docker login {host}' or 'podman login {host}'; in a flow, set {' and '.join(LOGIN)}.",
            )
        return found


def _ask(host: str, method: str, path: str, headers: Mapping[str, str]) -> Answer:
    # As engines do: a registry on this machine may speak without encryption, and no other.
    is_here = host.partition(":")[0] in ("localhost", "127.0.0.1")
    connection = (HTTPConnection if is_here else HTTPSConnection)(host, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def _log_in(host: str, challenge: str) -> Mapping[str, str]:
    """Return the header with which a registry that asked for a login is asked again."""
    login = _login_of(host)
    basic = {"Authorization": f"Basic {base64.b64encode(':'.join(login).encode()).decode()}"} if login else {}
    scheme, _, rest = challenge.partition(" ")
    if scheme.lower() != "bearer":
        return basic
    said = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    realm = urlsplit(said.pop("realm", ""))
    # The login goes to no place but the registry's own, or one that it names by an encrypted address.
    if realm.scheme != "https" and realm.netloc != host:
        return {}
    status, _, content = _ask(realm.netloc, "GET", f"{realm.path}?{urlencode(said)}", basic)
    try:
        answered: dict[str, Any] = json.loads(content) if status == 200 else {}
    except ValueError:
        answered = {}
    token = answered.get("token") or answered.get("access_token")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _login_of(host: str) -> tuple[str, str] | None:
    """Return the user and the password for a registry, or None."""
    if all(os.environ.get(name) for name in LOGIN):
        return os.environ[LOGIN[0]], os.environ[LOGIN[1]]
    for path in _files():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        helper = content.get("credHelpers", {}).get(host) or content.get("credsStore")
        auth = content.get("auths", {}).get(host, {}).get("auth")
        if auth:
            user, _, password = base64.b64decode(auth).decode().partition(":")
            return user, password
        if helper and (found := _from_helper(helper, host)):
            return found
    return None


def _files() -> list[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return [
        *([Path(os.environ["REGISTRY_AUTH_FILE"])] if os.environ.get("REGISTRY_AUTH_FILE") else []),
        *([Path(runtime) / "containers/auth.json"] if runtime else []),
        Path(os.environ.get("DOCKER_CONFIG") or Path("~/.docker").expanduser()) / "config.json",
    ]


def _from_helper(helper: str, host: str) -> tuple[str, str] | None:
    """Ask a program that keeps logins: https://github.com/docker/docker-credential-helpers."""
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=host,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=True,
        )
        said = json.loads(done.stdout)
        return said["Username"], said["Secret"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None


def reference(kind: str) -> str:
    """Return the image of this very code, by its digest.

    Args:
        kind: images.SERVE or images.TRAIN.

    Raises:
        ProjectError: nobody has pushed it.
    """
    return images.reference(Registry(), kind)


def push(engine: str | None, tell: Callable[[str], None]) -> dict[str, str]:
    """Build and push the images that the registry lacks; `shared.images.push` tells more."""
    return images.push(Registry(), engine, tell)
