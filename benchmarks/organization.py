"""Time the build of the example organization's template, and see that it is the same each time."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from commands.release import tags_from_table
from extensions.organization.build import BUILT
from extensions.organization.trees import Tree, read_folder

from .project import ROOT, clone, workspace
from .timing import CommandError, Comparison, Subject, arguments, measure, report, seconds, timed

BUILD = "organization build, the example"
IMPORT = "import copier"
GOAL = 2.0


def main() -> int:
    """Run the benchmark."""
    options = arguments(__doc__ or "", rounds=9).parse_args()
    with workspace() as folder:
        upstream = clone(str(ROOT), folder / "template", "--no-tags", "--no-local")
        tags_from_table(upstream)
        example = upstream / "extensions/example"  # beside the history that its policy names
        shutil.rmtree(example, ignore_errors=True)
        shutil.copytree(ROOT / "extensions/example", example, ignore=shutil.ignore_patterns(BUILT))
        subjects = [
            Subject(BUILD, builder(example)),
            timed(IMPORT, (sys.executable, "-c", "import copier"), folder),
        ]
        measured = measure(subjects, options.rounds)
    comparisons = [Comparison(BUILD, None, GOAL), Comparison(BUILD, IMPORT)]
    return report("An organization's template", measured, comparisons, options)


def builder(example: Path) -> Callable[[], float]:
    """Return what builds the example once, and fails when it is another template than the last time."""
    built: list[Tree] = []

    def run() -> float:
        # From this checkout: the command is measured as it is, changes that are not committed included.
        took = seconds((sys.executable, "-m", "extensions.organization", "build", example), ROOT)
        tree = {path: file for path, file in read_folder(example / BUILT).items() if not path.startswith(".git/")}
        if built and built[0] != tree:
            raise CommandError("the same inputs have given another template")
        built[:] = [tree]
        return took

    return run


if __name__ == "__main__":
    sys.exit(main())
