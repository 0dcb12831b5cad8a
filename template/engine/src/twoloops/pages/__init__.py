"""Pages for people, made from the templates beside this file, or from the project's own in their place.

A project that wants another look puts a file of the same name into docs/pages. The words of a template are Jinja's:
https://jinja.palletsprojects.com/en/stable/templates.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twoloops import config
from twoloops.errors import ProjectError

if TYPE_CHECKING:
    from jinja2 import Environment

OWN: Final = Path("docs/pages")  # of the project


def render(name: str, /, **values: Any) -> str:
    """Return a page as text.

    Args:
        name: of the template, without its ending: model_card.md.
        values: what the template speaks of; a name that it does not find is an error, not an empty place.

    Raises:
        ProjectError: the project's own template is wrong.
    """
    from jinja2 import TemplateError

    try:
        return _environment(config.current().root).get_template(f"{name}.j2").render(**values)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise ProjectError(
            f"The page {name} cannot be made: {error}" + (f" (line {line})" if line else "") + ".",
            hint=f"Correct {OWN / name}.j2, or remove it: the engine has one of its own.",
        ) from error


def _environment(root: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    found = Environment(
        loader=FileSystemLoader([root / OWN, Path(__file__).parent]),
        autoescape=select_autoescape(["html.j2"], default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["cell"] = cell
    return found


def cell(content: Any) -> str:
    """Return a value as a cell of a Markdown table shows it: four digits of a number, nothing for None."""
    text = "" if content is None else f"{content:.4g}" if isinstance(content, float) else str(content)
    return text.replace("|", r"\|")


def table(head: list[str], rows: list[list[Any]]) -> list[str]:
    """Return a table in Markdown, as lines."""

    def line(cells: list[Any]) -> str:
        return "| " + " | ".join(map(cell, cells)) + " |"

    return [line(head), "|" + " --- |" * len(head), *map(line, rows)]
