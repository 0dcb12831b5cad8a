"""Time `fleet report` over many projects, and tell whether its memory grows with their number.

The projects are made from the first release in releases.yaml, with different answers; of ten, three are edited and
one is broken. The last commit of this checkout is what they could be updated to. Changes that are not committed are
in the command that is timed, but not in that version.
"""

from __future__ import annotations

import itertools
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from commands.answer_space import template
from commands.release import table
from commands.rendering import TEMPLATE

from .processes import finish
from .project import IDENTITY, clone, commit, workspace
from .timing import (
    Comparison,
    Section,
    Several,
    arguments,
    environment,
    measure_several,
    report_sections,
    seconds,
    working,
)

SECONDS, PROCESSOR, MEMORY = "seconds", "processor time", "peak memory of a process"
UNITS = {SECONDS: "s", PROCESSOR: "s", MEMORY: "MiB"}
GOAL_SECONDS, GOAL_MEMORY = 60, 1.1
# `fleet report` exits with 1 when a repository could not be judged: here some are broken on purpose.
ALSO_ONE = ("sh", "-c", '"$@" || [ $? -eq 1 ]', "sh")


def releases(folder: Path) -> tuple[Path, str]:
    """Return the template as a repository with its first release and a newer one, and the first one's tag."""
    repository = clone(str(TEMPLATE), folder / "template", "--no-tags", "--no-local")
    first, its_commit = next(iter(table(TEMPLATE).items()))
    for tag, revision in ((first, its_commit), ("v999.0.0", "HEAD")):
        seconds(("git", "tag", tag, revision), repository, environment(IDENTITY))
    seconds(("git", "worktree", "add", "--quiet", "--detach", folder / first, first), repository, environment())
    return repository, first


def answers(number: int) -> dict[str, Any]:
    """Return the answers of a project: no two have the same."""
    return {
        "project_name": f"Model {number}",
        "owner": f"team-{number % 17}",
        "problem_type": ("classification", "regression")[number % 2],
        "serving_mode": ("online", "batch", "online_and_batch")[number % 3],
        "license": ("proprietary", "mit", "apache_2_0", "bsd_3_clause")[number // 2 % 4],
    }


def live(project: Path, number: int) -> None:
    """Edit a project as its users might, or break it."""
    readme, recorded = project / "README.md", project / ".copier-answers.yml"
    if number % 10 == 1:
        (project / "params.yaml").write_text("seed: 7\n", encoding="utf-8")
        (project / "own.py").write_text("OWN = 1\n", encoding="utf-8")
    elif number % 10 == 4:
        readme.write_text("Ours.\n" + readme.read_text(encoding="utf-8"), encoding="utf-8")
        (project / "CONTRIBUTING.md").unlink(missing_ok=True)
    elif number % 10 == 7:
        readme.write_text("All ours.\n", encoding="utf-8")
    elif number % 30 == 9:
        recorded.unlink()
    elif number % 30 == 19:
        recorded.write_text("a: [\n", encoding="utf-8")
    elif number % 30 == 29:
        text = recorded.read_text(encoding="utf-8")
        recorded.write_text(text.replace("serving_mode: ", "serving_mode: former_"), encoding="utf-8")


def make(number: int, folder: Path, repository: Path, tag: str) -> str:
    """Make a project and return its path."""
    version, project = template(folder / tag), folder / "projects" / f"model-{number}"
    files = version.render(version.all_answers(answers(number)), origin={"_src_path": str(repository), "_commit": tag})
    for name, file in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(0o755 if file.executable else 0o644)
    live(project, number)
    commit(project)
    return str(project)


def main() -> int:
    """Run the benchmark."""
    parser = arguments(__doc__ or "", rounds=3)
    parser.add_argument("--projects", type=int, default=300, help="default: %(default)s")
    options = parser.parse_args()
    many, few = options.projects, options.projects // 3
    with workspace() as folder:
        repository, tag = releases(folder)
        with working(f"making {many} projects"), ProcessPoolExecutor() as pool:
            made = list(
                pool.map(partial(make, folder=folder, repository=repository, tag=tag), range(many), chunksize=10)
            )
        caches = itertools.count()

        def report(number: int, cache: Path) -> dict[str, float]:
            listed = folder / f"{number}.txt"
            listed.write_text("\n".join(made[:number]), encoding="utf-8")
            command = (
                *ALSO_ONE,
                sys.executable,
                "-m",
                "extensions.fleet",
                "report",
                str(listed),
                "--cache",
                str(cache),
            )
            pages = ("--html", str(folder / "fleet.html"), "--json", str(folder / "fleet.json"))
            done = finish((*command, *pages), TEMPLATE, environment(), (), folder / "log")
            return {SECONDS: done.seconds, PROCESSOR: done.processor_seconds, MEMORY: done.peak}

        def anew(number: int) -> dict[str, float]:
            cache = folder / f"cache-{next(caches)}"
            found = report(number, cache)
            shutil.rmtree(cache)
            return found

        kept = folder / "cache-kept"
        names = [f"{many} projects", f"{few} projects", f"{many} projects, nothing has changed"]
        subjects = [
            Several(names[0], lambda: anew(many), warm_up=lambda: None),
            Several(names[1], lambda: anew(few), warm_up=lambda: None),
            Several(names[2], lambda: report(many, kept)),
        ]
        measured = measure_several(subjects, UNITS, options.rounds)
    comparisons = {
        SECONDS: [Comparison(names[0], None, GOAL_SECONDS), Comparison(names[2], names[0])],
        MEMORY: [Comparison(names[0], names[1], GOAL_MEMORY)],
    }
    return report_sections([Section(kind, each, comparisons.get(kind, ())) for kind, each in measured.items()], options)


if __name__ == "__main__":
    sys.exit(main())
