"""The data contract at work: values read as it says, what Pandera demands, and both told so that the reader can act."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, KeysView, Mapping, Set
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from twoloops.contracts.captures import REQUEST_ID
from twoloops.errors import ProjectError
from twoloops.problems.tabular import reading
from twoloops.problems.tabular.reading import Column
from twoloops.problems.tabular.signature import Feature, Signature

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

    from twoloops.problems.tabular.columns import Read

MOST_VALUES_SHOWN = 3
HINT = "Correct the data, or the contract in problem/data.py if the contract is wrong."
LARGEST: Final = float(np.finfo(np.float32).max)  # models read float32
# Columns that predictions, scoring and its quarantine write beside those of the source.
WRITTEN: Final = ("prediction", "model", "reason", "source_file", "source_row")
ANSWERED: Final = ("row", "model_version", "request_id")  # what `invoke` writes beside the keys


def check(frame: pd.DataFrame, contract: pa.DataFrameSchema, origin: str) -> pd.DataFrame:
    """Return `frame` with the contract's columns and types.

    Values are read by the rules of reading.py, as scoring and the service read them. What Pandera demands
    beyond the type comes after: missing values are found before anything is converted.

    Args:
        frame: a table of shape [rows, columns] as it was read.
        contract: what is demanded.
        origin: where the table comes from, for the message.

    Raises:
        ProjectError: each broken rule, with its column, the number of rows and examples.
    """
    from pandera.errors import SchemaErrors

    demanded = columns_of(contract)
    private = find_private(contract, demanded)
    twice = [str(name) for name in frame.columns[frame.columns.duplicated()].unique() if name in contract.columns]
    lines = [f"{name}: the column is there more than once. Name each column once." for name in twice]
    frame = frame.loc[:, ~frame.columns.duplicated()]
    helps: list[reading.Kind] = []
    broken, converted = set(twice), {}
    for name, column in demanded.items():
        if name not in frame.columns or name in broken:
            continue
        found = read_series(frame[name], column)
        told = list(_told(found, column, contract.columns[name], private))
        if told:
            lines += told
            broken.add(name)
            helps += [column.kind] if found.unread.any() else []
        converted[name] = as_pandas(found, column, contract.columns[name]).set_axis(frame.index)
    checked = frame.assign(**converted)
    try:
        checked = _checkable(contract, set(converted), broken).validate(checked, lazy=True)
    except SchemaErrors as error:
        lines += _explain(error.failure_cases, checked, private)
    if lines:
        listed = "\n".join(f"  - {line}" for line in lines)
        hint = f"{HINT} {reading.explain(helps)}".strip()
        raise ProjectError(f"{origin} breaks the data contract:\n{listed}", hint=hint)
    return checked


def find_private(contract: pa.DataFrameSchema, demanded: Mapping[str, Column]) -> Set[str]:
    """Return the columns whose values no message may show, because it may reach people who must not see the table.

    They are the entity, the personal columns, and text of any kind: whatever somebody typed may be about a person.
    """
    from twoloops.problem import data as problem

    listed = {problem.ENTITY, *problem.PERSONAL}
    unknown = contract.columns.keys() - demanded.keys()  # read in a way of their own: nobody knows what is in them
    return {*listed, *unknown, *(name for name, column in demanded.items() if column.kind == "text")}


def _shown(values: Iterable[Any], rows: Iterable[Any], hidden: bool) -> str:
    """Return a few of the values, or the numbers of their rows where the values are nobody's business."""
    found = list(dict.fromkeys(int(row) for row in rows) if hidden else dict.fromkeys(map(repr, values)))
    more = ", …" if len(found) > MOST_VALUES_SHOWN else ""
    listed = ", ".join(map(str, found[:MOST_VALUES_SHOWN])) + more
    return f"the values are private; rows {listed}" if hidden else listed


def columns_of(contract: pa.DataFrameSchema) -> dict[str, Column]:
    """Return how the contract's columns are read, by name; one that it declares in a way of its own is left out."""
    found = {name: _column(name, column) for name, column in contract.columns.items()}
    return {str(name): column for name, column in found.items() if column is not None}


