"""What a template renders for which answers: Copier's rules without Copier's start-up.

Questions, settings and files are read and compiled once per process, so that thousands of renders
cost little more than the files that they really change. Tests hold all of it equal to what Copier
itself records and renders. What only Copier can do, such as running tasks, is refused by name.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import jinja2
import yaml
from jinja2 import meta
from jinja2.sandbox import SandboxedEnvironment
from pathspec import PathSpec

from .rendering import TEMPLATE

# Settings whose lists of several documents are joined; of any other the last one counts.
JOINED = ("_exclude", "_jinja_extensions", "_secret_questions", "_skip_if_exists")
# They run code or look at the machine: what they do is known only where Copier runs.
ONLY_COPIER = ("_tasks", "_migrations", "_jinja_extensions", "_external_data", "_skip_if_exists")
# Left out by Copier where a template names neither `_exclude` nor `_subdirectory`.
USUALLY_EXCLUDED = ("copier.yaml", "copier.yml", "~*", "*.py[co]", "__pycache__", ".git", ".DS_Store", ".svn")
UNDEFINED = {"jinja2.Undefined": jinja2.Undefined, "jinja2.StrictUndefined": jinja2.StrictUndefined}
COPIER_NAMES = {"_copier_conf", "_copier_answers", "_copier_operation"}


class RefusedError(ValueError):
    """An answer is refused: by its question's type, choices or validator. The message names both."""


class UnsupportedError(ValueError):
    """The template cannot be read, or uses what only Copier itself can do."""


class Rendered(NamedTuple):
    """One file of a project."""

    content: bytes
    executable: bool


@cache
def template(folder: Path = TEMPLATE) -> Template:
    """Return the template in a folder, this repository's own by default; read once per process.

    Raises:
        UnsupportedError: it cannot be read, or uses what only Copier itself can do.
    """
    return Template(folder)


