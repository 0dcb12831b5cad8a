"""Time the comparison of 100,000 rows with the training data, against Evidently's preset for data drift.

Both get the same rows as a data frame in memory, and both are timed after their imports. They do not do the same
work: the project counts rows into the bins that training left behind, for three distances and a test for each column
and for the scores; Evidently reads the training rows again and takes one distance for each column.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .processes import PEERS, finish
from .project import chosen_project, install_environment, workspace
from .timing import (
    CommandError,
    Comparison,
    Section,
    Several,
    arguments,
    environment,
    measure_several,
    progress,
    report_sections,
    seconds,
    working,
)

OURS, EVIDENTLY = "churn monitor", "Evidently"
COMPUTE, REPORT, PROCESS, MEMORY = "compare", "data frame to report", "whole process", "peak memory"
UNITS = {COMPUTE: "s", REPORT: "s", PROCESS: "s", MEMORY: "MiB"}
GOAL_SECONDS = 1.0
SHIFT = 0.3  # of the current rows' numbers, in standard deviations


def main() -> int:
    """Run the benchmark."""
    parser = arguments(__doc__ or "", rounds=7)
    parser.add_argument("--rows", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--alone", action="store_true", help="leave Evidently out")
    parser.add_argument("--project", type=Path, help="a project that is rendered and installed, not the last commit")
    options = parser.parse_args()
    skipped = {}
    with workspace() as folder:
        project = chosen_project(folder, options.project)
        script = str(PEERS / "twenty_columns.py")
        before, now = folder / "before.parquet", folder / "now.parquet"
        with working("making the model and the tables"):
            for words in (
                ("model", str(folder)),
                ("table", str(before), str(options.rows)),
                ("table", str(now), str(options.rows), str(SHIFT)),
            ):
                seconds(project.python(script, *words), project.folder, project.env)

        def run(command: Sequence[str | Path], place: Path, env: dict[str, str]) -> dict[str, float]:
            done = finish(command, place, env, (), folder / "log")
            found = json.loads(done.output.splitlines()[-1])
            if found["rows"] != options.rows:
                raise CommandError(f"{found['rows']} rows were compared instead of {options.rows}.")
            return found["seconds"] | {PROCESS: done.seconds, MEMORY: done.peak}

        own = project.python(str(PEERS / "drift_compare.py"), str(folder / "artifact"), str(now))
        subjects = [Several(OURS, lambda: run(own, project.folder, project.env))]
        if not options.alone:
            try:
                # Evidently does not say that it needs pandas below 3.
                scripts = install_environment(folder, "evidently", ["evidently>=0.7", "pandas<3", "pyarrow"])
                theirs = (scripts / "python", PEERS / "evidently_report.py", before, now)
                env = environment({"DO_NOT_TRACK": "1"})
                subjects.append(Several(EVIDENTLY, lambda: run(theirs, folder, env)))
            except CommandError as error:
                skipped[EVIDENTLY] = str(error)
                progress.print(f"{EVIDENTLY} is left out: {error}", markup=False, highlight=False)
        measured = measure_several(subjects, UNITS, options.rounds, optional=frozenset({EVIDENTLY}))
    comparisons = {COMPUTE: [Comparison(OURS, None, GOAL_SECONDS)]}
    if not options.alone:
        comparisons |= {kind: [Comparison(OURS, EVIDENTLY)] for kind in (REPORT, PROCESS, MEMORY)}
    measured[COMPUTE].skipped |= skipped
    sections = [Section(kind, each, comparisons.get(kind, ())) for kind, each in measured.items()]
    return report_sections(sections, options)


if __name__ == "__main__":
    sys.exit(main())
