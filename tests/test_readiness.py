"""The readiness page says what is true: all that it names exists, and passes."""

from __future__ import annotations

import re

import pytest

from .conftest import Installed
from .test_execution import both

SECTIONS = 4
POINTS = 7


@pytest.mark.slow
@both
def test_what_the_page_names_exists_and_passes(trained: Installed) -> None:
    page = (trained.folder / "docs/readiness.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    tables = [section for section in sections if "| " in section]
    rows = [re.findall(r"^\| \d.*$", table, flags=re.MULTILINE) for table in tables]
    assert [len(points) for points in rows if points] == [POINTS] * SECTIONS

    tests: set[str] = set()
    for point in (point for points in rows for point in points):
        named = re.findall(r"`([^`]+)`", point)
        if "not yet" in point:
            continue
        assert named, f"no evidence: {point}"
        for evidence in named:
            if "::" in evidence:
                tests.add(evidence)
            elif evidence.startswith("uv run"):
                trained.run(*evidence.split()[2:], "--help")
            else:
                assert (trained.folder / evidence).exists(), f"{evidence} does not exist: {point}"
    assert len(tests) > 10
    told = trained.run("pytest", "--no-cov", "-q", *sorted(tests)).stdout
    assert " passed" in told
    assert "skipped" not in told
