"""A service without a model, for tests of what the cluster does with it: `serve FOLDER --port PORT`.

It answers what the platform asks, from deployment.json: who is stable, who the canary, and which of them is broken.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WANTED = json.loads((Path(sys.argv[2]) / "deployment.json").read_text(encoding="utf-8"))
MODELS = Path(sys.argv[2]).parent / "models"
ASKED = {"count": 0}


def broken(release: dict[str, Any] | None) -> bool:
    """Say whether a model is one that a service refuses."""
    return release is not None and "broken" in (MODELS / release["identity"] / "signature.json").read_text()


class Handler(BaseHTTPRequestHandler):
    """The routes."""

    protocol_version = "HTTP/1.1"

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        if self.path == "/metrics":
            lines = [
                f'service_model_seconds_{what}{{model_version="{each["version"]}"{more}}} {value}'
                for each in filter(None, (WANTED["stable"], WANTED["canary"]))
                for what, more, value in (("bucket", ',le="+Inf"', 7), ("count", "", 7), ("sum", "", 0.7))
            ]
            head = "# TYPE service_model_seconds histogram\n"
            self._answer((head + "\n".join(lines) + "\n").encode())
            return
        canary = None if broken(WANTED["canary"]) else WANTED["canary"]
        problem = "the canary cannot be loaded" if canary != WANTED["canary"] else None
        said = {"ready": True, "problem": problem, "stable": WANTED["stable"], "canary": canary, "deployment": ""}
        self._answer(json.dumps(said).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        ASKED["count"] += 1
        canary = WANTED["canary"]
        chosen = canary if canary and ASKED["count"] % 2 else WANTED["stable"]
        self._answer(json.dumps({"model_version": chosen["version"], "id": self.headers["X-Request-ID"]}).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the class has it
        pass


if __name__ == "__main__":
    if broken(WANTED["stable"]):
        sys.exit("Error: the stable model does not work")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    ThreadingHTTPServer((os.environ["SERVE_HOST"], int(sys.argv[4])), Handler).serve_forever()
