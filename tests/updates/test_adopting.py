"""A repository that exists takes the template in steps, loses nothing, and gets updates from then on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands.rendering import TEMPLATE, clean_environment
from extensions.update import updating

from ..conftest import UV
from .history import CANDIDATE, History, git
from .projects import COPIER, MARKERS

MACHINERY = "base,problem_tabular,problem_classification,infra_local,infra_local_online"
OURS = {
    "pyproject.toml": '[project]\nname = "lateness"\nversion = "3.1.0"\ndependencies = ["pandas"]\n',
    "README.md": "# Late trains\n",
    "src/lateness/__init__.py": '"""Which trains are late?"""\n',
    "src/lateness/forest.py": "def train() -> int:\n    return 1\n",
    "tests/test_forest.py": "def test_it() -> None:\n    pass\n",
    ".github/workflows/check.yml": "name: ours\non: push\n",
    ".github/workflows/nightly.yml": "name: nightly\non: push\n",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with code, tests and CI of its own."""
    folder = tmp_path / "late trains"
    for name, text in OURS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    git("init", "--quiet", "--initial-branch=main", cwd=folder)
    save(folder)
    return folder


def save(folder: Path) -> None:
    git("add", "--all", cwd=folder)
    git("commit", "--quiet", "--message=Ours", cwd=folder)