def _column(name: str, column: pa.Column) -> Column | None:
    from pandas.api import types

    kind = getattr(column.dtype, "type", None)
    if column.regex or column.parsers:
        return None
    if categories := _allowed(name, column):
        return Column(name, "category", categories, _other(name, column, categories))
    if kind is None or types.is_object_dtype(kind):
        return None
    of_kind: tuple[tuple[Callable[[Any], bool], reading.Kind], ...] = (
        (types.is_bool_dtype, "boolean"),
        (types.is_integer_dtype, "integer"),
        (types.is_numeric_dtype, "number"),
        (types.is_datetime64_any_dtype, "time"),
        (types.is_string_dtype, "text"),
    )
    found = next((each for fits, each in of_kind if fits(kind)), None)
    return Column(name, found) if found else None


def read_series(series: pd.Series[Any], column: Column) -> Read:
    """Read a column of a data frame as the contract says."""
    import pyarrow as pa

    from twoloops.problems.tabular import columns

    try:
        return columns.read(pa.array(series, from_pandas=True), column)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return _read_objects(series, column)  # values of several types in one column


def _read_objects(series: pd.Series[Any], column: Column) -> Read:
    import pyarrow as pa

    from twoloops.problems.tabular.columns import Read, column_type

    read_value = reading.reader(column)
    objects = series.astype(object).where(series.notna(), None).tolist()
    values, unread = [], np.zeros(len(objects), dtype=np.bool_)
    for place, value in enumerate(objects):
        try:
            values.append(None if reading.is_missing(value) else read_value(value))
        except (ValueError, TypeError):
            values.append(None)
            unread[place] = True
    return Read(pa.array(values, column_type(column)), unread, pa.array([str(value) for value in objects]))


def _told(found: Read, column: Column, declared: pa.Column, private: Set[str]) -> Iterable[str]:
    """Yield what is wrong with a column's values before any rule of Pandera is asked."""
    if found.unread.any():
        hidden = column.name in private
        yield _line(column.name, found, found.unread, _broken_rule(column, declared), hidden=hidden)
    if column.kind == "number":
        values = found.values.to_numpy(zero_copy_only=False)
        with np.errstate(invalid="ignore"):
            yield from _some(column.name, found, np.abs(values) > LARGEST, "are infinite, or too large for a model")
    missing = found.missing
    if missing.any() and not declared.nullable:
        first = int(np.flatnonzero(missing)[0])
        count = f"{missing.sum():,} row{'s' if missing.sum() != 1 else ''}"
        yield f"{column.name}: {count} without a value (first: row {first}), and the contract demands one."


def _some(name: str, found: Read, rows: Any, rule: str) -> Iterable[str]:
    if rows.any():
        yield _line(name, found, rows, rule)


def _broken_rule(column: Column, declared: pa.Column) -> str:
    if column.kind == "category":
        return f"break {next(check.error for check in declared.checks if check.name == 'isin')}"
    # Of numbers as Pandera names the type: projects of 0.1.0 and 0.2.0 have tests that ask for these words.
    kind = declared.dtype if column.kind in ("number", "integer") else reading.NOUNS[column.kind]
    return f"cannot be read as {kind}"


def _line(name: str, found: Read, rows: Any, rule: str, *, hidden: bool = False) -> str:
    import pyarrow as pa

    places = np.flatnonzero(rows)
    values = found.raw.take(pa.array(places[:1000])).to_pylist()
    shown = _shown(values, places[:1000], hidden)
    count = f"{len(places):,} row{'s' if len(places) != 1 else ''}"
    encoding = " They are not UTF-8: save the file in that encoding." if isinstance(values[0], bytes) else ""
    return f"{name}: {count} {rule} (first: row {places[0]}): {shown}.{encoding}"


def as_pandas(found: Read, column: Column, declared: pa.Column) -> pd.Series[Any]:
    """Return the values as a column of a data frame, missing ones kept as such whatever the type."""
    import pandas as pd

    values = found.values
    if column.kind == "number":
        return pd.Series(values.to_numpy(zero_copy_only=False))
    if column.kind == "time":
        moments = pd.Series(values.to_pandas())
        naive = getattr(declared.dtype.type, "tz", None) is None
        return moments.dt.tz_localize(None) if naive else moments
    kinds = {"integer": "Int64", "boolean": "boolean", "text": object}
    if column.kind == "category":
        first = column.categories[0]
        kind: Any = "boolean" if isinstance(first, bool) else object if isinstance(first, str) else "Float64"
        kind = "Int64" if all(type(each) is int for each in column.categories) else kind
    else:
        kind = kinds[column.kind]
    return pd.Series(pd.array(values.to_pylist(), dtype=kind))


