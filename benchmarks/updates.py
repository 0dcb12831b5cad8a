"""Time `copier update` of a project: this template from its oldest release, against the smallest template."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from commands.release import table

from .project import COPIER, ROOT, clone, commit, one_file_template, render, workspace
from .timing import Comparison, Subject, arguments, environment, measure, report, seconds

OURS = "copier-mlops"
ENGINE = "copier-mlops, merged by its engine"
ONE_FILE = "one-file template"
GOAL = 3.5
NEWER = "v999.0.0"
UPDATE = (*COPIER, "update", "--defaults", "--quiet")
# As `uv run churn update` does it, with the Copier that is installed here and without a branch at the end.
MERGE = (
    sys.executable,
    "-c",
    f"from pathlib import Path; from extensions.update import updating; updating.merge(Path(), copier={COPIER!r})",
)


def main() -> int:
    """Run the benchmark."""
    options = arguments(__doc__ or "", rounds=9).parse_args()
    with workspace() as folder:
        ours = project_of_the_oldest_release(folder)
        smallest = project_of_one_file(folder)
        subjects = [
            subject(OURS, UPDATE, ours),
            subject(ONE_FILE, UPDATE, smallest),
            subject(ENGINE, MERGE, ours),
        ]
        measured = measure(subjects, options.rounds)
    comparisons = [Comparison(OURS, ONE_FILE, GOAL), Comparison(ENGINE, ONE_FILE)]
    return report("A project's update to the template's newer version", measured, comparisons, options)


def project_of_the_oldest_release(folder: Path) -> Path:
    """Make a default project of the oldest release; the newer version is the last commit."""
    template = clone(str(ROOT), folder / "template", "--no-tags", "--no-local")
    tag, revision = next(iter(table(ROOT).items()))
    seconds(("git", "tag", tag, revision), template)
    made = committed(template, folder / "ours")
    seconds(("git", "tag", NEWER), template)
    return made


def project_of_one_file(folder: Path) -> Path:
    """Make a project of the smallest template that can be updated, and change its one file."""
    template = one_file_template(folder)
    answers = "{{ _copier_answers | to_nice_yaml }}"
    (template / "template/{{ _copier_conf.answers_file }}.jinja").write_text(answers, encoding="utf-8")
    commit(template)
    seconds(("git", "tag", "v0.0.1"), template)
    made = committed(template, folder / "smallest")
    (template / "template/README.md.jinja").write_text("# {{ project_name }}, newer\n", encoding="utf-8")
    commit(template)
    seconds(("git", "tag", NEWER), template)
    return made


def committed(template: Path, target: Path) -> Path:
    """Make a project of the template's newest release and commit it."""
    render(template, target)
    commit(target)
    return target


def subject(name: str, command: Sequence[str], original: Path) -> Subject:
    """Return a subject that updates a new copy of a project each time; the copying is not timed."""
    number = itertools.count(1)

    def run() -> float:
        copy = original.parent / "updated" / name / str(next(number))
        shutil.copytree(original, copy)
        return seconds(command, copy, environment())

    return Subject(name, run)


if __name__ == "__main__":
    sys.exit(main())
