"""From YAML files with `${{ }}` to one expanded pipeline: parameters, conditional and repeated parts, templates.

Source: https://learn.microsoft.com/azure/devops/pipelines/process/template-expressions and
https://learn.microsoft.com/azure/devops/pipelines/process/templates
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from .expressions import Context, ExpressionError, evaluate, to_boolean, to_string


class TemplateError(ValueError):
    """A file that Azure Pipelines would refuse to expand."""


_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
# The parts in which a template may be called, and the same word is the template's own key.
PLACES = ("stages", "jobs", "steps", "variables")
_TYPES = {
    "string", "number", "boolean", "object", "step", "stepList", "job", "jobList", "deployment", "deploymentList",
    "stage", "stageList",
}  # fmt: skip


class _Loader(yaml.BaseLoader):
    """YAML as Azure Pipelines reads it: scalars are strings; no anchors, no key twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise TemplateError("anchors and aliases are not supported")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise TemplateError(f"'{twice.pop()}' is already defined")
        return super().construct_mapping(node, deep)


def load(file: Path) -> dict[str, Any]:
    """Return a file's content, every scalar a string.

    Raises:
        TemplateError: the file is missing, empty, or uses YAML that Azure Pipelines does not know.
    """
    if not file.is_file():
        raise TemplateError(f"{file.name}: no such file")
    content = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - it builds strings alone
    if not isinstance(content, dict):
        raise TemplateError(f"{file.name}: not a mapping")
    return content


@dataclass(frozen=True)
class _Place:
    """Where an expansion stands: its file's folder below the repository, and what expressions may name."""

    root: Path
    folder: str
    context: Context

    def having(self, **names: Any) -> _Place:
        return replace(self, context=self.context.having(**names))

    def with_variables(self, more: Mapping[str, str]) -> _Place:
        return self.having(variables={**self.context.names["variables"], **more})

    def value(self, expression: str) -> Any:
        try:
            return evaluate(expression, self.context)
        except ExpressionError as error:
            raise TemplateError(str(error)) from error


