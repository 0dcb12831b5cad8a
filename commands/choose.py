"""`uv run choose`: one page on which the answers are chosen, and the project that they make can be looked at.

The page holds every file as every combination of choices renders it, so it needs no server and no network. Free
text, such as the project's name, has its default in what is shown: Copier asks for it.
"""

from __future__ import annotations

import argparse
import ast
import base64
import gzip
import itertools
import json
import re
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import jinja2

from extensions.git import git
from extensions.refusal import Refused

from .answer_space import Question, Template, TemplateFile
from .questions import Answers, asked, axes, combinations, depends_on, kind, offers
from .rendering import TEMPLATE, installed_from, template_here

PAGE = "choose.html.jinja"
# What files say of themselves that have no place for a comment, or whose first words are not about them.
ABOUT = {
    "LICENSE": "Who may do what with the project.",
    "engine/LICENSE": "Who may do what with the engine.",
    "engine/SIGNERS": "Whose signature an update of the engine has to carry.",
    "pyproject.toml": "The package, what it needs, its tools, and what the engine is told of the project.",
    "engine/pyproject.toml": "The engine's package and what each of its extras needs.",
    "*/py.typed": "Tells type checkers that the package is typed.",
    "*/__init__.py": "Makes the folder a package.",
    "engine/*/drafting/*.j2": "What `draft` writes from a table.",
    "engine/*/drafting/rendered.json": "What files are like as they were rendered: `draft` writes over no others.",
    "*.html.j2": "A page of the reports; a project may have its own in its place.",
    "*/dashboards/*.json": "A dashboard of Grafana.",
    "monitoring/grafana/dashboards/*.yml": "Where Grafana finds the dashboards.",
    "monitoring/grafana/datasources/*.yml": "Where Grafana finds the metrics.",
    ".dvc/config": "DVC's settings.",
    ".dvcignore": "What DVC leaves out.",
    "*.gitignore": "What git leaves out.",
    "renovate.json": "Which dependencies are renewed by which changes.",
    ".gitlab/ci/environment.yml": "The jobs of one environment: deployed, watched, rolled back.",
    "azure-pipelines/templates/terraform.yml": "Installs Terraform in a job.",
    "infra/*/outputs.tf": "What others need to know of what is made here.",
    "infra/*/variables.tf": "What has to be said before anything is made here.",
    "infra/*/versions.tf": "Which versions of Terraform and of its providers.",
    "*/chart/templates/manifests.tpl": "Writes each object that the values hold.",
    "*/chart/values.yaml": "The objects of the chart; monitoring.tf gives them.",
}
COMMENT = re.compile(r"(?:#|//)+ ?(.*)")
FIRST = re.compile(r".*?[.?!](?=\s|$)|.+")
MARKDOWN = re.compile(r"\[([^]]*)\]\([^)]*\)|[`*]{1,2}")


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", nargs="?", type=Path, default=Path("choose.html"), help="(default: %(default)s)")
    parser.add_argument(
        "--source", help="the template's address in the page's command (default: where this one is from)"
    )
    arguments = parser.parse_args()
    try:
        with template_here() as folder:
            source = arguments.source or address()
            text = page(Template(folder), source, lambda words: print(words, file=sys.stderr))
        arguments.page.write_text(text, encoding="utf-8")
    except (Refused, OSError) as error:
        sys.exit(str(error))
    print(f"{arguments.page} is written, {len(text) / 1e6:.1f} MB. Open it in a browser, or put it on any static host.")


def address() -> str:
    """Return the address of the template that this command belongs to, without a login; a folder where it has none."""
    if (TEMPLATE / "copier.yml").exists():
        remotes = git(TEMPLATE, "remote").split()
        found = git(TEMPLATE, "remote", "get-url", "origin").strip() if "origin" in remotes else str(TEMPLATE)
    else:
        found = installed_from()[0]
    parts = urlsplit(found)
    if parts.scheme in ("http", "https"):
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return found


def page(template: Template, source: str, tell: Callable[[str], None] = lambda _: None) -> str:
    """Return the page for a template.

    Args:
        template: whose questions can be chosen.
        source: the template's address, in the command that the page shows.
        tell: takes a line about how far it is.

    Raises:
        Refused: a file says nothing of itself, or a question offers nothing.
    """
    tell("Rendering every file for every combination of answers.")
    named = {"source": source, "answers_file": template.answers_file}
    data = {**named, "questions": list(questions(template)), **project(template)}
    packed = base64.b64encode(gzip.compress(json.dumps(data, ensure_ascii=False).encode(), mtime=0)).decode()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(PAGE).render(data=packed) + "\n"


def questions(template: Template) -> Iterator[dict[str, Any]]:
    """Yield each question as the page needs it: what it offers, for the answers on which that depends."""
    chosen = axes(template)
    for name, settings in asked(template).items():
        before = [each for each in chosen if each in depends_on(template, name)]
        states = {}
        for given in combinations(template, set(before)):
            answers = template.all_answers(given)
            question = Question(template, name, settings)
            if question.asked(answers):
                values = offers(question, answers) if name in chosen else None
                default = question.parse(question.default(answers), answers)
                states[key(before, given)] = {"default": default, "values": values, "labels": labels(question, answers)}
        yield {"name": name, "help": settings.get("help", ""), "before": before, "states": states,
               "chosen": name in chosen}  # fmt: skip


