"""`uv run expected-files`: write down which files each answer renders, for a reviewer to read."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from extensions.organization.questions import singles

from .answer_space import template
from .rendering import render, template_here

FOLDER = "tests/expected_files"


def main() -> None:
    """Rewrite the lists from what the template renders now; they stand in the template's own tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, help=f"the folder of the lists (default: {FOLDER} of the clone)")
    arguments = parser.parse_args()
    with template_here() as source:
        into = arguments.into or source / FOLDER
        into.mkdir(exist_ok=True)
        for old in into.glob("*.txt"):
            old.unlink()
        for name, answers in singles(template(source)).items():
            with tempfile.TemporaryDirectory() as folder:
                render(Path(folder), answers, source)
                files = rendered_files(Path(folder))
            (into / f"{name}.txt").write_text("\n".join(files) + "\n", encoding="utf-8")
            print(f"{name}: {len(files)} files")


def rendered_files(project: Path) -> list[str]:
    """Return the project's files as sorted relative paths."""
    return sorted(path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file())
