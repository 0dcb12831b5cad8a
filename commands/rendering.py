"""Render projects from this checkout, as fast as Copier can."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).parents[1]


def render(destination: Path, answers: Mapping[str, Any], template: Path = TEMPLATE) -> None:
    """Render a project with the given answers and defaults for all others.

    The template is taken as it lies in its folder, uncommitted changes included: Copier does so
    when it finds no git, and saves two thirds of the time.

    Args:
        destination: the folder to render into.
        answers: by question.
        template: the template's folder.

    Raises:
        ValueError: an answer is refused by a validator or is not a choice.
    """
    # Their import takes longer than most commands that need nothing else from here.
    import copier  # noqa: PLC0415
    from plumbum import local  # noqa: PLC0415

    with local.env(PATH=""):
        copier.run_copy(str(template), destination, data=dict(answers), defaults=True, quiet=True, overwrite=True)


def clean_environment() -> dict[str, str]:
    """Return the environment for commands in a rendered project: this project's own, and its CI's, are left out."""
    left_out = ("VIRTUAL_ENV", "PYTHONPATH", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD")
    return {name: value for name, value in os.environ.items() if name not in left_out}