def compile_pipeline(
    root: Path, path: str, parameters: Mapping[str, Any] | None = None, variables: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Expand a pipeline.

    Args:
        root: the repository.
        path: of the pipeline's file, below the repository.
        parameters: given when the run is queued; texts, or structures for objects.
        variables: the predefined ones that are available in templates, such as Build.Reason.

    Returns:
        The document with stages alone: no expression, no template, no implied stage or job is left.

    Raises:
        TemplateError: for whatever Azure Pipelines would refuse.
    """
    document = load(root / path)
    bound = bind(document.pop("parameters", []), parameters or {}, path)
    place = _Place(root, posixpath.dirname(path), Context({"variables": dict(variables or {}), "parameters": bound}))
    for word in ("trigger", "pr", "schedules", "resources"):
        if _EXPRESSION.search(str(document.get(word, ""))):
            raise TemplateError(f"{path}: template expressions are not allowed in {word}")
    extends = document.pop("extends", None)
    document = _scope(document, place)
    if extends is not None:
        if any(word in document for word in ("stages", "jobs", "steps")):
            raise TemplateError(f"{path}: extends allows no stages, jobs or steps beside it")
        inner, template = _enter(extends, place.with_variables(named_variables(document.get("variables", []))))
        expanded = _scope(template, inner)
        document |= expanded | {"variables": document.get("variables", []) + expanded.get("variables", [])}
    if "steps" in document:
        document["jobs"] = [{"job": "Job", "steps": document.pop("steps")}]
    if "jobs" in document:
        document["stages"] = [{"stage": "__default", "jobs": document.pop("jobs")}]
    if not document.get("stages"):
        raise TemplateError(f"{path}: no stages, jobs or steps")
    return document


# ------------------------------------------------------------------------------------- parameters


def bind(declared: Any, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the parameters' values, each of the type that was declared.

    Raises:
        TemplateError: one is unknown, missing, of another type, or not among `values`.
    """
    if isinstance(declared, Mapping):  # the short form: name and default
        declared = [{"name": name, "default": default} for name, default in declared.items()]
    declared = declared or []
    if unknown := set(given) - {parameter["name"] for parameter in declared}:
        raise TemplateError(f"{where}: unexpected parameter '{min(unknown)}'")
    values = {}
    for parameter in declared:
        name = parameter["name"]
        if name not in given and "default" not in parameter:
            raise TemplateError(f"{where}: a value for the '{name}' parameter must be provided")
        values[name] = _typed(parameter, given.get(name, parameter.get("default")), where)
    return values


def _typed(parameter: Mapping[str, Any], value: Any, where: str) -> Any:
    name, kind = parameter["name"], parameter.get("type", "string")
    if kind not in _TYPES:
        raise TemplateError(f"{where}: '{kind}' is no type of a parameter")
    if kind == "boolean":
        if to_string(value).lower() not in ("true", "false"):
            raise TemplateError(f"{where}: '{name}' is no boolean: {value!r}")
        value = to_string(value).lower() == "true"
    elif kind == "number":
        try:
            number = float(to_string(value))
        except ValueError as error:
            raise TemplateError(f"{where}: '{name}' is no number: {value!r}") from error
        value = int(number) if number.is_integer() else number
    elif kind == "string":
        if isinstance(value, list | Mapping):
            raise TemplateError(f"{where}: '{name}' is no string")
        value = to_string(value)
    elif kind.endswith("List") and not isinstance(value, list):
        raise TemplateError(f"{where}: '{name}' is no list")
    if "values" in parameter and to_string(value) not in [to_string(allowed) for allowed in parameter["values"]]:
        raise TemplateError(f"{where}: '{name}' is not one of {', '.join(parameter['values'])}: {value!r}")
    return value


# -------------------------------------------------------------------------------------- expansion


def _text(text: str, place: _Place) -> Any:
    """Return a scalar with its expressions replaced; one that is nothing but an expression keeps its type."""
    whole = _EXPRESSION.fullmatch(text.strip())
    if whole and "${{" not in whole[1]:
        return place.value(whole[1])
    return _EXPRESSION.sub(lambda match: to_string(place.value(match[1])), text)


def _directive(key: Any) -> tuple[str, str]:
    """Return the word and the rest of a key such as `${{ if … }}`; two empty texts for any other key."""
    match = _EXPRESSION.fullmatch(key.strip()) if isinstance(key, str) else None
    word, _, rest = match[1].strip().partition(" ") if match else ("", "", "")
    return (word, rest.strip()) if word in ("if", "elseif", "else", "each", "insert") else ("", "")


def expand(node: Any, place: _Place) -> Any:
    if isinstance(node, str):
        return _text(node, place)
    if isinstance(node, list):
        return _list(node, place)
    return _mapping(node, place) if isinstance(node, Mapping) else node


def _kept(entries: Iterable[tuple[Any, Any]], place: _Place) -> Iterator[tuple[bool, Any, Any, _Place]]:
    """Yield what the directives among (key, content) keep: is it from within one, its key, its content, its place."""
    open_chain = taken = False
    for key, content in entries:
        word, rest = _directive(key)
        if word in ("elseif", "else") and not open_chain:
            raise TemplateError(f"{word} without if")
        if word in ("if", "elseif", "else"):
            before = taken and word != "if"
            hit = not before and (word == "else" or to_boolean(place.value(rest)))
            open_chain, taken = word != "else", before or hit
            if hit:
                yield True, key, content, place
            continue
        open_chain = False
        if word == "insert":
            yield True, key, content, place
        elif word == "each":
            name, _, collection = rest.partition(" in ")
            for item in _each(place.value(collection)):
                yield True, key, content, place.having(**{name.strip(): item})
        else:
            yield False, key, content, place


def _each(collection: Any) -> list[Any]:
    if isinstance(collection, Mapping):
        return [{"key": key, "value": value} for key, value in collection.items()]
    if isinstance(collection, list):
        return collection
    raise TemplateError(f"each: not a sequence or mapping: {collection!r}")


def _list(items: list[Any], place: _Place, word: str = "") -> list[Any]:
    """Expand a sequence; `word` says of what, where templates may be called."""
    entries = []
    for item in items:
        key = next(iter(item)) if isinstance(item, Mapping) and len(item) == 1 else None
        word_of_key = _directive(key)[0]
        # With a mapping below it, `each` makes entries of one mapping, which is the item.
        whole = not word_of_key or (word_of_key == "each" and isinstance(item[key], Mapping))
        entries.append((None, item) if whole else (key, item[key]))
    result: list[Any] = []
    for from_directive, _, content, inner in _kept(entries, place):
        if not from_directive:
            result += _item(content, inner, word)
            continue
        expanded = _list(content, inner, word) if isinstance(content, list) else expand(content, inner)
        result += expanded if isinstance(expanded, list) else [expanded]
    return result


def _item(item: Any, place: _Place, word: str) -> list[Any]:
    if isinstance(item, str) and _EXPRESSION.fullmatch(item.strip()):
        value = _text(item, place)
        return value if isinstance(value, list) else [value]  # a list in a list is laid into it
    if word and isinstance(item, Mapping) and "template" in item:
        return _called(item, place, word)
    if word in ("stages", "jobs") and isinstance(item, Mapping):
        return [_scope(item, place)]
    return [expand(item, place)]


def _mapping(mapping: Mapping[str, Any], place: _Place) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for from_directive, key, content, inner in _kept(mapping.items(), place):
        if not from_directive:
            result[to_string(_text(key, inner))] = _part(key, content, inner)
            continue
        expanded = expand(content, inner)
        if not isinstance(expanded, Mapping):
            raise TemplateError(f"expected a mapping, not {expanded!r}")
        result.update(expanded)
    return result


def _part(key: str, content: Any, place: _Place) -> Any:
    if key in PLACES and isinstance(content, list):
        return _list(content, place, key)
    return expand(content, place)


def _scope(item: Mapping[str, Any], place: _Place) -> dict[str, Any]:
    """Expand what may have variables: they are in effect in the rest of it."""
    result: dict[str, Any] = {}
    if "variables" in item:
        result["variables"] = _variables(item["variables"], place)
        place = place.with_variables(named_variables(result["variables"]))
    return _mapping({key: value for key, value in item.items() if key != "variables"}, place) | result


def _variables(declared: Any, place: _Place) -> list[dict[str, Any]]:
    """Expand variables; each one sees those before it."""
    if isinstance(declared, Mapping):
        return [{"name": name, "value": to_string(value)} for name, value in _mapping(declared, place).items()]
    result: list[dict[str, Any]] = []
    for item in declared:
        result += _list([item], place, "variables")
        place = place.with_variables(named_variables(result))
    return result


def named_variables(declared: list[dict[str, Any]]) -> dict[str, str]:
    """Return the variables that are spelt out; those of groups are not known before the run."""
    return {item["name"]: to_string(item.get("value", "")) for item in declared if "name" in item}


# -------------------------------------------------------------------------------------- templates


def _enter(call: Mapping[str, Any], place: _Place) -> tuple[_Place, dict[str, Any]]:
    """Return the place inside the template that is called, and the template without its parameters."""
    if unknown := set(call) - {"template", "parameters"}:
        raise TemplateError(f"unexpected value '{min(unknown)}' beside template")
    name = to_string(_text(call["template"], place)).removesuffix("@self")
    if "@" in name:
        raise TemplateError(f"{name}: templates of other repositories are not supported here")
    path = name.lstrip("/") if name.startswith("/") else posixpath.normpath(posixpath.join(place.folder, name))
    template = load(place.root / path)
    given = expand(call.get("parameters") or {}, place)
    bound = bind(template.pop("parameters", []), given, path)
    variables = place.context.names["variables"]
    return _Place(place.root, posixpath.dirname(path), Context({"variables": variables, "parameters": bound})), template


def _called(call: Mapping[str, Any], place: _Place, word: str) -> list[Any]:
    inner, template = _enter(call, place)
    if set(template) != {word}:
        raise TemplateError(f"{call['template']}: expected {word} alone, not {', '.join(template)}")
    if word == "variables":
        return _variables(template[word], inner)
    return _list(template[word], inner, word)
