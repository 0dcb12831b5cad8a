"""The expressions of Azure Pipelines: their grammar, their values and casts, their functions.

One language serves `${{ }}`, `$[ ]` and `condition:`; they differ in the names that they know.
Source: https://learn.microsoft.com/azure/devops/pipelines/process/expressions
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class ExpressionError(ValueError):
    """An expression that Azure Pipelines would refuse."""


@dataclass(frozen=True)
class Version:
    """A version literal: two to four numbers."""

    parts: tuple[int, ...]

    def __str__(self) -> str:
        return ".".join(map(str, self.parts))


Function = Callable[..., Any]


@dataclass(frozen=True)
class Context:
    """What an expression may name: contexts such as `variables`, and the functions of its place."""

    names: Mapping[str, Any]
    functions: Mapping[str, Function] = field(default_factory=dict)

    def having(self, **names: Any) -> Context:
        """Return a context that knows these names too."""
        return Context({**self.names, **names}, self.functions)


def evaluate(text: str, context: Context) -> Any:
    """Return an expression's value.

    Raises:
        ExpressionError: it does not parse, names what is unknown, or a comparison cannot convert.
    """
    return _Parser(text).parse()(context)


# ------------------------------------------------------------------------------------------ casts


def to_boolean(value: Any) -> bool:
    """Cast to Boolean: null, 0 and the empty string are false, everything else is true."""
    return value not in (None, "") and value is not False and not (_is_number(value) and value == 0)


def to_string(value: Any) -> str:
    """Cast to String: true and false are capitalized, null is empty, a complex object is empty."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value) if isinstance(value, int | Version) else ""


_NUMBER = re.compile(r"\s*[+-]?(\d[\d,]*)?(\.\d+)?\s*")
_VERSION = re.compile(r"\d+(\.\d+){1,3}")


class _NotConvertible:
    """What a failed conversion gives; equal to nothing."""


_FAILED = _NotConvertible()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _to_number(value: Any) -> Any:
    if value is None or value == "":
        return 0
    if isinstance(value, bool) or _is_number(value):
        return value + 0
    if isinstance(value, str) and _NUMBER.fullmatch(value) and any(map(str.isdigit, value)):
        return float(value.replace(",", ""))
    return _FAILED


def _to_version(value: Any) -> Any:
    text = to_string(value) if _is_number(value) else value
    if isinstance(text, str) and _VERSION.fullmatch(text):
        return Version(tuple(map(int, text.split("."))))
    return _FAILED


def _like(value: Any, model: Any) -> Any:
    """Return `value` converted to the type of `model`, or _FAILED."""
    if isinstance(model, bool):
        return to_boolean(value)
    if model is None:
        return None if value in (None, "") and not _is_number(value) else _FAILED
    if _is_number(model):
        return _to_number(value)
    if isinstance(model, str):
        return _FAILED if isinstance(value, Mapping | list) else to_string(value)
    if isinstance(model, Version):
        return value if isinstance(value, Version) else _to_version(value)
    return value if type(value) is type(model) else _FAILED


def _equal(left: Any, right: Any) -> bool:
    right = _like(right, left)
    if right is _FAILED:
        return False
    if isinstance(left, str):
        return left.upper() == right.upper()
    return bool(left is right if isinstance(left, Mapping | list) else left == right)


def _order(left: Any, right: Any) -> int:
    """Return -1, 0 or 1."""
    converted = _like(right, left)
    if converted is _FAILED or left is None or isinstance(left, Mapping | list):
        raise ExpressionError(f"cannot compare {left!r} with {right!r}")
    if isinstance(left, str):
        left, converted = left.upper(), converted.upper()
    if isinstance(left, Version):
        left, converted = left.parts, converted.parts
    return int(left > converted) - int(left < converted)


# -------------------------------------------------------------------------------------- functions


