"""A code host's issuer of tokens on loopback: its keys, and tokens that an API server can look at.

https://openid.net/specs/openid-connect-discovery-1_0.html is what an API server asks of it.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

DISCOVERY = "/.well-known/openid-configuration"
LIVES_SECONDS = 300  # as GitHub's do


@dataclass(frozen=True)
class Issuer:
    """One that answers."""

    url: str
    key: RSAKey

    def token(self, subject: str, audience: str, *, lives: float = LIVES_SECONDS) -> str:
        """Return a job's token.

        Args:
            subject: how the code host names the job.
            audience: whom it is for.
            lives: seconds until it expires.
        """
        now = int(time.time())
        claims = {"iss": self.url, "sub": subject, "aud": audience, "iat": now, "exp": now + int(lives)}
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)


class Handler(BaseHTTPRequestHandler):
    """What is asked, by path."""

    pages: dict[str, bytes]

    def do_GET(self) -> None:
        content = self.pages.get(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the class has it
        pass


class Jobs(BaseHTTPRequestHandler):
    """Gives a job its token, as GitHub does: GET /?subject=SUBJECT&audience=AUDIENCE."""

    issuer: Issuer

    def do_GET(self) -> None:
        asked = dict(parse_qsl(urlsplit(self.path).query))
        content = json.dumps({"value": self.issuer.token(asked["subject"], asked["audience"])}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the class has it
        pass


@contextmanager
def giving(issuer: Issuer) -> Iterator[str]:
    """Give jobs their tokens meanwhile, at the address that is returned."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Jobs,), {"issuer": issuer}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def issuing(certificate: Path, key: Path) -> Iterator[Issuer]:
    """Answer as an issuer meanwhile.

    Args:
        certificate: for 127.0.0.1.
        key: of the certificate.
    """
    own = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"})
    own.ensure_kid()
    pages: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"pages": pages}))
    found = Issuer(f"https://127.0.0.1:{server.server_port}", own)
    about = {
        "issuer": found.url,
        "jwks_uri": f"{found.url}/keys",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }
    pages[DISCOVERY] = json.dumps(about).encode()
    pages["/keys"] = json.dumps({"keys": [own.as_dict(private=False)]}).encode()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
