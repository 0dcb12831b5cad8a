"""The verbs for working on the project itself."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from .. import ProjectError
from ..storage import REPORTS
from . import DEVELOPMENT, app

CHECKS = REPORTS / "checks"


@app.command(rich_help_panel=DEVELOPMENT)
def check(
    reports: Annotated[
        bool,
        typer.Option("--reports", help="Also write what code hosts show: tests, coverage, code quality, as files."),
    ] = False,
) -> None:
    """Run every check that the flow runs: format, lint, types, tests with coverage."""
    commands = {
        "format": ["ruff", "format", "--check", "."],
        "lint": ["ruff", "check", "."],
        "types": ["mypy"],
        "tests": ["pytest"],
    }
    if reports:
        CHECKS.mkdir(parents=True, exist_ok=True)
        quality = [
            "ruff",
            "check",
            "--exit-zero",
            "--output-format=gitlab",
            f"--output-file={CHECKS}/codequality.json",
            ".",
        ]
        subprocess.run([sys.executable, "-m", *quality], check=True)
        commands["tests"] += [f"--junit-xml={CHECKS}/junit.xml", f"--cov-report=xml:{CHECKS}/coverage.xml"]
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
