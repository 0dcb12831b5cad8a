"""Time a run of the inner loop when nothing has changed, against DVC's own look at what has."""

from __future__ import annotations

import sys

from .project import make_project, run_everything, workspace
from .timing import Comparison, arguments, measure, report, timed

OURS = "churn run, nothing changed"
STATUS = "dvc status"
GOAL = 3.0


def main() -> int:
    """Run the benchmark."""
    options = arguments(__doc__ or "", rounds=9).parse_args()
    with workspace() as folder:
        project = make_project(folder)
        run_everything(project)
        measured = measure(
            [
                timed(OURS, project.verb("run"), project.folder, project.env),
                timed(STATUS, (project.scripts / "dvc", "status"), project.folder, project.env),
            ],
            options.rounds,
        )
    return report("Nothing has changed", measured, [Comparison(OURS, STATUS, GOAL)], options)


if __name__ == "__main__":
    sys.exit(main())