def _contains_value(collection: Any, value: Any) -> bool:
    items = collection.values() if isinstance(collection, Mapping) else collection
    if not isinstance(collection, Mapping | list):
        return False
    return any(_equal(value, item) for item in items)


def _format(template: Any, *values: Any) -> str:
    def put(match: re.Match[str]) -> str:
        token = match[0]
        if token in ("{{", "}}"):
            return token[0]
        if match[1] is None or int(match[1]) >= len(values):
            raise ExpressionError(f"format: {token!r} has no argument")
        return to_string(values[int(match[1])])

    return re.sub(r"\{\{|\}\}|\{(\d+)\}|[{}]", put, to_string(template))


def _join(separator: Any, items: Any) -> str:
    return to_string(separator).join(map(to_string, items)) if isinstance(items, list) else to_string(items)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list | Mapping) else len(to_string(value))


def _plain(value: Any) -> Any:
    return to_string(value) if isinstance(value, Version) else value


def _affix(method: str) -> Function:
    return lambda text, part: getattr(to_string(text).upper(), method)(to_string(part).upper())


# By lower-case name: fewest and most arguments, and the function. `and`, `or` and `coalesce` stop early, see _Parser.
FUNCTIONS: dict[str, tuple[int, int, Function]] = {
    "contains": (2, 2, lambda text, part: to_string(part).upper() in to_string(text).upper()),
    "containsvalue": (2, 2, _contains_value),
    "converttojson": (1, 1, lambda value: json.dumps(value, indent=2, default=to_string)),
    "endswith": (2, 2, _affix("endswith")),
    "eq": (2, 2, _equal),
    "format": (1, 99, _format),
    "ge": (2, 2, lambda left, right: _order(left, right) >= 0),
    "gt": (2, 2, lambda left, right: _order(left, right) > 0),
    "iif": (3, 3, lambda condition, yes, no: yes if to_boolean(condition) else no),
    "in": (1, 99, lambda value, *others: any(_equal(value, other) for other in others)),
    "join": (2, 2, _join),
    "le": (2, 2, lambda left, right: _order(left, right) <= 0),
    "length": (1, 1, _length),
    "lower": (1, 1, lambda text: to_string(text).lower()),
    "lt": (2, 2, lambda left, right: _order(left, right) < 0),
    "ne": (2, 2, lambda left, right: not _equal(left, right)),
    "not": (1, 1, lambda value: not to_boolean(value)),
    "notin": (1, 99, lambda value, *others: not any(_equal(value, other) for other in others)),
    "replace": (3, 3, lambda text, old, new: to_string(text).replace(to_string(old), to_string(new))),
    "split": (2, 2, lambda text, signs: re.split(f"[{re.escape(to_string(signs))}]", to_string(text))),
    "startswith": (2, 2, _affix("startswith")),
    "trim": (1, 1, lambda text: to_string(text).strip()),
    "upper": (1, 1, lambda text: to_string(text).upper()),
    "xor": (2, 2, lambda left, right: to_boolean(left) != to_boolean(right)),
}
_LAZY = {"and": 2, "or": 2, "coalesce": 2}

# ---------------------------------------------------------------------------------------- grammar

_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<version>\d+\.\d+\.\d+(?:\.\d+)?)|(?P<number>-?(?:\d+(?:\.\d+)?|\.\d+))"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<sign>[()\[\],.*]))"
)
_LITERALS = {"true": True, "false": False, "null": None}

Node = Callable[[Context], Any]


