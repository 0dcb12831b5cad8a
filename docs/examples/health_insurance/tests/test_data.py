"""The contract accepts what it should, and names what it should not accept."""

from typing import Any

import pytest
from example import example_rows
from twoloops import ProjectError, check_contract, project_signature

from visits.problem import data


def test_the_example_keeps_the_contract() -> None:
    rows = example_rows()
    assert len(check_contract(rows, data.CONTRACT, "example")) == len(rows)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("lncoins", -3.0, "lncoins: 1 row break in_range.*-3.0"),
        ("disea", None, "disea: 1 row without a value"),
        ("hlthp", 2, "hlthp: 1 row break isin.*2"),
        ("mdvis", -1.0, "mdvis: 1 row break in_range.*-1.0"),
        ("mdvis", 400.0, "mdvis: 1 row break in_range.*400.0"),
    ],
)
def test_a_broken_value_is_named_with_its_column(column: str, value: Any, words: str) -> None:
    rows = example_rows()
    rows[column] = rows[column].astype(object)
    rows.loc[5, column] = value
    with pytest.raises(ProjectError, match=words):
        check_contract(rows, data.CONTRACT, "example")


def test_text_in_a_number_is_named_with_its_row() -> None:
    rows = example_rows().astype({"disea": object})
    rows.loc[7, "disea"] = "many"
    with pytest.raises(ProjectError, match=r"disea: 1 row cannot be read as float64 \(first: row 7\): 'many'"):
        check_contract(rows, data.CONTRACT, "example")


def test_the_signature_leaves_out_what_must_not_be_learned() -> None:
    signature = project_signature()
    assert not {data.ENTITY, data.TARGET} & set(signature.names)
    assert signature.classes == ()
    assert signature.categorical == ["idp", "hlthg", "hlthf", "hlthp"]
    assert signature.numeric == ["lncoins", "lpi", "fmde", "physlm", "disea"]


def test_no_family_is_on_both_sides() -> None:
    rows = example_rows()
    split = data.split(rows, 0.25, None)
    assert not set(split.train[data.ENTITY]) & set(split.holdout[data.ENTITY])
    assert len(split.train) + len(split.holdout) == len(rows)
