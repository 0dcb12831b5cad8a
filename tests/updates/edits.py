"""What users do to their projects: each edit works in a project of any version.

So the oracle of an update is the same edit, made in a fresh render of the newer version. When a
release removes or renames a file that is named here, name another one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .projects import Edit

WORKFLOW = ".github/workflows/check.yml"


def package(project: Path) -> Path:
    """Return the folder of the project's package."""
    return next((project / "src").iterdir())


def replace(file: Path, old: str, new: str) -> None:
    """Replace a text that must be there once."""
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file.name} has {old!r} {text.count(old)} times"
    file.write_text(text.replace(old, new), encoding="utf-8")


def insert(file: Path, line: int, text: str) -> None:
    """Insert a text before a line; -1 is the end."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    at = len(lines) if line == -1 else line
    file.write_text("".join([*lines[:at], text, *lines[at:]]), encoding="utf-8")


def solve_the_problem(project: Path) -> None:
    """Edit, add and delete what is the user's alone."""
    problem = package(project) / "problem"
    insert(problem / "data.py", -1, "\nMINE = 1\n")
    insert(problem / "model.py", 0, "# mine\n")
    (problem / "features.py").write_text("MINE = 2\n", encoding="utf-8")
    (problem / "sample.py").unlink()
    (project / "tests/problem/test_sample.py").unlink()
    insert(project / "params.yaml", -1, "# mine\n")
    (project / "docs/problem.md").write_text("# Mine\n", encoding="utf-8")
    (project / "data/README.md").unlink()


def write_texts(project: Path) -> None:
    """Add to the README, at its top and in its middle, and a rule to what git ignores."""
    insert(project / "README.md", 1, "\nOur page: see the wiki.\n")
    replace(project / "README.md", "\n## The verbs\n", "\n## Whom to ask\n\nThe team next door.\n\n## The verbs\n")
    insert(project / ".gitignore", 0, "/scratch/\n")


def edit_the_workflow(project: Path) -> None:
    """Set a variable for all jobs of the workflow, in projects on GitHub."""
    if (project / WORKFLOW).exists():
        replace(project / WORKFLOW, "\njobs:\n", "\nenv:\n  OURS: kept\n\njobs:\n")


def add_a_dependency(project: Path) -> None:
    """Add a package, and a setting of a tool at the end."""
    replace(project / "pyproject.toml", '    "numpy>=2",\n', '    "numpy>=2",\n    "holidays>=0.50",\n')
    insert(project / "pyproject.toml", -1, "\n[tool.ours]\nkept = true\n")


def add_files(project: Path) -> None:
    """Add files beside the template's."""
    for name, text in {
        "notebooks/look.py": "print('looked')\n",
        "docs/decisions.md": "# Ours\n",
        f"{package(project).relative_to(project)}/ours.py": "OURS = True\n",
        "tests/test_ours.py": "def test_ours() -> None:\n    assert True\n",
    }.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text, encoding="utf-8")


def delete_machinery(project: Path) -> None:
    """Delete files of the template: one that releases change often, others that they leave alone."""
    (project / "docs/parameters.md").unlink()
    (project / "docs/runbooks.md").unlink()
    (project / "compose.yaml").unlink(missing_ok=True)  # projects without a service have none


def rename_modules(project: Path) -> None:
    """Rename modules of the machinery, one that releases change and one that they leave alone, with their imports."""
    for folder, old, new in (("inner_loop", "register", "registration"), ("outer_loop", "explain", "explanation")):
        (package(project) / folder / f"{old}.py").rename(package(project) / folder / f"{new}.py")
        for file in [*package(project).rglob("*.py"), *(project / "tests").rglob("*.py")]:
            text = file.read_text(encoding="utf-8")
            if f"{folder}.{old} import" in text:
                file.write_text(text.replace(f"{folder}.{old} import", f"{folder}.{new} import"), encoding="utf-8")


def reformat(project: Path) -> None:
    """Format a file in another style."""
    style = "indent-width = 2\nline-length = 88\n[format]\nquote-style = 'single'\n"
    settings = project.parent / "style.toml"
    settings.write_text(style, encoding="utf-8")
    file = package(project) / "graph.py"
    command = [sys.executable, "-m", "ruff", "format", "--quiet", "--no-cache", f"--config={settings}", str(file)]
    subprocess.run(command, check=True)


def edit_machinery(project: Path) -> None:
    """Insert lines at the top and the end of modules that releases change."""
    for name in ("registry.py", "cli.py"):
        insert(package(project) / name, 0, "# ours, at the top\n")
        insert(package(project) / name, -1, "\n\ndef ours() -> str:\n    return 'at the end'\n")


def make_executable(project: Path) -> None:
    """Set the executable bit of a file that releases leave alone, and of one that they change."""
    for file in (project / "tests/small_project.py", project / "tests/conftest.py"):
        file.chmod(0o755)


LIVES: dict[str, list[Edit]] = {
    "the problem is solved, settings are edited": [
        solve_the_problem,
        write_texts,
        edit_the_workflow,
        add_a_dependency,
    ],
    "files come and go": [add_files, delete_machinery, make_executable],
    "machinery is edited": [edit_machinery, reformat],
    "modules are renamed": [rename_modules],
}
ALL: list[Edit] = [edit for edits in LIVES.values() for edit in edits]
# Copier itself loses what the template changed in a file that the user has renamed: it stays as it was.
WITHOUT_RENAMES: list[Edit] = [edit for edit in ALL if edit is not rename_modules]
