"""Columns become the matrix that models read: the same function in training, scoring and service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twoloops.contracts.watched import FIRST_CATEGORY, MISSING, UNKNOWN
from twoloops.errors import ProjectError
from twoloops.problems.tabular.signature import Feature

Matrix = NDArray[np.float32]


class Table(Protocol):
    """Columns by name, each of shape [rows]: a data frame, an Arrow table or a mapping."""

    def __getitem__(self, name: Any, /) -> Any:
        """Return a column; raise KeyError when there is none of this name."""


def encode(table: Table, features: tuple[Feature, ...]) -> Matrix:
    """Turn columns into the matrix that every model of this project reads.

    A number is taken as it is (missing: NaN). A category becomes its place in the feature's list,
    from 1 on; a missing value becomes 0, a value that is not in the list that of `other`, or -1 without one.

    Args:
        table: has the features' columns.
        features: the columns to take, in this order.

    Returns:
        An array of shape [rows, features], float32.

    Raises:
        ProjectError: a column is missing, or a number's column holds something else.
    """
    columns = []
    for feature in features:
        try:
            column = table[feature.name]
        except KeyError as error:
            raise ProjectError(
                f"The model needs the column {feature.name!r}, and the data has none of this name.",
                hint=f"Columns of the model: {', '.join(each.name for each in features)}.",
            ) from error
        columns.append(_codes(column, feature) if feature.kind == "category" else _numbers(column, feature))
    return np.column_stack(columns)


def codes_of(feature: Feature) -> dict[object, float]:
    """Return the number by which the model knows each category, and None; any other text has that of `other`."""
    codes: dict[object, float] = {None: MISSING}
    codes |= {value: float(code) for code, value in enumerate(feature.categories, FIRST_CATEGORY)}
    return codes if feature.other is None else _WithOther(codes, other=codes[feature.other])


class _WithOther(dict[object, float]):
    """Codes that know every text; an empty one stands for no value, and is none."""

    def __init__(self, codes: Mapping[object, float], other: float) -> None:
        super().__init__(codes)
        self.other = other

    def __missing__(self, key: object) -> float:
        if isinstance(key, str) and key:
            return self.other
        raise KeyError(key)


def _code(codes: dict[object, float], value: object) -> float:
    try:
        return codes[value]
    except KeyError:
        return UNKNOWN


def row_encoder(features: tuple[Feature, ...]) -> Callable[[list[list[Any]]], Matrix]:
    """Return a function that encodes rows as `encode` does columns, for a few rows at a time.

    It takes rows of values in the features' order, missing ones None, shape [rows, features], and
    writes the codes into them. A value that is not in its category's list raises KeyError: who
    answers single rows can refuse them.
    """
    categories = [(place, codes_of(feature)) for place, feature in enumerate(features) if feature.kind == "category"]

    def encoded(rows: list[list[Any]]) -> Matrix:
        for row in rows:
            for place, codes in categories:
                row[place] = codes[row[place]]
        return np.array(rows, dtype=np.float32)

    return encoded


def _codes(column: ArrayLike, feature: Feature) -> Matrix:
    codes = codes_of(feature)
    if hasattr(column, "dictionary_encode"):
        return _codes_of_arrow(column, codes)
    values = _objects(column)
    return np.asarray([_code(codes, value) for value in values], dtype=np.float32)


def _objects(column: Any) -> NDArray[Any]:
    """Return a column's values as Python's, missing ones as None: also of types of data frames that have their own."""
    if hasattr(column, "isna"):
        values, missing = np.array(column, dtype=object), np.asarray(column.isna())
    else:
        values = np.array(column, dtype=object)
        missing = np.asarray([value is None or value != value for value in values], dtype=np.bool_)  # noqa: PLR0124
    values[missing] = None
    return values


def _codes_of_arrow(column: Any, codes: dict[object, float]) -> Matrix:
    """Look up each different value of an Arrow column once, and not each row's."""
    whole = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    encoded = whole.dictionary_encode()
    values = [None if value != value else value for value in encoded.dictionary.to_pylist()]  # noqa: PLR0124 - NaN
    code = np.asarray([*(_code(codes, value) for value in values), MISSING], dtype=np.float32)
    places = encoded.indices.cast("int64").fill_null(len(values))  # a row without a value: the last code
    return code[places.to_numpy(zero_copy_only=False)]


def _numbers(column: Any, feature: Feature) -> Matrix:
    try:
        if hasattr(column, "isna"):  # types of data frames say NA in place of NaN
            return np.asarray(column.to_numpy(dtype=np.float32, na_value=np.nan))
        return np.asarray(column, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ProjectError(
            f"The column {feature.name!r} must hold numbers: {error}.", hint="The contract in problem/data.py says so."
        ) from error
