"""The data contract at work: what Pandera demands, told so that the reader can act."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twoloops.errors import ProjectError
from twoloops.problems.tabular.signature import Feature, Signature

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

MOST_VALUES_SHOWN = 3
HINT = "Correct the data, or the contract in problem/data.py if the contract is wrong."


def check(frame: pd.DataFrame, contract: pa.DataFrameSchema, origin: str) -> pd.DataFrame:
    """Return `frame` with the contract's columns and types.

    Args:
        frame: a table of shape [rows, columns] as it was read.
        contract: what is demanded.
        origin: where the table comes from, for the message.

    Raises:
        ProjectError: each broken rule, with its column, the number of rows and examples.
    """
    from pandera.errors import SchemaErrors

    try:
        checked: pd.DataFrame = contract.validate(frame, lazy=True)
    except SchemaErrors as error:
        lines = [f"  - {line}" for line in _explain(error.failure_cases, frame)]
        raise ProjectError(f"{origin} breaks the data contract:\n" + "\n".join(lines), hint=HINT) from error
    return checked


def _explain(failures: pd.DataFrame, frame: pd.DataFrame) -> Iterable[str]:
    seen = set()
    # A value that cannot be converted also has the wrong type: the first is the message that helps.
    unconverted = set(failures.loc[failures["check"].str.startswith("coerce_dtype"), "column"])
    for (column, named), cases in failures.groupby(["column", "check"], sort=False, dropna=False):
        rule = str(named)
        rows = cases["index"].dropna()
        values = list(dict.fromkeys(map(repr, cases["failure_case"])))
        shown = ", ".join(values[:MOST_VALUES_SHOWN]) + (", …" if len(values) > MOST_VALUES_SHOWN else "")
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
        ProjectError: a feature is neither a number nor a category, or there is no feature.
    """
    left_out = {problem.ENTITY, problem.EVENT_TIME, problem.TARGET, *problem.PERSONAL}
    features = tuple(_feature(name, column) for name, column in contract.columns.items() if name not in left_out)
    if not features:
        raise ProjectError("The contract leaves no feature to learn from.", hint="Add columns in problem/data.py.")
    return Signature(
        task=task_name,
        features=features,
        entity=problem.ENTITY,
        event_time=problem.EVENT_TIME,
        target=problem.TARGET,
        classes=_allowed(contract.columns[problem.TARGET]),
        personal=tuple(problem.PERSONAL),
    )


def without_target(contract: pa.DataFrameSchema, problem: Any) -> pa.DataFrameSchema:
    """Return the contract of data that is yet to be predicted: no target, no personal columns."""
    return contract.remove_columns([problem.TARGET, *problem.PERSONAL])


def _feature(name: str, column: pa.Column) -> Feature:
    categories = _allowed(column)
    if not categories and not _is_number(column):
        raise ProjectError(
            f"The column {name!r} is text without a list of allowed values, so it cannot be a feature.",
            hint="In problem/data.py give it Check.isin([...]), list it in PERSONAL, or take it out of the contract.",
        )
    limits = [check.statistics or {} for check in column.checks]
    return Feature(
        name=name,
        kind="category" if categories else "number",
        nullable=column.nullable,
        unit=(column.metadata or {}).get("unit", ""),
        minimum=_first(limits, "min_value"),
        maximum=_first(limits, "max_value"),
        categories=categories,
    )


def _allowed(column: pa.Column) -> tuple[Any, ...]:
    values = [check.statistics["allowed_values"] for check in column.checks if check.name == "isin"]
    return tuple(values[0]) if values else ()


def _is_number(column: pa.Column) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    kind = getattr(column.dtype, "type", None)
    return kind is not None and (is_numeric_dtype(kind) or is_bool_dtype(kind))


def _first(limits: list[dict[str, Any]], name: str) -> float | None:
    return next((float(limit[name]) for limit in limits if name in limit), None)


def labels(source: str) -> pd.DataFrame:
    """Return entity and target of a table of labels; of an entity that comes twice, the last.

    Raises:
        ProjectError: the table cannot be read, or breaks the contract.
    """
    import pandera.pandas as pa

    from twoloops.problem import data as problem
    from twoloops.problems.tabular.files import read_table

    names = [problem.ENTITY, problem.TARGET]
    raw = read_table(source)
    # A label that has not come yet is no fault of the table; whatever else it holds is not looked at.
    known = raw.dropna(subset=[name for name in names if name in raw.columns])
    demanded = pa.DataFrameSchema(
        {name: problem.CONTRACT.columns[name] for name in names}, strict="filter", coerce=True
    )
    return check(known, demanded, source).drop_duplicates(problem.ENTITY, keep="last").reset_index(drop=True)
