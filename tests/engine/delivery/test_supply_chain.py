"""What the project is made of, and what closes the gate."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from twoloops.delivery import report, supply_chain
from twoloops.errors import ProjectError
from twoloops.params import ScanParams
from twoloops.paths import paths

from tests.engine.support.project import Project
from tests.engine.support.verbs import call


class Advisories(BaseHTTPRequestHandler):
    """Knows of the severity of one advisory."""

    def do_GET(self) -> None:
        rated = self.path.endswith("GHSA-rated")
        body = json.dumps({"database_specific": {"severity": "MODERATE"}} if rated else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name of the base class
        pass


@pytest.fixture
def advisories(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Advisories)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("OSV_URL", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("advisories")
def test_findings_close_the_gate_from_a_level_on(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        {
            "dependency": {"name": "left-pad", "version": "1"},
            "id": name,
            "aliases": [],
            "summary": None,
            "fix_versions": ["2"],
        }
        for name in ("GHSA-rated", "PYSEC-unrated", "GHSA-accepted")
    ]
    answers = {
        "detect_secrets": {"results": {"a.py": [{"type": "Key", "line_number": 3, "hashed_secret": "0"}]}},
        "audit": {"summary": {"audited_packages": 9}, "vulnerabilities": entries},
    }

    def tool(command: list[str], **_: Any) -> str:
        return next((json.dumps(answer) for name, answer in answers.items() if name in command), "")

    monkeypatch.setattr(supply_chain, "_run", tool)
    result = supply_chain.scan(ScanParams(fail_on="high", accepted=("GHSA-accepted",)), None)
    assert [each["level"] for each in result["findings"]] == ["critical", "moderate", "high"]
    assert [each["level"] for each in result["refused"]] == ["critical", "high"]
    known = {"results": {"a.py": [{"type": "Key", "line_number": 3, "hashed_secret": "0"}]}}
    (paths().baseline).write_text(json.dumps(known), encoding="utf-8")
    assert len(supply_chain.scan(ScanParams(), None)["findings"]) == 3
    assert "moderate: left-pad 1" in report.report().read_text(encoding="utf-8")
    told = call("scan")
    assert told.exit_code == 2
    assert "scan.accepted" in told.output


def test_an_audit_that_could_not_look_is_no_green_one(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSV_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(supply_chain, "_secrets", list)
    with pytest.raises(ProjectError, match="uv audit failed"):
        supply_chain.scan(ScanParams(), None)