def _checkable(contract: pa.DataFrameSchema, read: set[str], broken: set[str]) -> pa.DataFrameSchema:
    """Return the contract as it is asked of values that are read: without what is known to be broken.

    A column of whole numbers or truth values that may be missing gets the type of pandas that can hold both.
    """
    import copy

    changes: dict[str, dict[str, Any]] = {name: {"coerce": True} for name in read - broken}
    for name, change in changes.items():
        kind = str(contract.columns[name].dtype)
        if contract.columns[name].nullable and (kind == "bool" or kind.startswith(("int", "uint"))):
            change["dtype"] = "boolean" if kind == "bool" else kind.replace("i", "I").replace("u", "U")
    asked = contract.update_columns(changes) if changes else contract
    if not broken:
        return asked
    asked = copy.copy(asked.remove_columns(sorted(broken)))
    # A rule about several columns cannot be asked while one of them cannot be read.
    asked.checks, asked.unique = [], None
    return asked


def _explain(failures: pd.DataFrame, frame: pd.DataFrame, private: Set[str]) -> Iterable[str]:
    seen = set()
    # A value that cannot be converted also has the wrong type: the first is the message that helps.
    unconverted = set(failures.loc[failures["check"].str.startswith("coerce_dtype"), "column"])
    for (column, named), cases in failures.groupby(["column", "check"], sort=False, dropna=False):
        rule = str(named)
        rows = cases["index"].dropna()
        # A rule over several columns, or without any, may show values of each.
        shown = _shown(cases["failure_case"], rows, hidden=column in private or column not in frame.columns)
        first = f" (first: row {int(rows.iloc[0])})" if len(rows) else ""
        count = f"{len(cases):,} row{'s' if len(cases) != 1 else ''}"
        if rule == "column_in_dataframe":
            name = cases["failure_case"].iloc[0]
            line = f"{name}: the column is missing. There are: {', '.join(map(str, frame.columns))}."
        elif rule.startswith("coerce_dtype"):
            kind = rule.removeprefix("coerce_dtype(").removesuffix(")").strip("'")
            line = f"{column}: {count} cannot be read as {kind}{first}: {shown}."
        elif rule.startswith("dtype(") and column in unconverted:
            continue
        elif rule == "not_nullable":
            line = f"{column}: {count} without a value{first}, and the contract demands one."
        elif rule in ("field_uniqueness", "multiple_fields_uniqueness"):
            line = f"{column}: {count} with a key that occurs more than once{first}: {shown}."
        else:
            line = f"{column}: {count} break {rule}{first}: {shown}."
        if line not in seen:
            seen.add(line)
            yield line


def signature(contract: pa.DataFrameSchema, problem: Any, task_name: str) -> Signature:
    """Derive the model's signature from the contract.

    Every column is a feature but the entity, the event time, the target and the personal columns.
    A column with a list of allowed values (`Check.isin`) is a category, any other is a number.

    Args:
        contract: the Pandera schema of the raw table.
        problem: the module problem/data.py, for ENTITY, EVENT_TIME, TARGET and PERSONAL.
        task_name: the problem type.

    Raises:
        ProjectError: a feature is neither a number nor a category, there is no feature, or a name or a list of
            allowed values cannot be used.
    """
    _refuse_names(contract, problem)
    left_out = {problem.ENTITY, problem.EVENT_TIME, problem.TARGET, *problem.PERSONAL}
    features = tuple(_feature(name, column) for name, column in contract.columns.items() if name not in left_out)
    if not features:
        raise ProjectError("The contract leaves no feature to learn from.", hint="Add columns in problem/data.py.")
    return Signature(
        task=task_name,
        features=features,
        entity=problem.ENTITY,
        entity_kind=_entity_kind(contract, problem.ENTITY),
        event_time=problem.EVENT_TIME,
        target=problem.TARGET,
        classes=_classes(contract, problem.TARGET),
        personal=tuple(problem.PERSONAL),
    )


