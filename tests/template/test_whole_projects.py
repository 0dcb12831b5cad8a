"""Some whole projects: rendered untrusted, linted, their flows and hooks in order, their links alive."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from allpairspy import AllPairs
from pytest_copie.plugin import Copie

from commands.rendering import TEMPLATE
from tests.conftest import Render
from tests.support.answers import CHOICES, HOSTILE, HOSTILE_REPOSITORIES, hostile
from tests.support.projects import commit, lay_out
from tests.support.tools import need

# What a file depends on it is rendered for in test_every_file; whole projects show that files fit together.
AXES = {name: CHOICES[name] for name in ("problem_type", "serving_mode", "ci_provider", "infrastructure")}
PROJECTS: list[dict[str, Any]] = [
    *[dict(zip(AXES, row, strict=True)) for row in AllPairs(list(AXES.values()))],
    *[hostile(provider, serving_mode="online_and_batch") for provider in HOSTILE_REPOSITORIES],
    hostile("github", problem_type="regression"),
]


def run(*command: str, cwd: Path) -> None:
    finished = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_an_untrusted_copy_works_with_defaults(copie: Copie) -> None:
    result = copie.copy(template_dir=TEMPLATE)
    assert result.exit_code == 0, result.exception
    assert result.project_dir is not None
    assert (result.project_dir / "src/churn/problem/data.py").exists()
    assert (result.project_dir / "engine/pyproject.toml").exists()


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


def test_format_and_lint_find_nothing(tmp_path: Path) -> None:
    """By each project's own settings, in one run over all."""
    for number, answers in enumerate(PROJECTS):
        lay_out(tmp_path / str(number), answers, engine=False)
    run(sys.executable, "-m", "ruff", "format", "--check", "--no-cache", ".", cwd=tmp_path)
    run(sys.executable, "-m", "ruff", "check", "--no-cache", ".", cwd=tmp_path)


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
        lay_out(folder, {"problem_type": house})
    pages = [path for path in folder.rglob("*.md") if not {".venv", "template", "node_modules"} & set(path.parts)]
    assert pages
    made_later = re.compile(r"reports/|^\.\./reports/")
    for page in pages:
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            assert made_later.search(target) or (page.parent / target).exists(), f"{page}: {target}"
