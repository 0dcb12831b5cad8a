"""Time each verb from data to predictions by itself, against the import of the libraries that it builds on."""

from __future__ import annotations

import sys

from .project import DATA, PREDICTIONS, make_project, run_everything, workspace
from .timing import Comparison, arguments, measure, report, timed

IMPORT = "import pandas, sklearn"
VERBS = {
    "simulate": ("simulate", "--force"),
    "prepare": ("prepare",),
    "train": ("train",),
    "evaluate": ("evaluate",),
    "refit": ("refit",),
    "register": ("register",),
    "predict": ("predict", DATA, PREDICTIONS),
}


def main() -> int:
    """Run the benchmark."""
    options = arguments(__doc__ or "", rounds=5).parse_args()
    with workspace() as folder:
        project = make_project(folder)
        run_everything(project)
        subjects = [
            timed(IMPORT, project.python("-c", "import pandas, sklearn"), project.folder, project.env),
            *(timed(name, project.verb(*words), project.folder, project.env) for name, words in VERBS.items()),
        ]
        measured = measure(subjects, options.rounds)
    compared = [Comparison(name, IMPORT) for name in VERBS]
    return report("The verbs one by one, bytecode cached", measured, compared, options)


if __name__ == "__main__":
    sys.exit(main())