def _refuse_names(contract: pa.DataFrameSchema, problem: Any) -> None:
    """Refuse names that the contract lacks, and names that results have for themselves."""
    roles = {"ENTITY": [problem.ENTITY], "EVENT_TIME": [problem.EVENT_TIME], "TARGET": [problem.TARGET]}
    roles["PERSONAL"] = list(problem.PERSONAL)
    for role, names in roles.items():
        for name in names:
            if name is not None and name not in contract.columns:
                raise ProjectError(
                    f"{role} of problem/data.py names {name!r}, and CONTRACT has no column of this name.",
                    hint=f"CONTRACT has: {', '.join(map(str, contract.columns))}.",
                )
    target = contract.columns[problem.TARGET]
    results = {*WRITTEN, *(f"probability_{each}" for each in _allowed(problem.TARGET, target))}
    keys = {problem.ENTITY, problem.EVENT_TIME}
    taken = [name for name in contract.columns if name in results or (name in keys and name in ANSWERED)]
    if taken:
        raise ProjectError(
            f"The contract has the column {', '.join(map(repr, taken))}, and results have a column of this name: "
            "one would overwrite the other.",
            hint="Give it another name in the table and in problem/data.py. "
            f"Results have: {', '.join([*WRITTEN, 'probability_CLASS', *ANSWERED])}.",
        )
    time = problem.EVENT_TIME and _column(problem.EVENT_TIME, contract.columns[problem.EVENT_TIME])
    if time is not None and time.kind != "time":
        raise ProjectError(
            f"EVENT_TIME of problem/data.py is {problem.EVENT_TIME!r}, and CONTRACT does not declare it as a time.",
            hint='Declare it as pa.Column(pd.DatetimeTZDtype("us", "UTC")).',
        )


def _entity_kind(contract: pa.DataFrameSchema, name: str) -> Any:
    column = _column(name, contract.columns[name])
    if column is None or column.kind in ("text", "category"):
        return "text"
    if column.kind != "integer":
        raise ProjectError(
            f"ENTITY of problem/data.py is {name!r}, and CONTRACT declares it as {contract.columns[name].dtype}: "
            "a key is text or a whole number.",
            hint="Declare it as pa.Column(str), or as pa.Column(int).",
        )
    return "integer"


def _classes(contract: pa.DataFrameSchema, name: str) -> tuple[Any, ...]:
    column = contract.columns[name]
    for check in column.checks:
        if check.name == "isin" and _is_unordered(check.statistics["allowed_values"]):
            raise ProjectError(
                f"Check.isin of the target {name!r} holds a set, which has no order: of two classes the second is "
                "the event.",
                hint="Write a list in problem/data.py: Check.isin([no event, event]).",
            )
    classes = _allowed(name, column)
    if any(isinstance(each, float) for each in classes):
        raise ProjectError(
            f"Check.isin of the target {name!r} lists decimals ({', '.join(map(str, classes))}): a class is text, a "
            "whole number, or true and false.",
            hint="Name the classes otherwise, or predict an amount: Check.in_range(...).",
        )
    return classes


def without_target(contract: pa.DataFrameSchema, problem: Any) -> pa.DataFrameSchema:
    """Return the contract of data that is yet to be predicted: no target, no personal columns."""
    return contract.remove_columns([problem.TARGET, *problem.PERSONAL])


def _feature(name: str, column: pa.Column) -> Feature:
    read = _column(name, column)
    kind = read.kind if read else None
    if kind == "time":
        raise ProjectError(
            f"The column {name!r} holds dates, and a model reads numbers and categories.",
            hint="Put the days between it and the event time into the table as a number, and declare that in "
            "problem/data.py; or name it as EVENT_TIME, list it in PERSONAL, or take it out of the contract.",
        )
    if kind not in ("category", "number", "integer", "boolean"):
        raise ProjectError(
            f"The column {name!r} is text without a list of allowed values, so it cannot be a feature.",
            hint="In problem/data.py give it Check.isin([...]), list it in PERSONAL, or take it out of the contract.",
        )
    limits = [check.statistics or {} for check in column.checks]
    return Feature(
        name=name,
        kind="category" if kind == "category" else "number",
        nullable=column.nullable,
        unit=(column.metadata or {}).get("unit", ""),
        minimum=0 if kind == "boolean" else _first(limits, "min_value"),
        maximum=1 if kind == "boolean" else _first(limits, "max_value"),
        categories=read.categories if read else (),
        other=read.other if read else None,
        dtype="integer" if kind == "integer" else "boolean" if kind == "boolean" else "float",
    )


