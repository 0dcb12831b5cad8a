"""`uv run changes`: what a change of template/ changes in the rendered projects."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.answers import covering_answers

from .rendering import TEMPLATE, render


def main() -> None:
    """Render the covering set of answers from a revision and from the working tree, and print the difference.

    A difference that several projects share is printed once, with the number of projects.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", nargs="?", default="HEAD", help="compare with this (default: %(default)s)")
    parser.add_argument("--stat", action="store_true", help="only count the lines of each file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "template"
        old.mkdir()
        archive = subprocess.run(["git", "archive", arguments.revision], cwd=TEMPLATE, capture_output=True, check=False)
        if archive.returncode:
            sys.exit(archive.stderr.decode())
        subprocess.run(["tar", "-x", "-C", str(old)], input=archive.stdout, check=True)
        projects: dict[str, list[str]] = {}
        for number, answers in enumerate(covering_answers()):
            before, after = (Path(folder) / side / str(number) for side in ("before", "after"))
            print(f"\rrendering {number + 1}", end="", file=sys.stderr, flush=True)
            try:
                render(before, answers, template=old)
            except ValueError as error:
                print(f"\nnot possible before: {answers} ({error})", file=sys.stderr)
                continue
            render(after, answers)
            for file, difference in _differences(before, after, stat=arguments.stat).items():
                projects.setdefault(f"{file}\n{difference}", []).append(str(answers))
    print(file=sys.stderr)
    for difference, those in projects.items():
        print(f"== in {len(those)} of {number + 1} projects: {difference}")
    print(f"{len(projects)} differences between {arguments.revision} and the working tree.")


def _differences(before: Path, after: Path, *, stat: bool) -> dict[str, str]:
    files = {path.relative_to(side) for side in (before, after) for path in side.rglob("*") if path.is_file()}
    found = {}
    for file in sorted(files):
        pair = [str(side / file) if (side / file).exists() else "/dev/null" for side in (before, after)]
        command = ["git", "diff", "--no-index", *(["--numstat"] if stat else []), *pair]
        text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        if text:
            # The first lines name temporary folders.
            found[str(file)] = text if stat else text[text.index("@@") :] if "@@" in text else text
    return found


if __name__ == "__main__":
    main()
