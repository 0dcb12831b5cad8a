"""`uv run demo`: a project from the default answers, installed, deployed and watched, in a minute or two."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import copier
from plumbum import local
from rich.console import Console

from extensions.git import ELSEWHERE

from .rendering import TEMPLATE, clean_environment

console = Console(highlight=False)
UV = os.environ.get("UV", "uv")  # `uv run` says which uv it is
AUTHOR = ("-c", "user.name=demo", "-c", "user.email=demo@example.com")

CHURN = [UV, "run", "churn"]
LATER = "data/raw/later.parquet"
RED = 3  # the exit code of a monitor that asks for a retraining

# What is shown as a step (None: it belongs to the step before), what is run, and how it must end.
STEPS = [
    ("It becomes a git repository", ["git", "init", "--quiet", "--initial-branch=main"], 0),
    (None, ["git", "add", "."], 0),
    (None, ["git", *AUTHOR, "commit", "--quiet", "--message=Start from copier-mlops"], 0),
    ("Its packages are installed", [UV, "sync", "--quiet"], 0),
    ("Simulated subscribers stand in for data", [*CHURN, "simulate"], 0),
    ("The inner loop runs: contract, training, verdict, registry", [*CHURN, "run"], 0),
    ("The challenger is deployed: staging, tests, production", [*CHURN, "deploy", "--yes"], 0),
    ("The service answers", [*CHURN, "invoke", "data/raw/simulated.parquet", "predictions.csv"], 0),
    ("The monitor compares what came in with the training data", [*CHURN, "monitor"], 0),
]
LOOP = [
    ("The world changes: prices rise, usage falls", [*CHURN, "simulate", LATER, "--drift=0.9", "--seed=8"], 0),
    (None, [*CHURN, "invoke", LATER, "predictions.csv"], 0),
    ("The monitor sees it, and waits for a second window", [*CHURN, "monitor"], 0),
    (None, [*CHURN, "invoke", LATER, "predictions.csv"], 0),
    ("Two windows of three: the monitor is red", [*CHURN, "monitor"], RED),
    (
        "A year later the table has grown into the new world",
        [*CHURN, "simulate", "--drift=0.9", "--seed=9", "--append"],
        0,
    ),
    ("Retraining: a new holdout, the same gate, and a fit on all rows", [*CHURN, "retrain"], 0),
    ("The new challenger is deployed, behind a canary", [*CHURN, "deploy", "--yes"], 0),
    (None, [*CHURN, "invoke", LATER, "predictions.csv"], 0),
    ("The loop is closed: the monitor is green", [*CHURN, "monitor"], 0),
]
END = [("The services stop", [*CHURN, "stop"], 0)]


def main() -> None:
    """Render, install and run a project; stop at the first step that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", nargs="?", type=Path, default=TEMPLATE.parent / "churn-demo", help="where to (default: %(default)s)"
    )
    parser.add_argument(
        "--loop", action="store_true", help="go on until the loop closes: drift, retraining, a new champion"
    )
    options = parser.parse_args()
    folder: Path = options.folder.absolute()
    steps = STEPS + (LOOP if options.loop else []) + END
    if folder.exists():
        console.print(
            f"[red]{folder} exists and is left as it is.[/] Name another folder: uv run demo FOLDER", soft_wrap=True
        )
        sys.exit(1)
    if shutil.which("git") is None:
        console.print("[red]git is not installed.[/] The demo wants it: a model is traced to its commit.")
        sys.exit(1)

    titles = 1 + sum(title is not None for title, *_ in steps)
    console.rule(f"[bold]1/{titles}  A project is rendered from the default answers", align="left")
    for name in ELSEWHERE:  # Copier asks git in this process's environment
        if name in local.env:
            del local.env[name]
    copier.run_copy(str(TEMPLATE), folder, defaults=True, quiet=True, vcs_ref="HEAD")
    count = sum(path.is_file() for path in folder.rglob("*"))
    console.print(f"{count} files are in {folder}. Look at README.md and params.yaml.")
    number = 1
    for title, command, code in steps:
        if title:
            number += 1
            console.rule(f"[bold]{number}/{titles}  {title}", align="left")
            console.print(f"[dim]$ {' '.join('uv' if part == UV else part for part in command)}[/]")
        finished = subprocess.run(command, cwd=folder, env=clean_environment(), check=False)
        if finished.returncode != code:
            console.print(f"[red]This step failed with exit code {finished.returncode}.[/] The project is in {folder}.")
            sys.exit(finished.returncode or 1)
    _farewell(folder)


def _farewell(folder: Path) -> None:
    console.rule("[bold green]Done", align="left")
    console.print("Look at:")
    for path, what in {
        "reports/model_card.md": "what the model is worth, with its pictures in reports/plots",
        "predictions.csv": "the service's answers",
        "reports/monitoring/index.html": "what the monitor saw; open it in a browser",
        "params.yaml": "change a number, then: uv run churn run",
        "docs/your-data.md": "your own data instead of the simulated",
    }.items():
        console.print(f"  {folder / path}\n    {what}", soft_wrap=True)
    console.print("Start your own: uvx copier copy THIS-REPOSITORY my-project")
