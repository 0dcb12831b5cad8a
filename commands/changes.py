"""`uv run changes`: what a change of template/ changes in the rendered projects."""

from __future__ import annotations

import argparse
import difflib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from extensions.git import run
from extensions.refusal import Refused

from .answer_space import RefusedError, Rendered, Template
from .questions import covering
from .rendering import template_here

NOTHING = Rendered(b"", executable=False)


def main() -> None:
    """Render the covering set of answers from a revision and from the working tree, and print the difference.

    A difference that several projects share is printed once, with the number of projects.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", nargs="?", default="HEAD", help="compare with this (default: %(default)s)")
    parser.add_argument("--stat", action="store_true", help="only count the lines of each file")
    arguments = parser.parse_args()
    projects: dict[str, int] = {}
    with template_here() as source, tempfile.TemporaryDirectory() as folder:
        try:
            archive = run(source, "archive", "--end-of-options", arguments.revision)
        except Refused as error:
            sys.exit(str(error))
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        old, new = Template(Path(folder)), Template(source)
        for number, answers in enumerate(covering(new), start=1):
            print(f"\rrendering {number}", end="", file=sys.stderr, flush=True)
            try:
                before = old.render(old.all_answers(answers))
            except RefusedError as error:
                print(f"\nnot possible before: {error}", file=sys.stderr)
                continue
            after = new.render(new.all_answers(answers))
            for difference in _differences(before, after, stat=arguments.stat):
                projects[difference] = projects.get(difference, 0) + 1
    print(file=sys.stderr)
    for difference, count in projects.items():
        print(f"== in {count} of {number} projects: {difference}")
    print(f"{len(projects)} differences between {arguments.revision} and the working tree.")


def _differences(before: Mapping[str, Rendered], after: Mapping[str, Rendered], *, stat: bool) -> Iterator[str]:
    """Yield what differs in each file: its path, then a unified diff or the numbers of lines."""
    for path in sorted({*before, *after}):
        old, new = before.get(path, NOTHING), after.get(path, NOTHING)
        if old == new:
            continue
        lines = list(difflib.unified_diff(_lines(old), _lines(new)))[2:]
        if stat:
            counts = [sum(line.startswith(sign) for line in lines) for sign in "+-"]
            yield f"{path}: {counts[0]} lines added, {counts[1]} removed"
        else:
            mode = "" if old.executable == new.executable else f"executable: {old.executable} -> {new.executable}\n"
            yield f"{path}\n{mode}{''.join(lines)}"


def _lines(file: Rendered) -> list[str]:
    return file.content.decode("utf-8", "replace").splitlines(keepends=True)


if __name__ == "__main__":
    main()