class Template:
    """A template's folder: its questions, and what it renders."""

    def __init__(self, folder: Path) -> None:
        """Read copier.yml.

        Raises:
            UnsupportedError: it cannot be read, or uses what only Copier itself can do.
        """
        self.folder = folder
        self.settings = _settings(folder)
        for name in ONLY_COPIER:
            if self.settings.get(name):
                raise UnsupportedError(f"copier.yml has {name}, which only Copier itself can follow")
        self.suffix: str = self.settings.get("_templates_suffix", ".jinja")
        self.answers_file: str = self.settings.get("_answers_file", ".copier-answers.yml")
        self._texts: dict[str, jinja2.Template] = {}

    @cached_property
    def environment(self) -> SandboxedEnvironment:
        """Jinja as copier.yml sets it up, with the filters that Copier brings."""
        options = {"keep_trailing_newline": True, **self.settings.get("_envops", {})}
        options["undefined"] = UNDEFINED[options.get("undefined", "jinja2.Undefined")]
        return SandboxedEnvironment(
            loader=jinja2.FileSystemLoader(self.folder),
            extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
            **options,
        )

    def questions(self) -> dict[str, dict[str, Any]]:
        """Return the questions, computed ones included, in their order."""
        return {
            name: question if isinstance(question, dict) else {"default": question}
            for name, question in self.settings.items()
            if not name.startswith("_")
        }

    def all_answers(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answers that Copier would have for the given ones, with defaults and computed values.

        A given answer to a question that is not asked (its `when` is false) gives way to the default,
        as a recorded one does in `copier update`. Names that are no questions are kept: a default may
        look at the answer to a question that was renamed.

        Raises:
            RefusedError: an answer is of another type, is no choice, or a validator refuses it.
        """
        answers = {name: value for name, value in given.items() if not name.startswith("_")}
        for name, settings in self.questions().items():
            question = Question(self, name, settings)
            asked = question.asked(answers)
            if not asked:
                answers.pop(name, None)
            value = answers[name] if name in answers else question.default(answers)
            if value is not None or "default" in settings:
                answers[name] = question.parse(value, answers)
                if asked:
                    question.validate(answers)
            elif asked and settings.get("ask", True):
                raise RefusedError(f"{name} has no answer, and no default")
        return answers

    def recorded(self, answers: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of complete answers that Copier writes into the answers file."""
        secret = set(self.settings.get("_secret_questions", ()))
        return {
            name: answers[name]
            for name, settings in self.questions().items()
            if name in answers
            and not (name in secret or settings.get("secret"))
            and Question(self, name, settings).asked(answers)
        }

    def files(self) -> list[TemplateFile]:
        """Return every file that a project may get but the answers file, in the order of their paths."""
        return [file for file in self._all_files if not file.has_answers]

    def render(
        self, answers: Mapping[str, Any], *, origin: Mapping[str, str] | None = None, operation: str = "copy"
    ) -> dict[str, Rendered]:
        """Return the project for complete answers, by path.

        Args:
            answers: what `all_answers` returned.
            origin: `_src_path` and `_commit` for the answers file, which is left out without them.
            operation: "copy", or "update" to leave out what then belongs to the user alone.

        Raises:
            UnsupportedError: a file cannot be rendered by these rules.
        """
        context = dict(answers)
        if origin is not None:
            context["_copier_answers"] = {**origin, **self.recorded(answers)}
        project = {}
        for file in self._all_files if origin is not None else self.files():
            path = file.path_for(answers)
            if path is not None and not self._excluded(operation).match_file(path):
                project[path] = Rendered(file.content_for(context), file.executable)
        return project

    def excluded(self, operation: str = "update") -> list[str]:
        """Return the patterns of `_exclude` as they are for "copy" or "update".

        Raises:
            UnsupportedError: a pattern depends on an answer, which is not known at all times.
        """
        usual = () if self.settings.get("_subdirectory") else USUALLY_EXCLUDED
        patterns = (
            self.text(pattern, {"_copier_operation": operation}) for pattern in self.settings.get("_exclude", usual)
        )
        return [line for pattern in patterns for line in pattern.splitlines() if line.strip()]

    def belongs_to_user(self, path: str) -> bool:
        """Say whether a path of the project is the user's alone: an update leaves it as it is."""
        return self._excluded("update").match_file(path)

    def distinct_renders(self, many: Iterable[Mapping[str, Any]]) -> Iterator[tuple[TemplateFile, dict[str, Any]]]:
        """Yield each file with each complete set of answers that makes it different."""
        seen = set()
        for given in many:
            answers = self.all_answers(given)
            for file in self.files():
                key = file.key(answers)
                if key is not None and (file.path, key) not in seen:
                    seen.add((file.path, key))
                    yield file, answers

    def text(self, text: str, answers: Mapping[str, Any]) -> str:
        """Render a text.

        Raises:
            UnsupportedError: it is no Jinja, or asks for what is not known here.
        """
        try:
            if text not in self._texts:
                self._texts[text] = self.environment.from_string(text)
            return self._texts[text].render(_copier_conf={"answers_file": self.answers_file}, **answers)
        except jinja2.TemplateError as error:
            raise UnsupportedError(f"{text.strip()[:80]!r} cannot be rendered: {error}") from error

    def value(self, value: Any, answers: Mapping[str, Any]) -> Any:
        """Render a setting that may be a text, a list of texts, or neither."""
        if isinstance(value, list):
            return [self.value(item, answers) for item in value]
        return self.text(value, answers) if isinstance(value, str) else value

    @cached_property
    def root(self) -> Path:
        """The folder whose files a project gets."""
        return self.folder / self.text(self.settings.get("_subdirectory", ""), {})

    @cached_property
    def _all_files(self) -> list[TemplateFile]:
        found = []
        for folder, names, files in os.walk(self.root):
            names[:] = sorted(set(names) - {"__pycache__", ".git"})
            for path in (Path(folder) / name for name in sorted([*files, *names])):
                if path.is_symlink():
                    raise UnsupportedError(f"{path.relative_to(self.folder)} is a symbolic link")
                if path.is_file() and not (self.suffix and (path.parent / (path.name + self.suffix)).exists()):
                    found.append(TemplateFile(self, path.relative_to(self.root)))
        return sorted(found, key=lambda file: file.path)

    @cache  # noqa: B019 - a template lives as long as the process
    def _excluded(self, operation: str) -> PathSpec:
        return PathSpec.from_lines(
            "gitignore", [unicodedata.normalize("NFD", line) for line in self.excluded(operation)]
        )


def _settings(folder: Path) -> dict[str, Any]:
    """Return copier.yml with its documents laid over one another."""
    try:
        file = next(path for name in ("copier.yml", "copier.yaml") if (path := folder / name).exists())
        documents = [document for document in yaml.safe_load_all(file.read_text(encoding="utf-8")) if document]
    except StopIteration:
        raise UnsupportedError(f"{folder.name} holds no copier.yml, so it is no template") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UnsupportedError(f"copier.yml cannot be read: {error}") from error
    if not all(isinstance(document, dict) for document in documents):
        raise UnsupportedError("copier.yml is no mapping of names to settings and questions")
    merged: dict[str, Any] = {}
    for document in documents:
        merged |= document
    for name in JOINED:
        lists = [document[name] for document in documents if name in document]
        if lists:
            merged[name] = [item for items in lists for item in items]
    return merged


@dataclass
class Question:
    """One question, asked by Copier's rules."""

    template: Template
    name: str
    settings: dict[str, Any]

    def asked(self, answers: Mapping[str, Any]) -> bool:
        """Say whether its `when` holds."""
        return to_bool(self.template.value(self.settings.get("when", True), answers))

    def default(self, answers: Mapping[str, Any]) -> Any:
        """Return the default for the answers before it."""
        default = self.settings.get("default")
        return None if default == "{{ UNSET }}" else self.template.value(default, answers)

    def parse(self, value: Any, answers: Mapping[str, Any]) -> Any:
        """Return an answer in the question's type.

        Raises:
            RefusedError: it is of another type, or no choice.
        """
        choices = self.choices(answers)
        if not self.settings.get("multiselect"):
            return self._one(value, choices)
        # Copier keeps the items as they are written; BaseLoader makes nothing but texts of them.
        items = yaml.load(value, yaml.BaseLoader) if isinstance(value, str) else value  # noqa: S506
        chosen = [self._one(item, choices) for item in items]
        return [choice for choice in choices or () if choice in chosen]

    def validate(self, answers: Mapping[str, Any]) -> None:
        """Ask the validator about the answer.

        Raises:
            RefusedError: it refuses the answer.
        """
        try:
            message = self.template.text(self.settings.get("validator", ""), answers).strip()
        except (UnsupportedError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            message = str(error)
        if message:
            raise RefusedError(f"{self.name} is {answers[self.name]!r}: {message}")

    def listed(self, answers: Mapping[str, Any]) -> Any:
        """Return the choices as they are written for the answers before: a list, or by what people read."""
        choices = self.settings.get("choices")
        return yaml.safe_load(self.template.text(choices, answers)) if isinstance(choices, str) else choices

    def choices(self, answers: Mapping[str, Any]) -> list[Any] | None:
        """Return the values that can be chosen; None when the question takes any."""
        choices = self.listed(answers)
        if not choices:
            return None
        rows = choices.items() if isinstance(choices, dict) else choices
        values = [row[1] if isinstance(row, (tuple, list)) else row for row in rows]
        return [self._cast(self.template.value(value, answers)) for value in self._enabled(values, answers)]

    def _enabled(self, values: list[Any], answers: Mapping[str, Any]) -> Iterator[Any]:
        for value in values:
            if not isinstance(value, dict):
                yield value
            elif not self.template.text(value.get("validator", ""), answers):
                yield value["value"]

    def _one(self, value: Any, choices: list[Any] | None) -> Any:
        answer = self._cast(value)
        if choices is not None and answer not in choices:
            raise RefusedError(f"{self.name} is {answer!r}, which is no choice of it: {', '.join(map(str, choices))}")
        return answer

    def _cast(self, value: Any) -> Any:
        default = type(self.settings.get("default")).__name__
        kind = self.settings.get("type") or (default if default in CASTS else "yaml")
        try:
            return CASTS[kind](value)
        except KeyError:
            raise UnsupportedError(f"{self.name} is of the type {kind}, which Copier does not know") from None
        except (TypeError, ValueError, yaml.YAMLError) as error:
            raise RefusedError(f"{self.name} is {value!r}, which is no {kind}: {error}") from error


def to_bool(value: Any) -> bool:
    """Read a truth value as Copier does: a number, a word of YAML, or whatever Python finds true."""
    try:
        return bool(float(value))
    except (TypeError, ValueError):
        word = value.strip().lower() if isinstance(value, str) else value
    return bool(word) and word not in ("n", "no", "f", "false", "off", "~", "null", "none")


def _to_str(value: Any) -> str:
    if not isinstance(value, (str, int, float)):
        raise TypeError("a text or a number was expected")
    return str(value)


def _unless_read(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Return a cast that takes what is no text as already read."""
    return lambda value: read(value) if isinstance(value, str) else value


CASTS: dict[str, Callable[[Any], Any]] = {
    "bool": to_bool,
    "float": float,
    "int": int,
    "json": _unless_read(json.loads),
    "path": str,
    "str": _to_str,
    "yaml": _unless_read(yaml.safe_load),
}


@dataclass
class TemplateFile:
    """One file of a template, and what it becomes."""

    template: Template = field(repr=False)
    path: Path

    @cached_property
    def content(self) -> bytes:
        """What is in the file."""
        return (self.template.root / self.path).read_bytes()

    @cached_property
    def text(self) -> str:
        """The file's content as text."""
        return self.content.decode("utf-8")

    @cached_property
    def executable(self) -> bool:
        """Whether it can be run."""
        return bool((self.template.root / self.path).stat().st_mode & 0o111)

    @cached_property
    def rendered(self) -> bool:
        """Whether its content is Jinja."""
        return self.path.name.endswith(self.template.suffix)

    @cached_property
    def has_answers(self) -> bool:
        """Whether it becomes the answers file."""
        return "_copier_conf.answers_file" in self.path.name

    @property
    def layer(self) -> str:
        """The layer's name, or "" where the path begins with none."""
        first = self.path.parts[0]
        return first.removeprefix("{{ layer.").removesuffix(" }}") if first.startswith("{{ layer.") else ""

    @cached_property
    def uses(self) -> frozenset[str]:
        """The answers that decide what its path, after the layer, and its content become."""
        inner = "/".join(self.path.parts[1:] if self.layer else self.path.parts)
        syntax = self.template.environment.parse(inner + (self.text if self.rendered else ""))
        return frozenset(meta.find_undeclared_variables(syntax) - COPIER_NAMES)

    def key(self, answers: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Return the values that decide what the file becomes; None when it is left out."""
        if self.path_for(answers) is None:
            return None
        return tuple(repr(answers[name]) for name in sorted(self.uses))

    def path_for(self, answers: Mapping[str, Any]) -> str | None:
        """Return the path in the project; None when it is left out, as one of its parts is empty.

        Raises:
            UnsupportedError: the path leads out of the project.
        """
        parts = [self.template.text(part, answers) if "{" in part else part for part in self._parts]
        if "" in parts:
            return None
        path = PurePosixPath(*parts)
        if path.is_absolute() or ".." in path.parts:
            raise UnsupportedError(f"{self.path} would lie outside the project: {path}")
        return path.as_posix()

    def content_for(self, answers: Mapping[str, Any]) -> bytes:
        """Return the content in the project.

        Raises:
            UnsupportedError: it cannot be rendered by these rules.
        """
        if not self.rendered:
            return self.content
        try:
            return self._compiled.render(_copier_conf={"answers_file": self.template.answers_file}, **answers).encode()
        except jinja2.TemplateError as error:
            raise UnsupportedError(f"{self.path} cannot be rendered: {error}") from error

    def render(self, answers: Mapping[str, Any]) -> tuple[str, str]:
        """Return path and content of a text file that the answers do not leave out."""
        return self.path_for(answers) or "", self.content_for(answers).decode("utf-8")

    @cached_property
    def _compiled(self) -> jinja2.Template:
        return self.template.environment.get_template(
            (self.template.root / self.path).relative_to(self.template.folder).as_posix()
        )

    @cached_property
    def _parts(self) -> tuple[str, ...]:
        path = self.path.with_suffix("") if self.rendered and self.template.suffix else self.path
        return path.parts
