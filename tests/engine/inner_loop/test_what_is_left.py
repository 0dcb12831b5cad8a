"""What is left of the example, or fits no model, is told by `prepare`: not after training, and not in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from twoloops import params
from twoloops.errors import ProjectError
from twoloops.inner_loop import prepare as steps
from twoloops.inner_loop.measure import Metric
from twoloops.problem import metrics as measures
from twoloops.problems.tabular import contract, examining
from twoloops.problems.tabular.encoding import encode
from twoloops.problems.tabular.signature import Feature, Signature

from tests.engine.support.project import Project


def signature_of(target: Any = None, data: Any = None, **columns: pa.Column) -> Signature:
    """Return the signature of a contract with these columns beside the usual ones."""
    target = target if target is not None else pa.Column(int, pa.Check.isin([0, 1]))
    schema = pa.DataFrameSchema({"id": pa.Column(str), "y": target, "x": pa.Column(float), **columns})
    names = {"ENTITY": "id", "EVENT_TIME": None, "TARGET": "y", "PERSONAL": [], **(data or {})}
    return contract.signature(schema, SimpleNamespace(**names), "classification")


def test_the_values_of_a_set_are_in_one_order() -> None:
    for values in ({"north", "south", "east"}, frozenset({"north", "south", "east"})):
        made = signature_of(region=pa.Column(str, pa.Check.isin(values)))
        assert made.features[-1].categories == ("east", "north", "south")
    kept = signature_of(region=pa.Column(str, pa.Check.isin(["south", "east"])))
    assert kept.features[-1].categories == ("south", "east")


REFUSED: dict[str, Callable[[], Signature]] = {
    "holds a set, which has no order": lambda: signature_of(pa.Column(str, pa.Check.isin({"stays", "leaves"}))),
    "lists decimals": lambda: signature_of(pa.Column(float, pa.Check.isin([0.5, 1.5]))),
    "'model', and results have a column of this name": lambda: signature_of(model=pa.Column(float)),
    "'source_file', and results": lambda: signature_of(source_file=pa.Column(float)),
    "'probability_1', and results": lambda: signature_of(probability_1=pa.Column(float)),
    "'request_id', and results": lambda: signature_of(data={"ENTITY": "request_id"}, request_id=pa.Column(str)),
    "ENTITY of problem/data.py names 'customer'": lambda: signature_of(data={"ENTITY": "customer"}),
    "PERSONAL of problem/data.py names 'mail'": lambda: signature_of(data={"PERSONAL": ["mail"]}),
    "a key is text or a whole number": lambda: signature_of(
        data={"ENTITY": "x", "PERSONAL": ["id"]}, more=pa.Column(float)
    ),
    "does not declare it as a time": lambda: signature_of(data={"EVENT_TIME": "x"}, more=pa.Column(float)),
    "stands for a missing value": lambda: signature_of(a=pa.Column(str, pa.Check.isin(["a", None]))),
    "'', which stands for a missing": lambda: signature_of(a=pa.Column(str, pa.Check.isin(["a", ""]))),
    "values of several types": lambda: signature_of(a=pa.Column(object, pa.Check.isin(["a", 1]))),
    "a value more than once": lambda: signature_of(a=pa.Column(str, pa.Check.isin(["a", "a"]))),
    "holds dates": lambda: signature_of(born=pa.Column(pd.DatetimeTZDtype("us", "UTC"))),
    "a category is text, a number": lambda: signature_of(a=pa.Column(object, pa.Check.isin([pd.Timestamp(0)]))),
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_contract_that_makes_no_honest_model_is_refused_in_words(words: str) -> None:
    with pytest.raises(ProjectError) as raised:
        REFUSED[words]()
    assert words in str(raised.value)
    assert raised.value.hint


def test_decimals_may_be_categories() -> None:
    made = signature_of(share=pa.Column(float, pa.Check.isin([0.0, 0.5])))
    assert made.features[-1].categories == (0.0, 0.5)
    again = Signature.model_validate_json(made.model_dump_json())
    assert again == made
    assert encode({"x": [1.0, 1.0], "share": [0.5, None]}, again.features)[:, 1].tolist() == [2.0, 0.0]
    whole = signature_of(share=pa.Column(float, pa.Check.isin([0.0, 1.0]))).features[-1]
    assert [type(each) for each in whole.categories] == [int, int], "as before: the same artifact"


@pytest.mark.parametrize(
    ("values", "dtype"),
    [(["true", "", "false"], None), ([1.0, None, 0.0], None), ([True, None, False], object), ([1, pd.NA, 0], "Int64")],
)
def test_a_missing_truth_value_never_becomes_one(values: list[Any], dtype: Any, bare_project: Project) -> None:
    frame = pd.DataFrame({"member": pd.Series(values, dtype=dtype)})
    demanded = pa.DataFrameSchema({"member": pa.Column(bool)}, coerce=True)
    with pytest.raises(ProjectError, match=r"member: 1 row without a value \(first: row 1\)"):
        contract.check(frame, demanded, "rows")
    allowed = pa.DataFrameSchema({"member": pa.Column(bool, nullable=True)}, coerce=True)
    assert contract.check(frame, allowed, "rows")["member"].tolist() == [True, pd.NA, False]


def test_types_of_data_frames_with_a_missing_value_of_their_own_are_encoded() -> None:
    features = (
        Feature(name="grade", kind="category", nullable=True, categories=(1, 2)),
        Feature(name="open", kind="category", nullable=True, categories=(False, True)),
        Feature(name="kind", kind="category", nullable=True, categories=("a", "b")),
        Feature(name="rooms", kind="number", nullable=True),
    )
    frame = pd.DataFrame(
        {
            "grade": pd.array([2, None], "Int64"),
            "open": pd.array([True, None], "boolean"),
            "kind": pd.array(["b", None], "string[pyarrow]"),
            "rooms": pd.array([3, None], "Int64"),
        }
    )
    np.testing.assert_array_equal(encode(frame, features), np.asarray([[2, 2, 2, 3], [0, 0, 0, np.nan]], np.float32))


def test_whole_numbers_that_become_one_are_told() -> None:
    made = signature_of()
    frame = pd.DataFrame({"x": [1735689601.0, 1735689661.0, np.nan, 3.0]})
    (told,) = examining.collisions(frame, made)
    assert told.startswith("x: 1 of 3 different whole numbers are one to a model, such as 1735689601 and 1735689661")
    assert examining.collisions(pd.DataFrame({"x": [0.1, 0.1 + 1e-12, 2.0**24]}), made) == []


def test_stale_names_of_the_example_are_refused_before_training(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Path("data/prepared/train.parquet").read_bytes()
    for role in ("SLICES", "GROUPS"):
        with monkeypatch.context() as patched:
            patched.setattr(measures, role, ["no_such_column"])
            with pytest.raises(ProjectError, match=f"{role} of problem/metrics.py names 'no_such_column'"):
                steps.prepare(params.load())
    with pytest.raises(ProjectError, match="there is no metric 'luck'"):
        steps.prepare(project.set(gate__primary_metric="luck"))
    assert Path("data/prepared/train.parquet").read_bytes() == before


def test_a_metric_that_cannot_be_computed_is_refused_before_training(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(target: Any, scores: Any) -> float:
        raise ValueError("multiclass format is not supported")

    first = measures.METRICS[0]
    metric = Metric(first.name, broken, first.direction)
    monkeypatch.setattr(measures, "METRICS", [metric, *measures.METRICS[1:]])
    with pytest.raises(ProjectError, match=r"cannot be computed for 2 classes.*multiclass format"):
        steps.prepare(params.load())


def test_a_class_without_a_training_row_is_refused() -> None:
    made = signature_of(pa.Column(str, pa.Check.isin(["a", "b", "c"])))
    with pytest.raises(ProjectError, match="No training row has the 'y' 'c'"):
        steps.refuse_unlearned_classes(np.asarray([0, 1, 0]), made)
    steps.refuse_unlearned_classes(np.asarray([0, 1, 2]), made)


def test_prepare_tells_its_warnings(project: Project) -> None:
    result = steps.prepare(params.load())
    assert result["warnings"] == []
    assert json.dumps(result)
