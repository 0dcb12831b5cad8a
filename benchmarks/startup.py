"""Time the command's help against the help of a bare Typer program in the same environment."""

from __future__ import annotations

import sys

from .project import make_project, workspace
from .timing import Comparison, arguments, measure, report, timed

OURS = "churn --help"
BARE = "bare Typer program --help"
IMPORT = "import typer"
GOAL = 1.5

PROGRAM = '''"""One command, as small as Typer allows."""

import typer

app = typer.Typer(add_completion=False)


@app.command()
def hello(name: str = "world") -> None:
    """Greet."""
    typer.echo(f"Hello {name}")
'''


def main() -> int:
    """Run the benchmark."""
    options = arguments(__doc__ or "", rounds=15).parse_args()
    with workspace() as folder:
        project = make_project(folder)
        (folder / "bare.py").write_text(PROGRAM, encoding="utf-8")
        measured = measure(
            [
                timed(OURS, project.verb("--help"), project.folder, project.env),
                timed(BARE, project.python("-c", "import bare; bare.app()", "--help"), folder, project.env),
                timed(IMPORT, project.python("-c", "import typer"), folder, project.env),
            ],
            options.rounds,
        )
    return report("Start-up, bytecode cached", measured, [Comparison(OURS, BARE, GOAL)], options)


if __name__ == "__main__":
    sys.exit(main())
