"""A stand-in for Copier's command that renders by commands/answer_space.py, for merges by the hundred.

Copier takes two seconds for what an update asks of it, git and the engine a quarter of one. Other tests hold
commands/answer_space.py equal to Copier, and `test_the_quick_copier_makes_what_copier_makes` holds this command equal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from commands.answer_space import Template

from .history import lay_out
from .projects import recorded, write


def run(words: list[str]) -> None:
    """Do what `copier` does for the words that `extensions.update` gives it, in the present folder.

    Args:
        words: `copy` with `--data-file`, a repository and a folder; or `update` with `--data`.
    """
    operation, *others = words
    options = [word.removeprefix("--").partition("=")[::2] for word in others if word.startswith("--")]
    version = dict(options)["vcs-ref"]
    if operation == "copy":
        source, place = others[-2], Path(others[-1])
        given = yaml.safe_load(Path(dict(options)["data-file"]).read_text(encoding="utf-8"))
        render(source, version, given, place, "copy")
        return
    place = Path()
    answers = recorded(place)
    source, before = answers.pop("_src_path"), answers.pop("_commit")
    old = version_of(source, before)
    had = old.render(old.all_answers(answers), operation="update")
    changes = [value.partition("=")[::2] for name, value in options if name == "data"]
    new = render(source, version, answers | {name: yaml.safe_load(value) for name, value in changes}, place, "update")
    for path in had.keys() - new:
        (place / path).unlink()


def render(source: str, version: str, given: dict[str, Any], place: Path, operation: str) -> set[str]:
    """Render a version into a folder, and return the paths."""
    template = version_of(source, version)
    origin = {"_src_path": source, "_commit": version}
    files = template.render(template.all_answers(given), origin=origin, operation=operation)
    write(place, files)
    return set(files)


def version_of(source: str, version: str) -> Template:
    """Return a version of a template, laid out beside its bare repository the first time."""
    folder = Path(source).parent / "versions" / version
    if not folder.exists():
        lay_out(Path(source), version, folder)
    return Template(folder)
