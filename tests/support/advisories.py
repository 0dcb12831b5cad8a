"""A database of vulnerabilities on loopback, as osv.dev's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Advisories(BaseHTTPRequestHandler):
    """The two requests that `uv audit` makes of the database of vulnerabilities, and the one of `scan`."""

    known: Mapping[str, Mapping[str, Any]] = {}  # a package's advisory, by the package's name

    def do_POST(self) -> None:
        assert self.path == "/v1/querybatch", self.path
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        names = [query["package"]["name"] for query in asked]
        found = [self.known.get(name) for name in names]
        results = [{"vulns": [{"id": each["id"], "modified": each["modified"]}]} if each else {} for each in found]
        self._answer({"results": results})

    def do_GET(self) -> None:
        wanted = self.path.removeprefix("/v1/vulns/")
        self._answer(next((each for each in self.known.values() if each["id"] == wanted), None))

    def _answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name of the base class
        pass


def advisory(package: str, level: str) -> dict[str, Any]:
    """Return an advisory about all versions of a package, in the format of osv.dev's schema."""
    moment = "2026-01-01T00:00:00Z"
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999"}]}]
    return {
        "id": "GHSA-aaaa-bbbb-cccc", "schema_version": "1.6.0", "published": moment, "modified": moment,
        "aliases": ["CVE-2026-0001"], "summary": "An advisory for the test", "database_specific": {"severity": level},
        "affected": [{"package": {"name": package, "ecosystem": "PyPI"}, "ranges": ranges}],
    }  # fmt: skip


@contextmanager
def vulnerabilities(known: Mapping[str, Mapping[str, Any]] | None = None) -> Iterator[str]:
    """Serve a database of vulnerabilities on loopback and yield its address, for OSV_URL.

    Args:
        known: advisories by the package's name; none: nothing is vulnerable.
    """
    handler = type("Handler", (_Advisories,), {"known": known or {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
