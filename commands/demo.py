"""`uv run demo`: a project from the default answers, installed and at work, in a minute or two."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import copier
from rich.console import Console

from .rendering import TEMPLATE, clean_environment

console = Console(highlight=False)
UV = os.environ.get("UV", "uv")  # `uv run` says which uv it is
AUTHOR = ("-c", "user.name=demo", "-c", "user.email=demo@example.com")

STEPS = [
    ("It becomes a git repository", ["git", "init", "--quiet", "--initial-branch=main"]),
    (None, ["git", "add", "."]),
    (None, ["git", *AUTHOR, "commit", "--quiet", "--message=Start from copier-mlops"]),
    ("Its packages are installed", [UV, "sync", "--quiet"]),
    ("Simulated subscribers stand in for data", [UV, "run", "churn", "simulate"]),
    ("The inner loop runs: contract, training, verdict, registry", [UV, "run", "churn", "run"]),
    ("The registered challenger becomes champion", [UV, "run", "churn", "promote"]),
    ("The champion predicts", [UV, "run", "churn", "predict", "data/raw/simulated.parquet", "predictions.csv"]),
]


def main() -> None:
    """Render, install and run a project; stop at the first step that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", nargs="?", type=Path, default=TEMPLATE.parent / "churn-demo", help="where to (default: %(default)s)"
    )
    folder: Path = parser.parse_args().folder.absolute()
    if folder.exists():
        console.print(f"[red]{folder} exists and is left as it is.[/] Name another folder: uv run demo FOLDER")
        sys.exit(1)
    if shutil.which("git") is None:
        console.print("[red]git is not installed.[/] The demo wants it: a model is traced to its commit.")
        sys.exit(1)

    titles = 1 + sum(title is not None for title, _ in STEPS)
    console.rule(f"[bold]1/{titles}  A project is rendered from the default answers", align="left")
    copier.run_copy(str(TEMPLATE), folder, defaults=True, quiet=True, vcs_ref="HEAD")
    count = sum(path.is_file() for path in folder.rglob("*"))
    console.print(f"{count} files are in {folder}. Look at README.md and params.yaml.")
    number = 1
    for title, command in STEPS:
        if title:
            number += 1
            console.rule(f"[bold]{number}/{titles}  {title}", align="left")
            console.print(f"[dim]$ {' '.join('uv' if part == UV else part for part in command)}[/]")
        finished = subprocess.run(command, cwd=folder, env=clean_environment(), check=False)
        if finished.returncode:
            console.print(f"[red]This step failed with exit code {finished.returncode}.[/] The project is in {folder}.")
            sys.exit(finished.returncode)
    _farewell(folder)


def _farewell(folder: Path) -> None:
    console.rule("[bold green]Done", align="left")
    console.print("Look at:")
    for path, what in {
        "reports/model_card.md": "what the model is worth, with its pictures in reports/plots",
        "predictions.csv": "its predictions",
        "params.yaml": "change a number, then: uv run churn run",
        "docs/your-data.md": "your own data instead of the simulated",
    }.items():
        console.print(f"  {folder / path}\n    {what}", soft_wrap=True)
    console.print("Start your own: uvx copier copy THIS-REPOSITORY my-project")