def labels(question: Question, answers: Answers) -> dict[str, str]:
    """Return what Copier shows in place of each value, by the value as JSON."""
    choices = question.listed(answers)
    if isinstance(choices, dict):
        return {json.dumps(value): label for label, value in choices.items()}
    return {"true": "Yes", "false": "No"} if kind(question.settings) == "bool" else {}


def project(template: Template) -> dict[str, Any]:
    """Return every file with all that it can become.

    Returns:
        `files`: for each, `axes`, the questions that decide what it becomes, and `variants`: by the answers to these,
        the numbers of its path, its text and the sentence about it in `texts`. Answers that leave it out are not there.
    """
    texts: dict[str, int] = {}

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    answered = Answered(template)
    files = []
    for file in template.files():
        may = answered.axes_of(file)
        names, rendered = reduce(may, {values: answered.render(file, answers) for values, answers in answered.all(may)})
        variants = {
            "|".join(values): [number(part) for part in (*found, about(*found))]
            for values, found in rendered.items()
            if found
        }
        if variants:
            files.append({"axes": names, "variants": variants})
    return {"files": files, "texts": list(texts)}


class Answered:
    """Complete answers for every combination of the questions that matter for a file, each computed once."""

    def __init__(self, template: Template) -> None:
        """Know which questions can be chosen."""
        self.template = template
        self.chosen = list(axes(template))
        self._rendered: dict[Hashable, tuple[str, str]] = {}
        self._layers: dict[str, list[str]] = {}
        self.all = cache(self._all)

    def axes_of(self, file: TemplateFile) -> tuple[str, ...]:
        """Return the questions that may decide what a file becomes."""
        names = set(self._axes_of_layer(file.layer)) if file.layer else set()
        for name in file.uses:
            names |= {name} | depends_on(self.template, name)
        return tuple(name for name in self.chosen if name in names)

    def render(self, file: TemplateFile, answers: Answers) -> tuple[str, str] | None:
        """Return a file's path and text; None where the answers leave it out."""
        decides = file.key(answers)
        if decides is None:
            return None
        known = (file.path, decides)
        if known not in self._rendered:
            self._rendered[known] = file.render(answers)
        return self._rendered[known]

    def _axes_of_layer(self, layer: str) -> list[str]:
        if layer not in self._layers:
            names = tuple(name for name in self.chosen if name in depends_on(self.template, "layer"))
            taken = {values: answers["layer"][layer] for values, answers in self.all(names)}
            self._layers[layer] = list(reduce(names, taken)[0])
        return self._layers[layer]

    def _all(self, names: tuple[str, ...]) -> list[tuple[tuple[str, ...], Answers]]:
        rows = combinations(self.template, set(names))
        return [(tuple(json.dumps(row.get(name)) for name in names), self.template.all_answers(row)) for row in rows]


def reduce(names: Iterable[str], found: dict[tuple[str, ...], Any]) -> tuple[list[str], dict[tuple[str, ...], Any]]:
    """Leave out the questions whose answers make no difference.

    Args:
        names: the questions.
        found: what there is, by the answers to them.

    Returns:
        The questions that are left, and what there is by the answers to these.
    """
    names = list(names)
    for name in list(names):
        place = names.index(name)
        without: dict[tuple[str, ...], Any] = {}
        if all(
            without.setdefault(values[:place] + values[place + 1 :], each) == each for values, each in found.items()
        ):
            names.remove(name)
            found = without
    return names, found


def key(names: list[str], given: Answers) -> str:
    """Return the answers to some questions as the page's tables are written: JSON, or null where it was not asked."""
    return "|".join(json.dumps(given.get(name)) for name in names)


def about(path: str, text: str) -> str:
    """Return the sentence that tells what a file is for: the first of its docstring, its comment or its page.

    Raises:
        Refused: it says nothing of itself.
    """
    found = FIRST.match(re.sub(r"\s+", " ", _said(path, text)).strip())
    sentence = MARKDOWN.sub(r"\1", found[0].rstrip(":")) if found else ""
    sentence = sentence or next((words for pattern, words in ABOUT.items() if fnmatch(path, pattern)), "")
    if not sentence:
        raise Refused(
            f"{path} does not say what it is for.", "Begin it with a comment, or name it in commands/choose.py."
        )
    return sentence


def _said(path: str, text: str) -> str:
    if path.endswith(".py"):
        return ast.get_docstring(ast.parse(text)) or ""
    if path.endswith(".ipynb"):
        text = "".join(itertools.chain(*(cell["source"] for cell in json.loads(text)["cells"][:1])))
    if path.endswith((".md", ".ipynb")):
        blocks = [block for block in re.split(r"\n\s*\n", text.strip()) if not block.startswith(("<!--", "---"))]
        words = [block for block in blocks if block[0] not in "#|`<!["]
        return words[0] if words else blocks[0].lstrip("# ")
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line not in ("", "---", "#") and not line.startswith("#!")]
    comments = itertools.takewhile(bool, map(COMMENT.fullmatch, lines))
    described = re.search(r'^description: *"?([^"\n]*)"?$', text, re.MULTILINE)
    return " ".join(found[1] for found in comments if found) or (described[1] if described else "")


if __name__ == "__main__":
    main()
