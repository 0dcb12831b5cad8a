"""One value of a table, read as the contract says: the same rules for files, frames and requests.

The contract speaks, and nothing is guessed: what it calls text stays as it was written, and a number has one
spelling in every format. No library of tables is needed, so that the service reads by the same rules.

    text      as it was written; a whole number is told by its digits
    integer   a number without a part
    number    digits, at most one point, an exponent; NaN and infinity are no spellings of a number
    boolean   true and false in any case, 1 and 0
    time      ISO 8601, as 2025-01-31T05:45:00Z; without a zone it is UTC. No numbers, and no 01/02/2025
    category  a value of the list, read as what the list holds; any other text as `other`, where the list has one

Missing is what is null, NaN, or an empty text, as an empty field of CSV is. No word stands for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final, Literal

import numpy as np

from twoloops.problems.tabular.signature import Feature, Signature

Kind = Literal["text", "integer", "number", "boolean", "time", "category"]
Value = Any

EXACT: Final = 2**53  # up to here each whole number is a float64 of its own
LARGEST_INTEGER: Final = 2**63 - 1
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)\s?(Z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_TRUTH: Final = {"true": True, "false": False}

# What is needed, in words; and what helps where it is not there.
NOUNS: Final[dict[Kind, str]] = {
    "text": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "time": "a time",
    "category": "a known value",
}
HELP: Final[dict[Kind, str]] = {
    "text": "A key is text or a whole number.",
    "integer": "A missing value is an empty field or null, and no word.",
    "number": "A missing value is an empty field or null, and no word; true and false need a column of bool.",
    "boolean": "A missing value is an empty field or null, and no word.",
    "time": "Write a time as 2025-01-31T05:45:00Z (ISO 8601): a number and 01/02/2025 have more than one meaning.",
    "category": "Values are told apart by upper and lower case; a missing one is an empty field or null.",
}


@dataclass(frozen=True)
class Column:
    """What the contract says about the values of one column."""

    name: str
    kind: Kind
    categories: tuple[Any, ...] = ()
    other: str | None = None  # of the categories: what any other text is read as; None: it cannot be read


def of_feature(feature: Feature) -> Column:
    """Return how an input column is read."""
    if feature.kind == "category":
        return Column(feature.name, "category", feature.categories, feature.other)
    kinds: dict[str, Kind] = {"float": "number", "integer": "integer", "boolean": "boolean"}
    return Column(feature.name, kinds[feature.dtype])


def of_signature(signature: Signature) -> dict[str, Column]:
    """Return how each column that a model needs is read, by name: the entity, the event time, the features."""
    columns = {signature.entity: Column(signature.entity, signature.entity_kind)}
    if signature.event_time is not None:
        columns[signature.event_time] = Column(signature.event_time, "time")
    return columns | {feature.name: of_feature(feature) for feature in signature.features}


def is_missing(value: object) -> bool:
    """Say whether a value stands for no value."""
    return value is None or value in ("", b"") or value != value  # noqa: PLR0124 - only NaN differs from itself


def reader(column: Column) -> Callable[[Any], Value]:
    """Return what reads a value, of any type and not missing; it raises ValueError for what is none of the kind."""
    if column.kind == "category":
        return _category(column.categories, column.other)
    readers: dict[Kind, Callable[[Any], Value]] = {
        "text": key_text,
        "integer": _integer,
        "number": _number,
        "boolean": _boolean,
        "time": _time,
    }
    return readers[column.kind]


def key_text(value: Any) -> str:
    """Return text as it is, and a whole number as its digits.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode()  # UnicodeDecodeError is a ValueError
    return str(_integer(value))


def _spelled(value: Any) -> Any:
    """Return text without the blanks around it; anything else as it is."""
    if isinstance(value, bytes):
        value = value.decode()
    return value.strip(" \t") if isinstance(value, str) else value


def _number(value: Any) -> float:
    value = _spelled(value)
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            raise ValueError(value)
        return float(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | Decimal | np.number):
        raise ValueError(value)
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _integer(value: Any) -> int:
    value = _spelled(value)
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    is_spelled = isinstance(value, str) and _INTEGER.fullmatch(value)
    if is_integer or is_spelled or (isinstance(value, Decimal) and value == value.to_integral_value()):
        whole = int(value)
    else:
        number = _number(value)
        if not number.is_integer() or abs(number) > EXACT:
            raise ValueError(value)
        whole = int(number)
    if not -LARGEST_INTEGER <= whole <= LARGEST_INTEGER:
        raise ValueError(value)
    return whole


def _boolean(value: Any) -> bool:
    value = _spelled(value)
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, str) and value.lower() in _TRUTH:
        return _TRUTH[value.lower()]
    number = _number(value)
    if number not in (0.0, 1.0):
        raise ValueError(value)
    return number == 1.0


def _time(value: Any) -> datetime:
    value = _spelled(value)
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        moment = datetime.combine(value, time())
    else:
        found = TIME.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise ValueError(value)
        day, clock, zone = found.groups()
        zone = "+00:00" if zone in ("Z", "UTC") else zone or ""
        moment = datetime.fromisoformat(f"{day}T{clock}{zone}" if clock else day)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _category(categories: tuple[Any, ...], other: str | None) -> Callable[[Any], Value]:
    if other is not None:
        known_texts = {each: each for each in categories}
        return lambda value: known_texts.get(key_text(value), other)
    if all(isinstance(each, str) for each in categories):
        return _one_of({each: each for each in categories}, key_text)
    if all(isinstance(each, bool) for each in categories):
        return _one_of({each: each for each in categories}, _boolean)
    if all(isinstance(each, int | float) and not isinstance(each, bool) for each in categories):
        # A column of float32 holds a decimal as float32 rounds it.
        return _one_of(
            {float(np.float32(each)): each for each in categories} | {each: each for each in categories}, _number
        )
    known = {str(each): each for each in categories}  # of several types, in models of older releases
    return _one_of(known, lambda value: value.decode() if isinstance(value, bytes) else str(value))


def _one_of(known: dict[Any, Any], read: Callable[[Any], Any]) -> Callable[[Any], Value]:
    def category(value: Any) -> Value:
        found = read(value)
        if found not in known:
            raise ValueError(value)
        return known[found]

    return category


def explain(kinds: Iterable[Kind]) -> str:
    """Return what helps where values of these kinds could not be read."""
    return " ".join(dict.fromkeys(HELP[kind] for kind in kinds))
