"""`uv run expected-files`: write down which files each answer renders, for a reviewer to read."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.answers import EXPECTED_FILES, single_answers

from .rendering import render


def main() -> None:
    """Rewrite tests/expected_files/ from what the template renders now."""
    EXPECTED_FILES.mkdir(exist_ok=True)
    for old in EXPECTED_FILES.glob("*.txt"):
        old.unlink()
    for name, answers in single_answers().items():
        with tempfile.TemporaryDirectory() as folder:
            render(Path(folder), answers)
            files = rendered_files(Path(folder))
        (EXPECTED_FILES / f"{name}.txt").write_text("\n".join(files) + "\n", encoding="utf-8")
        print(f"{name}: {len(files)} files")


def rendered_files(project: Path) -> list[str]:
    """Return the project's files as sorted relative paths."""
    return sorted(path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file())