class _Parser:
    """A recursive descent over one expression; gives a function of the context."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                raise ExpressionError(f"unexpected {text[at:].strip()[:10]!r} in {text!r}")
            self._tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            at = match.end()
        self._next = 0

    def parse(self) -> Node:
        node = self._value()
        if self._next < len(self._tokens):
            raise ExpressionError(f"unexpected {self._peek()!r} in {self._text!r}")
        return node

    def _peek(self) -> str:
        return self._tokens[self._next][1] if self._next < len(self._tokens) else ""

    def _take(self, expected: str = "") -> tuple[str, str]:
        if self._next >= len(self._tokens) or (expected and self._peek() != expected):
            raise ExpressionError(f"expected {expected or 'a value'} in {self._text!r}")
        self._next += 1
        return self._tokens[self._next - 1]

    def _value(self) -> Node:
        kind, text = self._take()
        node: Node
        if kind == "string":
            node = _constant(text[1:-1].replace("''", "'"))
        elif kind == "number":
            node = _constant(float(text) if "." in text else int(text))
        elif kind == "version":
            node = _constant(Version(tuple(map(int, text.split(".")))))
        elif kind == "name" and self._peek() == "(":
            node = self._call(text)
        elif kind == "name" and text.lower() in _LITERALS:
            node = _constant(_LITERALS[text.lower()])
        elif kind == "name":
            node = _named(text, self._text)
        else:
            raise ExpressionError(f"unexpected {text!r} in {self._text!r}")
        return self._members(node)

    def _members(self, node: Node) -> Node:
        while self._peek() in (".", "["):
            if self._take()[1] == "[":
                node = _member(node, self._value())
                self._take("]")
            elif self._peek() == "*":
                self._take()
                node = _items(node)
            else:
                node = _member(node, _constant(self._take()[1]))
        return node

    def _call(self, name: str) -> Node:
        self._take("(")
        arguments: list[Node] = []
        while self._peek() != ")":
            if arguments:
                self._take(",")
            arguments.append(self._value())
        self._take(")")
        lower, count = name.lower(), len(arguments)
        fewest, most = (_LAZY[lower], 99) if lower in _LAZY else FUNCTIONS.get(lower, (0, 99))[:2]
        if not fewest <= count <= most:
            raise ExpressionError(f"{name} takes {fewest} to {most} arguments, not {count}, in {self._text!r}")
        if lower in _LAZY:
            return _lazy(lower, arguments)

        def call(context: Context) -> Any:
            values = [argument(context) for argument in arguments]
            if lower in FUNCTIONS:
                return FUNCTIONS[lower][2](*values)
            local = {key.lower(): function for key, function in context.functions.items()}
            if lower not in local:
                raise ExpressionError(f"unknown function {name!r} in {self._text!r}")
            return local[lower](*values)

        return call


def _constant(value: Any) -> Node:
    return lambda context: value


def _lazy(name: str, arguments: Sequence[Node]) -> Node:
    def call(context: Context) -> Any:
        values = (argument(context) for argument in arguments)
        if name == "and":
            return all(map(to_boolean, values))
        if name == "or":
            return any(map(to_boolean, values))
        return next((value for value in values if value is not None and value != ""), None)

    return call


def _named(name: str, text: str) -> Node:
    def look_up(context: Context) -> Any:
        for key, value in context.names.items():
            if key.lower() == name.lower():
                return value
        raise ExpressionError(f"unrecognized value {name!r} in {text!r}")

    return look_up


class _Filtered(list[Any]):
    """The items that `*` gave: a further index is applied to each of them."""


def _items(node: Node) -> Node:
    def items(context: Context) -> Any:
        value = node(context)
        return _Filtered(value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [])

    return items


def _member(node: Node, index: Node) -> Node:
    def member(context: Context) -> Any:
        value, key = node(context), index(context)
        if isinstance(value, _Filtered):
            found = (_look_up(item, key) for item in value)
            return _Filtered(item for item in found if item is not None)
        return _look_up(value, key)

    return member


def _look_up(value: Any, key: Any) -> Any:
    """Return a member, whose name may be written in either case; null when there is none."""
    if isinstance(value, list):
        number = _to_number(key)
        return value[int(number)] if _is_number(number) and 0 <= number < len(value) else None
    if isinstance(value, Mapping):
        wanted = to_string(key).lower()
        return next((_plain(item) for name, item in value.items() if str(name).lower() == wanted), None)
    return None
