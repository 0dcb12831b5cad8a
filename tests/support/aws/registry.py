"""A registry of images on loopback: the part of the OCI distribution protocol with which images are pushed and pulled.

What is pushed is told to the emulator's ECR, which shares no image with anybody. As ECR's, tags never move.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

PATH = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>blobs|manifests)/(?P<reference>[^?]*)(?:\?digest=(?P<digest>.+))?\Z")


class Registry:
    """What the registry holds, and what it was asked."""

    def __init__(self, ecr: Any, token: str) -> None:
        """Keep the client of the emulator's ECR, and the token that it gives."""
        self.ecr = ecr
        self.credentials = base64.b64encode(base64.b64decode(token)).decode()
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.pushed: list[str] = []
        self.denies = False
        self.address = ""

    def settings(self, folder: Path) -> dict[str, str]:
        """Return the variables by which podman reaches this registry, and keeps its logins in a folder."""
        config = folder / "registries.conf"
        config.write_text(f'[[registry]]\nlocation = "{self.address}"\ninsecure = true\n', encoding="utf-8")
        return {"CONTAINERS_REGISTRIES_CONF": str(config), "REGISTRY_AUTH_FILE": str(folder / "auth.json")}

    def login(self) -> str:
        """Return the name and the password that ECR gives, as `--creds` takes them."""
        return base64.b64decode(self.credentials).decode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    """The protocol."""

    protocol_version = "HTTP/1.1"
    registry: Registry

    def _answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _error(self, status: int, code: str, message: str, **headers: str) -> None:
        text = f'{{"errors": [{{"code": "{code}", "message": "{message}"}}]}}'
        self._answer(status, text.encode(), Content_Type="application/json", **headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _serve(self) -> None:
        body, held = self._body(), self.registry
        if self.headers.get("Authorization") != f"Basic {held.credentials}":
            self._error(401, "UNAUTHORIZED", "log in", WWW_Authenticate='Basic realm="registry"')
            return
        if self.path == "/v2/":
            self._answer(200)
            return
        found = PATH.match(self.path)
        assert found, self.path
        if self.command not in ("GET", "HEAD") and held.denies:
            self._error(403, "DENIED", "not authorized to perform: ecr:InitiateLayerUpload")
        elif found["kind"] == "blobs":
            self._blob(found, body)
        else:
            self._manifest(found, body)

    def _blob(self, found: re.Match[str], body: bytes) -> None:
        held, reference = self.registry, found["reference"].removeprefix("uploads/")
        if self.command == "POST":
            identifier = uuid4().hex
            held.uploads[identifier] = b""
            self._answer(202, Location=f"/v2/{found['name']}/blobs/uploads/{identifier}", Range="0-0")
        elif self.command == "PATCH":
            held.uploads[reference] += body
            end = len(held.uploads[reference]) - 1
            self._answer(202, Location=f"/v2/{found['name']}/blobs/uploads/{reference}", Range=f"0-{end}")
        elif self.command == "PUT":
            content = held.uploads.pop(reference) + body
            digest = _digest(content)
            assert digest == found["digest"].replace("%3A", ":")
            held.blobs[digest] = content
            self._answer(201, Location=f"/v2/{found['name']}/blobs/{digest}", Docker_Content_Digest=digest)
        elif reference in held.blobs:
            self._answer(200, held.blobs[reference], Docker_Content_Digest=reference)
        else:
            self._error(404, "BLOB_UNKNOWN", reference)

    def _manifest(self, found: re.Match[str], body: bytes) -> None:
        held, reference = self.registry, found["reference"]
        if self.command == "PUT":
            digest, kind = _digest(body), self.headers["Content-Type"]
            if reference in held.manifests:
                self._error(400, "TAG_INVALID", f"The image tag {reference} already exists and is immutable")
                return
            held.manifests[reference] = held.manifests[digest] = (kind, body)
            held.pushed.append(reference)
            held.ecr.put_image(
                repositoryName=found["name"],
                imageManifest=body.decode(),
                imageManifestMediaType=kind,
                imageTag=reference,
                imageDigest=digest,
            )
            self._answer(201, Docker_Content_Digest=digest)
        elif reference in held.manifests:
            kind, content = held.manifests[reference]
            self._answer(200, content, Content_Type=kind, Docker_Content_Digest=_digest(content))
        else:
            self._error(404, "MANIFEST_UNKNOWN", reference)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = _serve  # noqa: N815 - http.server's names

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def registry(ecr: Any) -> Iterator[Registry]:
    """Start a registry that takes the emulator's own tokens; end it."""
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    held = Registry(ecr, token)
    handler = type("Bound", (Handler,), {"registry": held})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        held.address = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield held
        finally:
            server.shutdown()
