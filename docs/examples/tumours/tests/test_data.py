"""The contract accepts what it should, and names what it should not accept."""

from typing import Any

import pytest
from example import example_rows
from twoloops import ProjectError, check_contract, project_signature

from tumours.problem import data


def test_the_example_keeps_the_contract() -> None:
    rows = example_rows()
    assert len(check_contract(rows, data.CONTRACT, "example")) == len(rows)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("mean_radius", -1.0, "mean_radius: 1 row break in_range.*-1.0"),
        ("worst_area", None, "worst_area: 1 row without a value"),
        ("malignant", 2, "malignant: 1 row break isin"),
    ],
)
def test_a_broken_value_is_named_with_its_column(column: str, value: Any, words: str) -> None:
    rows = example_rows()
    rows[column] = rows[column].astype(object)
    rows.loc[5, column] = value
    with pytest.raises(ProjectError, match=words):
        check_contract(rows, data.CONTRACT, "example")


def test_text_in_a_number_is_named_with_its_row() -> None:
    rows = example_rows().astype({"mean_radius": object})
    rows.loc[7, "mean_radius"] = "large"
    with pytest.raises(ProjectError, match=r"mean_radius: 1 row cannot be read as float64 \(first: row 7\): 'large'"):
        check_contract(rows, data.CONTRACT, "example")


def test_the_signature_leaves_out_what_must_not_be_learned() -> None:
    signature = project_signature()
    assert len(signature.numeric) == 30
    assert not signature.categorical
    assert not {data.ENTITY, data.TARGET} & set(signature.names)


def test_a_tumour_keeps_its_side_in_whatever_order_rows_come() -> None:
    rows = example_rows()
    split, mixed = data.split(rows, 0.25, None), data.split(rows.sample(frac=1, random_state=1), 0.25, None)
    assert set(split.holdout[data.ENTITY]) == set(mixed.holdout[data.ENTITY])
