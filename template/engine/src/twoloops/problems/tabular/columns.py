"""A column of Arrow, read as the contract says: reading.py at work on many values, each different one once."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from twoloops.problems.tabular.reading import Column, Kind, is_missing, reader

Mask = NDArray[np.bool_]

TYPES: Final[dict[Kind, pa.DataType | None]] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "time": pa.timestamp("us", "UTC"),
    "category": None,  # that of its values
}


class Read(NamedTuple):
    """A column that is read.

    Attributes:
        values: of the contract's type, null where the value is missing or could not be read, shape [rows].
        unread: where there is a value that could not be read, shape [rows].
        raw: the column as it came, for messages.
    """

    values: pa.Array
    unread: Mask
    raw: pa.Array

    @property
    def missing(self) -> Mask:
        """Where there is no value, shape [rows]."""
        return nulls(self.values) & ~self.unread


def nulls(column: pa.Array) -> Mask:
    """Return where a column is null or NaN, shape [rows]."""
    return np.asarray(column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False))


def fits(kind: pa.DataType, column: Column) -> bool:
    """Say whether a type of Arrow can hold what the contract asks for."""
    kind = plain_type(kind)
    if types.is_null(kind) or types.is_string(kind) or types.is_binary(kind):
        return True
    if column.kind == "time":
        return types.is_timestamp(kind) or types.is_date(kind)
    if types.is_boolean(kind):
        return column.kind in ("boolean", "category")
    return types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values, however they are stored."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind) or types.is_fixed_size_binary(kind):
        return pa.binary()
    return kind


def plain(column: Any) -> pa.Array:
    """Return a column in one piece and in the simplest form of its type; a dictionary stays one."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type)
    if isinstance(column.type, pa.BaseExtensionType):
        return plain(column.storage)
    if types.is_run_end_encoded(column.type):
        return plain(pc.run_end_decode(column))
    if types.is_dictionary(column.type):
        return column
    kind = plain_type(column.type)
    return column if kind == column.type else column.cast(kind)


def read(column: Any, demanded: Column) -> Read:
    """Read a column as the contract says.

    Args:
        column: an Arrow array, in one or many pieces.
        demanded: what the contract says of it.
    """
    raw = plain(column)
    if types.is_dictionary(raw.type):
        words = read(raw.dictionary, demanded)
        unread = pa.array(words.unread).take(raw.indices).fill_null(False)
        return Read(words.values.take(raw.indices), unread.to_numpy(zero_copy_only=False), raw)
    if not fits(raw.type, demanded):
        return Read(pa.nulls(len(raw), column_type(demanded)), ~nulls(raw), _shown(raw))
    values = _at_once(raw, demanded)
    if values is not None:
        return Read(values, np.zeros(len(raw), dtype=np.bool_), raw)
    return _one_by_one(raw, demanded)


def _shown(raw: pa.Array) -> pa.Array:
    """Return a column whose values any library can tell as Python's."""
    return raw.cast(pa.string()) if types.is_temporal(raw.type) else raw


def column_type(demanded: Column) -> pa.DataType:
    """Return the type of Arrow that a column has when it is read."""
    return TYPES[demanded.kind] or pa.array(list(demanded.categories)).type


def _at_once(raw: pa.Array, demanded: Column) -> pa.Array | None:
    """Read the usual types as whole columns; None where each value must be looked at."""
    kind, wanted, values = raw.type, demanded.kind, None
    if types.is_null(kind):
        values = pa.nulls(len(raw), column_type(demanded))
    elif wanted == "number" and (types.is_floating(kind) or types.is_integer(kind)):
        values = raw.cast(pa.float64(), safe=False)
    elif wanted == "integer" and types.is_signed_integer(kind):
        values = raw.cast(pa.int64())
    elif wanted == "boolean" and types.is_boolean(kind):
        values = raw
    elif wanted == "text" and types.is_integer(kind):
        values = raw.cast(pa.string())
    elif wanted == "time" and (types.is_timestamp(kind) or types.is_date(kind)):
        moments = raw.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
        values = moments.cast(TYPES["time"]) if moments.type.tz else pc.assume_timezone(moments, "UTC")
    elif wanted == "text" and (types.is_string(kind) or types.is_binary(kind)):
        values = _text(raw)
    elif wanted == "number" and (types.is_string(kind) or types.is_binary(kind) or types.is_decimal(kind)):
        values = _numbers(raw)
    return values


def _text(raw: pa.Array) -> pa.Array | None:
    """Return text, an empty one as missing; None where bytes are not UTF-8."""
    try:
        text = raw.cast(pa.string())
    except pa.ArrowInvalid:
        return None
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _numbers(raw: pa.Array) -> pa.Array | None:
    """Return the numbers of text and of decimals; None where one is none, or has another spelling."""
    text = _text(raw)
    try:
        numbers = None if text is None else text.cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    # Arrow reads words such as nan and inf too.
    return numbers if numbers is not None and pc.all(pc.is_finite(numbers)).as_py() is not False else None


def _one_by_one(raw: pa.Array, demanded: Column) -> Read:
    encoded = raw.dictionary_encode() if not types.is_float16(raw.type) else raw.cast(pa.float32()).dictionary_encode()
    read_value = reader(demanded)
    values, failed = [], []
    for each in encoded.dictionary.to_pylist():
        value, wrong = None, False
        if not is_missing(each):
            try:
                value = read_value(each)
            except ValueError:
                wrong = True
        values.append(value)
        failed.append(wrong)
    unread = pa.array(failed, pa.bool_()).take(encoded.indices).fill_null(False)
    typed = pa.array(values, column_type(demanded)).take(encoded.indices)
    return Read(typed, unread.to_numpy(zero_copy_only=False), raw)
