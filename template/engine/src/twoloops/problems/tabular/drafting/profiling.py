"""What a table says by itself: the kind, the range, the values and the gaps of each column. No contract is asked.

Text is looked at as a person would: what all of it can be read as, once the words are gone that stand for no value.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from twoloops.problems.tabular import columns
from twoloops.problems.tabular.files import read_columns
from twoloops.problems.tabular.reading import EXACT

Kind = Literal["number", "integer", "boolean", "time", "text", "empty", "nested"]

# Words that stand for no value wherever they are; and those that could also be a value, such as NA for Namibia.
NO_VALUES: Final = ("NaN", "nan", "null", "NULL", "#N/A", "<NA>")
PERHAPS_NO_VALUES: Final = ("NA", "N/A", "n/a", "na", "None", "none", "?", "-", "--", ".")
MOST_LEVELS: Final = 1000  # different values that are kept of a column
FEW_INTEGERS: Final = 50
LOOKED_AT: Final = 1000  # values that tell how a text is written
# How dates and numbers are written that the contract does not read.
OTHER_DATES: Final = re.compile(r"\d{1,2}[./-]\d{1,2}[./-](\d{2}|\d{4})(\s.*)?|\d{4}[./]\d{1,2}[./]\d{1,2}(\s.*)?")
OTHER_NUMBERS: Final = re.compile(r"[+-]?\d{1,3}([., ']\d{3})*([.,]\d+)?\s?%?|[$€£]\s?[\d.,]+|[\d.,]+\s?[$€£]")
LEADING_ZERO: Final = re.compile(r"0[0-9]+")


@dataclass(frozen=True)
class Profile:
    """One column.

    Attributes:
        name: of the column.
        kind: what its values are.
        values: as they are read, null where there is none, shape [rows].
        missing: how many rows have no value, words for it among them.
        distinct: how many different values there are.
        levels: different values with their numbers of rows, most frequent first; empty where there are many.
        minimum: the smallest number.
        maximum: the largest number.
        words: what was taken for no value, with its number of rows.
        written: why its text is no number and no time, in words; empty where there is nothing to say.
        codes: a digest of which rows have equal values: two columns with the same one say the same.
    """

    name: str
    kind: Kind
    values: Any
    missing: int
    distinct: int
    levels: tuple[tuple[Any, int], ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    words: Mapping[str, int] = field(default_factory=dict)
    written: str = ""
    codes: str = ""

    @property
    def rows(self) -> int:
        """How many rows the table has."""
        return len(self.values)

    @property
    def known(self) -> int:
        """How many rows have a value."""
        return self.rows - self.missing

    @property
    def numeric(self) -> bool:
        """Whether it is a number of any kind."""
        return self.kind in ("number", "integer")


def profile_table(source: str) -> dict[str, Profile]:
    """Return what each column of a table says, by name.

    Raises:
        ProjectError: the table cannot be read, or holds no rows.
    """
    raw = {name: columns.plain(column) for name, column in read_columns(source).items()}
    raw = {
        name: pc.cast(each, each.type.value_type) if types.is_dictionary(each.type) else each
        for name, each in raw.items()
    }
    looks = {name: _Text(column) for name, column in raw.items() if types.is_string(column.type)}
    # A word that stands for no value in one column does so in the others.
    everywhere = {word for look in looks.values() if look.kind is not None for word in look.words}
    for name, look in looks.items():
        if look.kind is None:
            looks[name] = _Text(raw[name], (*NO_VALUES, *everywhere))
    return {name: _profile(name, column, looks.get(name)) for name, column in raw.items()}


class _Text:
    """What text can be read as, without the words that stand for no value."""

    def __init__(self, column: pa.Array, words: tuple[str, ...] = (*NO_VALUES, *PERHAPS_NO_VALUES)) -> None:
        trimmed = pc.utf8_trim_whitespace(column)
        empty = pc.equal(trimmed, "")
        spoken = pc.is_in(trimmed, pa.array(words))
        taken = pc.fill_null(pc.or_(empty, spoken), True)
        self.kind: Kind | None = None
        self.written = ""
        self.words = {each["values"]: each["counts"] for each in pc.value_counts(trimmed.filter(spoken)).to_pylist()}
        self.values = pc.if_else(taken, pa.scalar(None, pa.string()), column)
        self._find(pc.if_else(taken, pa.scalar(None, pa.string()), trimmed))

    def _find(self, trimmed: pa.Array) -> None:
        different = pc.unique(trimmed).drop_null()
        if not len(different):
            return
        looked_at = [str(each) for each in different[:LOOKED_AT].to_pylist()]
        zeros = any(LEADING_ZERO.fullmatch(each) for each in looked_at)
        tries: tuple[tuple[Kind, pa.DataType], ...] = (
            ("integer", pa.int64()),
            ("boolean", pa.bool_()),
            ("number", pa.float64()),
            ("time", pa.date32()),
            ("time", pa.timestamp("us", "UTC")),
            ("time", pa.timestamp("us")),
        )
        for kind, wanted in tries:
            try:
                different.cast(wanted)
            except pa.ArrowException:
                continue
            if zeros and kind in ("integer", "number"):
                self.written = "digits that begin with 0: a code, and no number"
                return
            self.kind, self.values = kind, trimmed.cast(wanted)
            return
        if all(OTHER_DATES.fullmatch(each) for each in looked_at):
            self.written = f"dates that are no ISO 8601 ({looked_at[0]!r}), which have more than one meaning"
        elif all(OTHER_NUMBERS.fullmatch(each) and any(map(str.isdigit, each)) for each in looked_at):
            self.written = f"numbers in another spelling ({looked_at[0]!r})"


def _profile(name: str, column: pa.Array, look: _Text | None) -> Profile:
    kind = look.kind if look else _kind_of(column.type)
    values = look.values if look else column
    kind = kind or ("text" if look else "nested")
    if kind == "nested":
        return Profile(name, kind, values, values.null_count, 0)
    if kind == "number":
        values = values.cast(pa.float64(), safe=False)
        values = pc.if_else(pc.is_finite(values), values, pa.scalar(None, pa.float64()))
    if kind == "integer":
        values = _integers(values)
        kind = "integer" if types.is_int64(values.type) else "number"
    if kind == "time":
        moments = values.cast(pa.timestamp("us", getattr(values.type, "tz", None)), safe=False)
        values = moments.cast(pa.timestamp("us", "UTC")) if moments.type.tz else pc.assume_timezone(moments, "UTC")
    missing = values.null_count
    if missing == len(values):
        return Profile(name, "empty", values, missing, 0)
    encoded = values.dictionary_encode()
    distinct = len(encoded.dictionary)
    levels: tuple[tuple[Any, int], ...] = ()
    if distinct <= (MOST_LEVELS if kind in ("text", "boolean") else FEW_INTEGERS):
        counted = pc.value_counts(values.drop_null()).to_pylist()
        levels = tuple((each["values"], each["counts"]) for each in sorted(counted, key=_frequency))
    limits = pc.min_max(values).as_py() if kind in ("number", "integer") else {"min": None, "max": None}
    digest = hashlib.sha256(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).tobytes()).hexdigest()
    words = look.words if look else {}
    written = look.written if look else ""
    return Profile(name, kind, values, missing, distinct, levels, limits["min"], limits["max"], words, written, digest)


def _frequency(counted: Mapping[str, Any]) -> tuple[int, str]:
    return -counted["counts"], str(counted["values"])


def _kind_of(kind: pa.DataType) -> Kind | None:
    found: tuple[tuple[Callable[[Any], bool], Kind], ...] = (
        (types.is_null, "empty"),
        (types.is_boolean, "boolean"),
        (types.is_integer, "integer"),
        (types.is_floating, "number"),
        (types.is_decimal, "number"),
        (types.is_timestamp, "time"),
        (types.is_date, "time"),
    )
    return next((each for fits, each in found if fits(kind)), None)


def _integers(values: pa.Array) -> pa.Array:
    """Return whole numbers as int64, or as floats where they are beyond what a float tells apart."""
    limits = pc.min_max(values).as_py()
    if limits["min"] is None or max(abs(limits["min"]), abs(limits["max"])) <= EXACT:
        return values.cast(pa.int64())
    return values.cast(pa.float64(), safe=False)
