"""What the project is made of, and whether any of it is known to be dangerous.

Four looks: secrets in what git keeps, known vulnerabilities of what is installed, the licence of
each package, and the list of what an image is made of (SBOM). Static analysis of the project's own
code is part of `check`: the S rules of ruff.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twoloops.contracts.scan import LEVELS, level_of
from twoloops.errors import ProjectError
from twoloops.hosts.web import Client, HostError
from twoloops.params import ScanParams
from twoloops.paths import paths
from twoloops.storage import read_json, write_json

# The database of known vulnerabilities; OSV_URL names a mirror of it.
DATABASE = "https://api.osv.dev"
IMAGE_GROUP = "serve"  # of pyproject.toml: what the Dockerfile puts into the image
FINDINGS = "findings.json"


@dataclass(frozen=True)
class Finding:
    """One thing that is not in order."""

    kind: str  # secret, vulnerability or image
    level: str  # one of LEVELS
    about: str


def scan(params: ScanParams, image: str | None) -> dict[str, Any]:
    """Look, write what was found to reports/scan, and say which findings close the gate.

    Args:
        params: from which level on a finding counts, and which vulnerabilities are accepted.
        image: an image to scan as well, by its name; needs grype or trivy.

    Returns:
        `findings` and, of these, `refused`; `packages`, how many were looked at.

    Raises:
        ProjectError: a tool is missing or failed, or the database of vulnerabilities is out of reach:
            that nothing was found would not be known then.
    """
    paths().scan.mkdir(parents=True, exist_ok=True)
    packages, vulnerabilities = _vulnerabilities(params)
    findings = [*_secrets(), *vulnerabilities, *(_image(image) if image else [])]
    _licences()
    _bill_of_materials()
    refused = [finding for finding in findings if LEVELS.index(finding.level) >= LEVELS.index(params.fail_on)]
    result = {
        "packages": packages,
        "fail_on": params.fail_on,
        "findings": [vars(finding) for finding in findings],
        "refused": [vars(finding) for finding in refused],
    }
    write_json(paths().scan / FINDINGS, result)
    return result


def _secrets() -> list[Finding]:
    found = json.loads(_run([sys.executable, "-m", "detect_secrets", "scan"]))["results"]
    allowed = set()
    if paths().baseline.exists():
        before = read_json(paths().baseline, "detect-secrets scan")["results"]
        allowed = {(name, each["hashed_secret"]) for name, kept in before.items() for each in kept}
    return [
        Finding("secret", "critical", f"{name}, line {each['line_number']}: {each['type']}")
        for name, secrets in found.items()
        for each in secrets
        if (name, each["hashed_secret"]) not in allowed
    ]


def _vulnerabilities(params: ScanParams) -> tuple[int, list[Finding]]:
    database = os.environ.get("OSV_URL") or DATABASE
    features = "--preview-features=audit-command,json-output"
    command = ["uv", "audit", features, "--output-format=json", f"--service-url={database}"]
    found = json.loads(_run(command, accepted=(0, 1)))
    write_json(paths().scan / "audit.json", found)
    client = Client("The database of vulnerabilities", database, {}, "OSV_URL names a mirror that can be reached.")
    findings = []
    for each in found["vulnerabilities"]:
        names = {each["id"], *each["aliases"]}
        if names & set(params.accepted):
            continue
        package, level = each["dependency"], _level(client, sorted(names))
        fixed = f"fixed in {', '.join(each['fix_versions'])}" if each["fix_versions"] else "no fix yet"
        about = f"{package['name']} {package['version']}: {each['id']}, {each['summary'] or 'no summary'} ({fixed})"
        findings.append(Finding("vulnerability", level, about))
    return found["summary"]["audited_packages"], findings


def _level(client: Client, names: Sequence[str]) -> str:
    """Return how bad it is, as the advisory says; one that nobody has rated counts as high."""
    for name in names:
        try:
            advisory = client.find(f"v1/vulns/{name}") or {}
        except HostError as error:
            raise ProjectError(str(error), hint=error.hint) from error
        level = str(advisory.get("database_specific", {}).get("severity", "")).lower()
        if level in LEVELS:
            return level
    return "high"


def _image(image: str) -> list[Finding]:
    if grype := shutil.which("grype"):
        matches = json.loads(_run([grype, "--output", "json", image]))["matches"]
        rated = [(each["vulnerability"], each["artifact"]) for each in matches]
        return [
            Finding("image", level_of(bug["severity"]), f"{part['name']} {part['version']}: {bug['id']}")
            for bug, part in rated
        ]
    if trivy := shutil.which("trivy"):
        results = json.loads(_run([trivy, "image", "--quiet", "--format", "json", image])).get("Results", [])
        bugs = [bug for result in results for bug in result.get("Vulnerabilities", [])]
        return [
            Finding(
                "image",
                level_of(bug["Severity"]),
                f"{bug['PkgName']} {bug['InstalledVersion']}: {bug['VulnerabilityID']}",
            )
            for bug in bugs
        ]
    raise ProjectError(
        f"The image {image} cannot be scanned: neither grype nor trivy is on this machine.",
        hint="Install one of them, or leave --image out.",
    )


def _licences() -> None:
    table = _run([sys.executable, "-m", "piplicenses", "--from=mixed", "--format=markdown", "--with-urls"])
    (paths().scan / "licences.md").write_text(table, encoding="utf-8")


def _bill_of_materials() -> None:
    target = paths().scan / "sbom.cdx.json"
    features = "--preview-features=sbom-export"
    command = ["uv", "export", features, "--format=cyclonedx1.5", "--no-default-groups", f"--group={IMAGE_GROUP}"]
    _run([*command, f"--output-file={target}"])


def _run(command: Sequence[str], accepted: Sequence[int] = (0,)) -> str:
    """Run a tool and return what it printed.

    Raises:
        ProjectError: it is missing, or ended with another code than `accepted`.
    """
    name = " ".join(command[2:3] if command[0] == sys.executable else command[:2])
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ProjectError(f"{command[0]} could not be started: {error}", hint="Is it on the PATH?") from error
    # A tool that could not look says so on standard error and prints no result.
    if done.returncode not in accepted or (accepted != (0,) and not done.stdout.strip()):
        lines = done.stderr.strip().splitlines()[-5:]
        raise ProjectError(
            f"{name} failed with code {done.returncode}:\n" + "\n".join(f"  {line}" for line in lines),
            hint="Nothing is known about what it would have found: mend this first.",
        )
    return done.stdout