def _other(name: str, column: pa.Column, categories: tuple[Any, ...]) -> str | None:
    """Return the category that stands for every text that is not in the list: metadata={"other": ...}.

    Raises:
        ProjectError: it is not in the list, or the list does not hold text.
    """
    other = (column.metadata or {}).get("other")
    if other is None:
        return None
    if other not in categories or not all(isinstance(each, str) for each in categories):
        raise ProjectError(
            f"The metadata of {name!r} says that {other!r} stands for other values, and Check.isin lists "
            f"{', '.join(map(repr, categories[:MOST_VALUES_SHOWN]))}, …: it has to be one of the list, all of it text.",
            hint="In problem/data.py append it to the list: Check.isin([..., 'other']), metadata={'other': 'other'}.",
        )
    return str(other)


def _is_unordered(values: Any) -> bool:
    return isinstance(values, Set) and not isinstance(values, KeysView)


def _allowed(name: str, column: pa.Column) -> tuple[Any, ...]:
    """Return the values that a column may have, in their order; those of a set sorted, so that each run has the same.

    Raises:
        ProjectError: one of them is no value of a category.
    """
    found = [check.statistics["allowed_values"] for check in column.checks if check.name == "isin"]
    if not found:
        return ()
    values = tuple(value.item() if isinstance(value, np.generic) else value for value in found[0])
    for value in values:
        if value is None or value == "" or value != value:  # noqa: PLR0124 - only NaN differs from itself
            raise ProjectError(
                f"Check.isin of {name!r} lists {value!r}, which stands for a missing value.",
                hint="Take it out of the list in problem/data.py, and let the column have nullable=True.",
            )
        if not isinstance(value, str | int | float):
            raise ProjectError(
                f"Check.isin of {name!r} lists {value!r}: a category is text, a number, or true and false.",
                hint="Write the values in problem/data.py as text, and in the table too.",
            )
    kinds = {str if isinstance(value, str) else bool if isinstance(value, bool) else float for value in values}
    if len(kinds) > 1 or len(set(values)) < len(values):
        problem = "values of several types" if len(kinds) > 1 else "a value more than once"
        raise ProjectError(
            f"Check.isin of {name!r} lists {problem}: {', '.join(map(repr, values))}.",
            hint="List each value once in problem/data.py, all as text, or all as numbers.",
        )
    if kinds == {float} and all(float(value).is_integer() for value in values):
        values = tuple(map(int, values))
    return tuple(sorted(values)) if _is_unordered(found[0]) else values


def _first(limits: list[dict[str, Any]], name: str) -> float | None:
    return next((float(limit[name]) for limit in limits if name in limit), None)


def labels(source: str) -> pd.DataFrame:
    """Return the columns of a table of labels that are there: entity, target, event time, and `request_id` as text.

    Raises:
        ProjectError: the table cannot be read, or breaks the contract.
    """
    import pandera.pandas as pa

    from twoloops.problem import data as problem
    from twoloops.problems.tabular.files import read_table

    names = [problem.ENTITY, problem.TARGET]
    raw = read_table(source)
    needed = raw[[name for name in raw.columns if name in names]]  # a label that has not come yet is no fault
    known = raw[~(needed.isna() | (needed == "")).any(axis="columns")]
    if problem.EVENT_TIME in raw.columns:
        names.append(problem.EVENT_TIME)
    columns = {name: copy.deepcopy(problem.CONTRACT.columns[name]) for name in names}
    for name, column in columns.items():
        column.unique = False  # of one entity there may be several labels, each about another answer
        column.nullable |= name == problem.EVENT_TIME
    demanded = pa.DataFrameSchema(columns, strict="filter", coerce=True)
    # Whatever else the table holds is not looked at.
    kept = check(known[[name for name in known.columns if name in names]], demanded, source)
    if REQUEST_ID in raw.columns:
        told = known[REQUEST_ID].astype(object)
        kept[REQUEST_ID] = told.map(str).where(told.notna() & (told != ""), None)
    return kept.reset_index(drop=True)
