"""The verbs for working on the project itself."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from twoloops.errors import ProjectError
from twoloops.paths import paths
from twoloops.verbs import DEVELOPMENT, Json, app, tell


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
        paths().checks.mkdir(parents=True, exist_ok=True)
        quality = [
            "ruff",
            "check",
            "--exit-zero",
            "--output-format=gitlab",
            f"--output-file={paths().checks}/codequality.json",
            ".",
        ]
        subprocess.run([sys.executable, "-m", *quality], check=True)
        commands["tests"] += [
            f"--junit-xml={paths().checks}/junit.xml",
            f"--cov-report=xml:{paths().checks}/coverage.xml",
        ]
    # The types take as long as the tests: they are read beside the others, and told last.
    types = commands.pop("types")
    failed = []
    with subprocess.Popen([sys.executable, "-m", *types], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as reading:
        for name, command in commands.items():
            typer.secho(f"{name}: {' '.join(command)}", bold=True)
            if subprocess.run([sys.executable, "-m", *command], check=False).returncode:
                failed.append(name)
        typer.secho(f"types: {' '.join(types)}", bold=True)
        typer.echo(reading.communicate()[0].decode(errors="replace"), nl=False)
        if reading.returncode:
            failed.append("types")
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


@app.command(rich_help_panel=DEVELOPMENT)
def readiness(as_json: Json = False) -> None:
    """Say how ready for production the project is, from its own evidence, and what is missing."""
    from twoloops.delivery import readiness as score

    points = score.judge(score.Evidence())
    sections = score.scores(points)
    result = {"score": min(sections.values()), "sections": sections, "points": [asdict(point) for point in points]}
    tell(result, as_json, score.describe(points))
