"""The verbs for working on the project itself."""

from __future__ import annotations

import subprocess
import sys

import typer

from .. import ProjectError
from . import DEVELOPMENT, app


@app.command(rich_help_panel=DEVELOPMENT)
def check() -> None:
    """Run every check that CI runs: format, lint, types, tests with coverage."""
    commands = {
        "format": ["ruff", "format", "--check", "."],
        "lint": ["ruff", "check", "."],
        "types": ["mypy"],
        "tests": ["pytest"],
    }
    failed = []
    for name, command in commands.items():
        typer.secho(f"{name}: {' '.join(command)}", bold=True)
        if subprocess.run([sys.executable, "-m", *command], check=False).returncode:
            failed.append(name)
    if failed:
        hints = {
            "format": "'uv run ruff format .' formats everything.",
            "lint": "'uv run ruff check --fix .' mends much.",
        }
        raise ProjectError(
            f"Not in order: {', '.join(failed)}.",
            hint=" ".join(hints[name] for name in failed if name in hints) or "The output above says what and where.",
        )
    typer.secho("All checks passed.", fg="green")
