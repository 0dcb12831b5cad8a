"""The readiness page says what is true: all that it names exists, and has passed."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from .projects import Installed

SECTIONS = 4
POINTS = 7


def demand(project: Installed) -> None:
    """Compare the page with the project, and with what its last `check --reports` says of each test."""
    page = (project.folder / "docs/readiness.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    tables = [section for section in sections if "| " in section]
    rows = [re.findall(r"^\| \d.*$", table, flags=re.MULTILINE) for table in tables]
    assert [len(points) for points in rows if points] == [POINTS] * SECTIONS

    found = outcomes(project)
    tests: set[str] = set()
    for point in (point for points in rows for point in points):
        named = re.findall(r"`([^`]+)`", point)
        if "not yet" in point:
            continue
        assert named, f"no evidence: {point}"
        for evidence in named:
            if "::" in evidence:
                assert found.get(evidence) is True, f"{evidence}: {found.get(evidence, 'there is no such test')}"
                tests.add(evidence)
            elif evidence.startswith("uv run"):
                project.run(*evidence.split()[2:], "--help")
            else:
                assert (project.folder / evidence).exists(), f"{evidence} does not exist: {point}"
    assert len(tests) > 10


def outcomes(project: Installed) -> dict[str, bool]:
    """Return of each test whether it has passed, by its name as pytest takes it; with all its parameters."""
    found: dict[str, bool] = {}
    for case in ElementTree.parse(project.folder / "reports/checks/junit.xml").iter("testcase"):  # noqa: S314
        name = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name'].partition('[')[0]}"
        found[name] = found.get(name, True) and not list(case)
    return found
