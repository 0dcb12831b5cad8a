"""What users do to their projects: each edit works in a project of any version.

So the oracle of an update is the same edit, made in a fresh render of the newer version. When a
release removes or renames a file that is named here, name another one.
"""

from __future__ import annotations

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
    for name in ("tests/problem/test_sample.py", "tests/test_sample.py"):  # where it stood until 0.2.0, and since
        (project / name).unlink(missing_ok=True)
    insert(project / "params.yaml", -1, "# mine\n")
    (project / "docs/problem.md").write_text("# Mine\n", encoding="utf-8")
    (project / "data/README.md").unlink()


def write_texts(project: Path) -> None:
    """Add to the README, at its top, and a rule to what git ignores."""
    insert(project / "README.md", 1, "\nOur page: see the wiki.\n")
    insert(project / ".gitignore", -1, "/scratch/\n")


def edit_the_workflow(project: Path) -> None:
    """Set a variable for all jobs of the workflow, in projects on GitHub."""
    if (project / WORKFLOW).exists():
        replace(project / WORKFLOW, "\njobs:\n", "\nenv:\n  OURS: kept\n\njobs:\n")


def add_a_dependency(project: Path) -> None:
    """Add a package, and a setting of a tool at the end."""
    file = project / "pyproject.toml"
    if '    "numpy>=2",\n' in file.read_text(encoding="utf-8"):  # until 0.2.0 the machinery's packages stood there
        replace(file, '    "numpy>=2",\n', '    "numpy>=2",\n    "holidays>=0.50", # ours\n')
    else:
        lines = 'dependencies = [\n    "twoloops",\n    "holidays>=0.50", # ours\n]\n'
        replace(file, 'dependencies = ["twoloops"]\n', lines)
    insert(file, -1, "\n[tool.ours]\nkept = true\n")


def add_a_step(project: Path) -> None:
    """Add a step to the graph, after all others."""
    insert(project / "dvc.yaml", -1, "\n  ours:\n    cmd: python -m ours\n")


def add_files(project: Path) -> None:
    """Add files beside the template's."""
    for name, text in {
        "notebooks/look.py": '"""A look at the rows."""\n\nprint("looked")\n',
        "docs/decisions.md": "# Ours\n",
        f"{package(project).relative_to(project)}/ours.py": '"""Ours."""\n\nOURS = True\n',
        "tests/test_ours.py": "def test_ours() -> None:\n    assert True\n",
    }.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text, encoding="utf-8")


def delete_files(project: Path) -> None:
    """Delete files of the template that releases change, and one that they leave alone."""
    (project / "docs/runbooks.md").unlink()
    (project / "monitoring/alerts/model.yml").unlink()
    (project / "compose.yaml").unlink(missing_ok=True)  # projects without a service have none


def edit_what_is_rendered(project: Path) -> None:
    """Insert lines at the top and the end of files that releases change."""
    insert(project / "Dockerfile", 0, "# ours, at the top\n")
    insert(project / ".dockerignore", 0, "# ours, at the top\n")
    insert(project / ".pre-commit-config.yaml", -1, "# ours\n")


def rename_files(project: Path) -> None:
    """Rename a file that releases change, and one that they leave alone."""
    (project / "monitoring/dashboards/model.json").rename(project / "monitoring/dashboards/ours.json")
    (project / ".dvc/config").rename(project / ".dvc/ours")


def make_executable(project: Path) -> None:
    """Set the executable bit of a file that releases leave alone, and of one that they change."""
    for file in (project / ".pre-commit-config.yaml", project / "Dockerfile"):
        file.chmod(0o755)


def edit_machinery(project: Path) -> None:
    """Edit the machinery that projects had in their own package until 0.2.0, and a test of it."""
    for file in (
        package(project) / "registry.py",
        package(project) / "outer_loop/retrain.py",
        project / MACHINERY_TEST,
    ):
        insert(file, -1, "\n\ndef ours() -> str:\n    return 'at the end'\n")


MACHINERY_TEST = "tests/test_params.py"
LIVES: dict[str, list[Edit]] = {
    "the problem is solved, settings are edited": [
        solve_the_problem,
        write_texts,
        edit_the_workflow,
        add_a_dependency,
        add_a_step,
    ],
    "files come and go": [add_files, delete_files, make_executable],
    "files are edited": [edit_what_is_rendered],
    "files are renamed": [rename_files],
}
ALL: list[Edit] = [edit for edits in LIVES.values() for edit in edits]
# Copier itself loses what the template changed in a file that the user has renamed: it stays as it was. And it sees
# lines where the engine's own way sees the dependencies of a pyproject.toml.
WITHOUT_RENAMES: list[Edit] = [edit for edit in ALL if edit not in (rename_files, add_a_dependency)]