def adopt(folder: Path, *words: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "commands.adopt", str(folder), *words]
    done = subprocess.run(command, cwd=TEMPLATE, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def first(history: History, *, version: str = "0.1.0") -> list[str]:
    return ["--source", str(history.repository), "--version", version, "--data", "project_name=Lateness"]


def keep(folder: Path) -> None:
    """Merge what is checked out into main."""
    branch = git("rev-parse", "--abbrev-ref", "HEAD", cwd=folder)
    git("switch", "--quiet", "main", cwd=folder)
    git("merge", "--quiet", "--ff-only", branch, cwd=folder)
    git("branch", "--quiet", "--delete", branch, cwd=folder)


def test_it_comes_in_steps_and_overwrites_nothing(repository: Path, history: History) -> None:
    assert "Nothing was changed" in adopt(repository, *first(history))
    told = adopt(repository, *first(history), "--layers", MACHINERY, "--both", "pyproject.toml")
    assert "README.md: yours kept" in told
    for name, text in OURS.items():
        if name != "pyproject.toml":
            assert (repository / name).read_text(encoding="utf-8") == text, name
    merged = (repository / "pyproject.toml").read_text(encoding="utf-8")
    assert 'version = "3.1.0"' in merged
    assert "onnxruntime" in merged
    assert all(mark in merged for mark in MARKERS)
    assert (repository / "src/lateness/inner_loop/train.py").exists()
    assert not (repository / ".github/CODEOWNERS").exists()
    assert updating.origin(repository).answers["package_name"] == "lateness"
    (repository / "pyproject.toml").write_text(merged.replace("<<<<<<< yours\n", ""), encoding="utf-8")  # as if settled
    save(repository)
    keep(repository)

    # The flows come later; the one that the repository has stays its own.
    told = adopt(repository, "--layers", "ci_github")
    assert ".github/workflows/check.yml: yours kept" in told
    assert (repository / ".github/workflows/check.yml").read_text(encoding="utf-8") == OURS[
        ".github/workflows/check.yml"
    ]
    assert (repository / ".github/CODEOWNERS").exists()
    keep(repository)

    # Taken in place of one's own, when one says so.
    adopt(repository, "--layers", "ci_github", "--take", ".github/workflows/check.yml")
    assert "name: ours" not in (repository / ".github/workflows/check.yml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_updates_work_from_then_on(repository: Path, history: History) -> None:
    adopt(repository, *first(history), "--layers", MACHINERY)
    keep(repository)
    (repository / "src/lateness/registry.py").write_text('"""Ours."""\n', encoding="utf-8")
    git("rm", "--quiet", "docs/readiness.md", cwd=repository)
    save(repository)
    update = updating.merge(repository, copier=COPIER)
    assert update is not None
    assert [each.path for each in update.conflicts] == ["src/lateness/registry.py"]
    updating.switch(repository, update)
    # What was kept, deleted or never brought stays so; what the template adds to its own rooms comes.
    for name, text in OURS.items():
        assert (repository / name).read_text(encoding="utf-8") == text, name
    assert not (repository / "docs/readiness.md").exists()
    assert {path.name for path in (repository / ".github").rglob("*") if path.is_file()} == {"check.yml", "nightly.yml"}
    assert ".github/workflows/train.yml" in update.left_out
    assert (repository / "engine/src/twoloops/__init__.py").exists()
    assert "Ours." in (repository / "src/lateness/registry.py").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_verbs_of_an_adopted_repository_work(repository: Path, history: History) -> None:
    settled = ["pyproject.toml", "src/lateness/__init__.py"]
    take = [word for path in settled for word in ("--take", path)]
    adopt(repository, *first(history, version=CANDIDATE), "--layers", f"{MACHINERY},ci_github", *take)
    environment = clean_environment() | {"OMP_NUM_THREADS": "1"}
    for words in (["simulate"], ["prepare"]):
        command = [UV, "run", "--quiet", "lateness", *words]
        done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (repository / "src/lateness/forest.py").read_text(encoding="utf-8") == OURS["src/lateness/forest.py"]


def test_what_cannot_be_done_is_told_and_changes_nothing(repository: Path, history: History, tmp_path: Path) -> None:
    start = git("rev-parse", "HEAD", cwd=repository)
    assert "not the top folder" in adopt(tmp_path, code=1)
    assert "Its releases: v0.1.0" in adopt(
        repository, "--source", str(history.repository), "--version", "7.7.7", code=1
    )
    assert "cannot be reached" in adopt(repository, "--source", str(tmp_path / "nowhere"), code=1)
    told = adopt(repository, *first(history), "--data", "license=beer", code=1)
    assert "license is 'beer'" in told
    assert "proprietary" in told
    assert "no layer ci_gitlab" in adopt(repository, *first(history), "--layers", "ci_gitlab", code=1)
    told = adopt(repository, *first(history), "--layers", "base", "--take", "nothing.py", code=1)
    assert "nothing.py is no file" in told
    (repository / "new").touch()
    assert "not committed" in adopt(repository, *first(history), "--layers", "base", code=1)
    (repository / "new").unlink()
    assert not git("status", "--porcelain", cwd=repository)
    assert git("rev-parse", "HEAD", cwd=repository) == start
    assert len(git("worktree", "list", cwd=repository).splitlines()) == 1
    adopt(repository, *first(history), "--layers", "base")
    assert "has adopted the template" in adopt(repository, *first(history), code=1)


def test_nothing_is_written_through_a_link(repository: Path, history: History, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (repository / "docs").symlink_to(elsewhere)
    (repository / "monitoring").write_text("a file", encoding="utf-8")
    (repository / "Dockerfile").symlink_to("README.md")
    save(repository)
    told = adopt(repository, *first(history), "--layers", f"{MACHINERY},ci_github", "--take", "Dockerfile")
    assert "docs/problem.md: in the way" in told
    assert "Dockerfile: in the way" in told
    assert not list(elsewhere.iterdir())
    assert (repository / "monitoring").read_text(encoding="utf-8") == "a file"
    assert (repository / "README.md").read_text(encoding="utf-8") == OURS["README.md"]


def test_what_stands_in_the_way_is_told_before_anything_is_touched(
    repository: Path, history: History, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    git("init", "--quiet", cwd=new)
    assert "no commit yet" in adopt(new, *first(history), code=1)
    (repository / ".gitignore").write_text("/Dockerfile\n", encoding="utf-8")
    save(repository)
    (repository / "Dockerfile").write_text("only here\n", encoding="utf-8")
    for option in ("--take", "--both"):
        told = adopt(repository, *first(history), "--layers", MACHINERY, option, "Dockerfile", code=1)
        assert "git does not know these files of yours" in told
        assert "Dockerfile" in told
    git("branch", "template", cwd=repository)
    assert "one that is called template" in adopt(repository, *first(history), "--layers", "base", code=1)
    assert git("status", "--porcelain", cwd=repository) == ""
    assert git("rev-parse", "--abbrev-ref", "HEAD", cwd=repository) == "main"
    git("branch", "--move", "template", "mine", cwd=repository)
    (repository / ".updateignore").symlink_to(tmp_path / "elsewhere")
    save(repository)
    assert ".updateignore is a link" in adopt(repository, *first(history), "--layers", "base", code=1)
    assert not (tmp_path / "elsewhere").exists()
    (repository / ".updateignore").unlink()
    (repository / ".updateignore").write_bytes(b"/caf\xe9.txt\n")
    save(repository)
    # A relative source is recorded as one that holds from every folder; names of layers may have spaces around them.
    relative = os.path.relpath(history.repository, TEMPLATE)
    told = adopt(repository, *first(history), "--source", relative, "--layers", "base, ci_github")
    assert f"From {history.repository}, v0.1.0." in told
    assert updating.origin(repository).source == str(history.repository)
    assert b"/caf\xe9.txt\n" in (repository / ".updateignore").read_bytes()
    assert (repository / "Dockerfile").read_text(encoding="utf-8") == "only here\n"
    keep(repository)
    told = adopt(repository, "--source", "gh:somebody/else", "--layers", "base", code=1)
    assert f"has another template, {history.repository}" in told


def test_a_source_with_a_token_or_a_program_is_refused(repository: Path) -> None:
    told = adopt(repository, "--source", "https://me:secret-token@h.example/x", code=1)
    assert "password or token" in told
    assert "secret-token" not in told
    assert "would run a program" in adopt(repository, "--source", "git+ext::touch ran", code=1)
    assert not (repository / "ran").exists()
