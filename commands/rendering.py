"""Render projects from this checkout, as fast as Copier can."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from extensions.git import git, leave_hooks
from extensions.refusal import Refused

TEMPLATE = Path(__file__).parents[1]  # this checkout; where the commands are installed, see `template_here`


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


@contextmanager
def template_here() -> Iterator[Path]:
    """Yield the template's folder with its history: this checkout, or a clone of what the commands are installed from.

    Raises:
        Refused: they are installed from something that is no repository.
    """
    if (TEMPLATE / "copier.yml").exists():
        yield TEMPLATE
        return
    url, commit = installed_from()
    with tempfile.TemporaryDirectory() as folder:
        git(Path(folder), "clone", "--quiet", "--", url, "template")
        git(Path(folder, "template"), "checkout", "--quiet", "--detach", commit)
        yield Path(folder, "template")


def installed_from() -> tuple[str, str]:
    """Return the repository and the commit that the commands were installed from, by `uvx --from git+...` or the like.

    Raises:
        Refused: they are installed from something that is no repository.
    """
    recorded = json.loads(distribution("copier-mlops").read_text("direct_url.json") or "{}")
    if "vcs_info" not in recorded:
        raise Refused(
            "These commands are not installed from a repository, and need the template.",
            "Run them from a clone, or by uvx --from git+URL@VERSION COMMAND.",
        )
    return recorded["url"], recorded["vcs_info"]["commit_id"]


def clean_environment() -> dict[str, str]:
    """Return the environment for commands in a rendered project: this project's own, and its CI's, are left out."""
    left_out = ("VIRTUAL_ENV", "PYTHONPATH", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD")
    return {name: value for name, value in leave_hooks().items() if name not in left_out}
