"""Before the last environment a flow asks where a version comes from, and what its image is made of today."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from twoloops import params, registry
from twoloops.contracts.scan import refused
from twoloops.delivery import supply_chain
from twoloops.delivery.admission import admission
from twoloops.errors import ProjectError
from twoloops.hosts import azure_devops, gitlab
from twoloops.outer_loop import promote as promoting
from twoloops.params import Accepted, ScanParams
from twoloops.platforms import platform

from tests.engine.support.project import Project

TODAY = datetime.now(UTC).date()
# Stands in for GitHub's gh: it knows the words of `gh attestation verify`, and the digests that were attested.
GH = """#!/usr/bin/env python3
import hashlib, json, pathlib, sys
here = pathlib.Path(__file__).parent
words = sys.argv[1:]
assert words[:2] == ["attestation", "verify"], words
asked = dict(zip(words[3:-1:2], words[4:-1:2]))
digest = hashlib.sha256(pathlib.Path(words[2]).read_bytes()).hexdigest()
(here / "asked.json").write_text(json.dumps({**asked, "last": words[-1]}))
if digest not in (here / "attested").read_text().split():
    print("Error: no attestations found", file=sys.stderr)
    raise SystemExit(1)
"""
SERVED = {"components": [{"name": "numpy", "version": "1"}, {"name": "old", "version": "2"}]}


def vulnerability(package: str, version: str, name: str, fix: list[str]) -> dict[str, Any]:
    about = {"id": name, "aliases": [], "summary": None, "fix_versions": fix}
    return {"dependency": {"name": package, "version": version}, **about}


@pytest.fixture
def found(project: Project, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return the list of what the database tells."""
    known: list[dict[str, Any]] = []

    def tool(command: list[str], **_: Any) -> str:
        if "audit" in command:
            return json.dumps({"summary": {"audited_packages": 2}, "vulnerabilities": known})
        Path(command[-1].removeprefix("--output-file=")).write_text(json.dumps(SERVED), encoding="utf-8")
        return ""

    monkeypatch.setattr(supply_chain, "_run", tool)
    monkeypatch.setattr(supply_chain, "_level", lambda client, names: "high" if "GHSA-mild" not in names else "low")
    return known


def test_a_part_with_a_fix_stops_it_and_one_without_is_told(found: list[dict[str, Any]]) -> None:
    look = supply_chain.refuse_dangerous_parts
    found.append(vulnerability("pytest", "9", "GHSA-tool", ["10"]))  # no part of the image
    found.append(vulnerability("numpy", "1", "GHSA-mild", ["2"]))
    assert "none of 2 parts" in look(ScanParams())
    found.append(vulnerability("old", "2", "GHSA-waits", []))
    assert "1 without a fix yet: old 2: GHSA-waits" in look(ScanParams())
    found.append(vulnerability("numpy", "1", "GHSA-bad", ["2"]))
    with pytest.raises(ProjectError, match="high: numpy 1: GHSA-bad") as raised:
        look(ScanParams())
    assert "GHSA-waits" not in str(raised.value)
    assert "scan.accepted" in raised.value.hint


@pytest.mark.parametrize(("days", "stops"), [(0, False), (30, False), (-1, True)])
def test_an_exception_has_a_reason_and_ends(found: list[dict[str, Any]], days: int, stops: bool) -> None:
    until = TODAY + timedelta(days=days)
    scan = ScanParams(accepted=(Accepted(id="GHSA-bad", reason="we parse no such file", until=until),))
    found.append(vulnerability("numpy", "1", "GHSA-bad", ["2"]))
    assert bool(refused([("GHSA-bad", "HIGH")], scan)) == stops, "of the image's scan too"
    if stops:
        with pytest.raises(ProjectError, match="GHSA-bad"):
            supply_chain.refuse_dangerous_parts(scan)
    else:
        supply_chain.refuse_dangerous_parts(scan)


def test_an_exception_without_a_reason_is_refused(project: Project) -> None:
    with pytest.raises(ValidationError, match="reason"):
        Accepted.model_validate({"id": "GHSA-bad", "until": TODAY})
    project.set(scan__accepted=["CVE-1", {"id": "CVE-2", "reason": "not reached", "until": TODAY}])
    assert params.load().scan.tolerated == {"CVE-1", "CVE-2"}


def test_what_github_has_not_attested_is_refused(
    found: list[dict[str, Any]], promoted: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = registry.find(registry.CHAMPION)
    assert version
    identity, image = version.tags[registry.IDENTITY], "host/churn@sha256:" + "a" * 64
    said: list[str] = []
    admit = admission(ScanParams(), said.append)
    admit(version.number, identity, image)
    assert said == [], "by hand nothing is asked"
    (tmp_path / "gh").write_text(GH, encoding="utf-8")
    (tmp_path / "gh").chmod(0o700 | stat.S_IXUSR)
    (tmp_path / "attested").write_text(identity, encoding="utf-8")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name, value in {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/churn", "ATTESTED": "true"}.items():
        monkeypatch.setenv(name, value)
    admit(version.number, identity, None)
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert asked == {
        "--repo": "acme/churn",
        "--signer-workflow": "acme/churn/.github/workflows/train.yml",
        "--source-ref": "refs/heads/main",
        "last": "--deny-self-hosted-runners",
    }
    with pytest.raises(ProjectError, match=r"image\.txt is not attested by the flow 'train' of main"):
        admit(version.number, identity, image)
    (tmp_path / "attested").write_text("0" * 64, encoding="utf-8")
    promoting.promote(platform, version.number, admit)  # a way back is not closed by it
    monkeypatch.setattr(promoting, "_was_champion", lambda *_: False)
    with pytest.raises(ProjectError, match=r"manifest\.json is not attested.*no attestations found"):
        promoting.promote(platform, version.number, admit)
    monkeypatch.delenv("ATTESTED")
    said.clear()
    admit(version.number, identity, image)
    assert sum("nothing is verified" in line for line in said) == 2, "and that is said"
    (tmp_path / "gh").unlink()
    monkeypatch.setenv("ATTESTED", "true")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProjectError, match="gh could not be started"):
        admit(version.number, identity, None)


@pytest.mark.parametrize("of", [gitlab, azure_devops])
def test_other_hosts_say_that_they_attest_nothing(of: Any, tmp_path: Path) -> None:
    assert "their notes say" in of.verify_attestation(tmp_path / "manifest.json")
