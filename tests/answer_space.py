"""All answers against all files, in seconds: Copier's rules without Copier's start-up.

A file is rendered once for each distinct combination of the answers that it depends on, so that
thousands of combinations cost no more than the files they really change. A test holds what is
computed here equal to what Copier itself records and renders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml
from jinja2 import meta
from jinja2.sandbox import SandboxedEnvironment

from commands.rendering import TEMPLATE

FOLDER = TEMPLATE / "template"
SUFFIX = ".jinja"
CASTS: dict[str, Callable[[Any], Any]] = {
    "str": str,
    "float": float,
    "bool": lambda value: yaml.safe_load(str(value)),
    "yaml": yaml.safe_load,
}
# What Copier itself puts beside the answers.
COPIER = {"_copier_conf": {"answers_file": ".copier-answers.yml"}, "_copier_operation": "copy", "_copier_answers": {}}


class RefusedError(ValueError):
    """A validator refused an answer; the message is the validator's."""


@cache
def environment() -> SandboxedEnvironment:
    """Return Jinja as copier.yml sets it up, with the filters that Copier brings."""
    options = dict(_settings()["_envops"])
    assert options.pop("undefined") == "jinja2.StrictUndefined"
    return SandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
        **options,
    )


@cache
def _settings() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((TEMPLATE / "copier.yml").read_text(encoding="utf-8"))
    return content


def questions() -> dict[str, dict[str, Any]]:
    """Return the questions, computed ones included, in their order."""
    return {name: question for name, question in _settings().items() if not name.startswith("_")}


def all_answers(given: dict[str, Any]) -> dict[str, Any]:
    """Return the answers that Copier would have for the given ones, with defaults and computed values.

    Raises:
        RefusedError: a validator refuses an answer.
    """
    answers: dict[str, Any] = dict(given)
    for name, question in questions().items():
        value = given.get(name, question["default"])
        if name not in given and isinstance(value, str):
            value = _render(value, answers)
        answers[name] = CASTS[question["type"]](value)
        message = _render(question.get("validator", ""), answers).strip()
        if message:
            raise RefusedError(message)
    return answers


@cache
def _compiled(text: str) -> jinja2.Template:
    return environment().from_string(text)


def _render(text: str, answers: dict[str, Any]) -> str:
    return _compiled(text).render(**COPIER, **answers)


@dataclass
class TemplateFile:
    """One file of template/, and what it becomes."""

    path: Path
    text: str = field(repr=False)
    uses: frozenset[str]

    @property
    def layer(self) -> str:
        """The layer's name, or "" for the answers file."""
        first = self.path.parts[0]
        return first.removeprefix("{{ layer.").removesuffix(" }}") if first.startswith("{{ layer.") else ""

    def key(self, answers: dict[str, Any]) -> tuple[Any, ...] | None:
        """Return the values that decide what the file becomes; None when its layer is left out."""
        if self.layer and not answers["layer"][self.layer]:
            return None
        return tuple(repr(answers[name]) for name in sorted(self.uses))

    def render(self, answers: dict[str, Any]) -> tuple[str, str]:
        """Return the rendered path and the rendered text."""
        parts = [_render(part, answers) for part in self.path.parts]
        name = "/".join(part for part in parts if part not in (".", "")).removesuffix(SUFFIX)
        return name, _render(self.text, answers) if self.path.suffix == SUFFIX else self.text


@cache
def template_files() -> list[TemplateFile]:
    """Return every file of template/ but the answers file, which only Copier can fill."""
    files = []
    for path in sorted(FOLDER.rglob("*")):
        relative = path.relative_to(FOLDER)
        if path.is_dir() or "_copier_conf" in relative.parts[0] or "__pycache__" in relative.parts:
            continue
        text = path.read_text(encoding="utf-8")
        rendered = "/".join(relative.parts[1:]) + (text if path.suffix == SUFFIX else "")
        names = meta.find_undeclared_variables(environment().parse(rendered))
        files.append(TemplateFile(relative, text, frozenset(names - set(COPIER))))
    return files


def distinct_renders(many: Iterator[dict[str, Any]]) -> Iterator[tuple[TemplateFile, dict[str, Any]]]:
    """Yield each file with each complete set of answers that makes it different."""
    seen = set()
    for given in many:
        answers = all_answers(given)
        for file in template_files():
            key = file.key(answers)
            if key is not None and (file.path, key) not in seen:
                seen.add((file.path, key))
                yield file, answers
