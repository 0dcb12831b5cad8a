"""Whole projects for the covering set of answers: clean, linted, and exactly the expected files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_copie.plugin import Copie

from commands.expected_files import rendered_files
from commands.rendering import TEMPLATE, render

from .conftest import Render, commit, need
from .support.answers import EXPECTED_FILES, HOSTILE, HOSTILE_REPOSITORIES, covering_answers, hostile, single_answers

PROJECTS: list[dict[str, Any]] = [
    *covering_answers(),
    *[hostile(provider, serving_mode="online_and_batch") for provider in HOSTILE_REPOSITORIES],
    hostile("github", problem_type="regression"),
]
SINGLES = single_answers()


def run(*command: str, cwd: Path) -> None:
    finished = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_an_untrusted_copy_works_with_defaults(copie: Copie) -> None:
    result = copie.copy(template_dir=TEMPLATE)
    assert result.exit_code == 0, result.exception
    assert result.project_dir is not None
    assert (result.project_dir / "src/churn/cli.py").exists()


def test_the_command_says_what_comes_next(tmp_path: Path) -> None:
    """By the command, as a user does: no --trust, no other package, and the next steps are told."""
    command = [
        sys.executable,
        "-m",
        "copier",
        "copy",
        "--defaults",
        "--vcs-ref=HEAD",
        str(TEMPLATE),
        str(tmp_path / "x"),
    ]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    for line in ("git init", "uv run churn simulate", "uv run churn run"):
        assert line in finished.stderr


@pytest.mark.parametrize("name", SINGLES)
def test_exactly_these_files(name: str, rendered: Render) -> None:
    expected = (EXPECTED_FILES / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    found = rendered_files(rendered(SINGLES[name]))
    assert found == expected, "if this is meant: uv run expected-files"


def test_no_expectation_is_left_over() -> None:
    assert {path.stem for path in EXPECTED_FILES.iterdir()} == set(SINGLES)


@pytest.mark.parametrize("number", range(len(PROJECTS)))
def test_format_and_lint_find_nothing(number: int, rendered: Render) -> None:
    project = rendered(PROJECTS[number])
    run(sys.executable, "-m", "ruff", "format", "--check", "--no-cache", ".", cwd=project)
    run(sys.executable, "-m", "ruff", "check", "--no-cache", ".", cwd=project)


@pytest.mark.parametrize("answers", [{}, HOSTILE], ids=["default", "hostile"])
def test_workflows_are_in_order(answers: dict[str, Any], rendered: Render) -> None:
    project = rendered(answers)
    commit(project)
    run(need("actionlint"), cwd=project)
    run(need("zizmor"), "--offline", "--no-progress", "--persona=pedantic", ".", cwd=project)


def test_every_action_is_pinned(rendered: Render) -> None:
    for workflow in [*rendered({}).glob(".github/workflows/*"), *TEMPLATE.glob(".github/workflows/*")]:
        for uses in re.findall(r"uses: (.+)", workflow.read_text(encoding="utf-8")):
            if uses.startswith("$/"):
                continue  # of this repository, at this commit
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", uses), f"{workflow.name}: {uses}"


def test_hooks_are_valid(rendered: Render) -> None:
    run(need("prek"), "validate-config", ".pre-commit-config.yaml", cwd=rendered({}))


LINK = re.compile(r"\[[^\]]+\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("house", ["template", "classification", "regression"])
def test_links_lead_somewhere(house: str, tmp_path: Path) -> None:
    folder = TEMPLATE
    if house != "template":
        folder = tmp_path
        render(folder, {"problem_type": house})
    pages = [path for path in folder.rglob("*.md") if not {".venv", "template", "node_modules"} & set(path.parts)]
    assert pages
    made_later = re.compile(r"reports/|^\.\./reports/")
    for page in pages:
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            assert made_later.search(target) or (page.parent / target).exists(), f"{page}: {target}"
