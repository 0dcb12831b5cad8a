"""Messages reach comments and logs that more people read than the table: what is personal is not in them."""

import pandas as pd
import pandera.pandas as pa
import pytest
from twoloops.errors import ProjectError
from twoloops.problem import data as problem
from twoloops.problems.tabular import contract

from tests.engine.support.project import Project, example_rows

PERSON = "Jane Roe, 12 Some Street"


def refusal(frame: pd.DataFrame, demanded: pa.DataFrameSchema) -> str:
    with pytest.raises(ProjectError) as raised:
        contract.check(frame, demanded, "the rows")
    return str(raised.value)


def test_an_entity_that_comes_twice_is_told_by_its_rows(bare_project: Project) -> None:
    rows = example_rows().head(20)
    rows[problem.ENTITY] = [f"{PERSON} {place}" for place in range(20)]
    rows.loc[7, problem.ENTITY] = rows.loc[3, problem.ENTITY]
    told = refusal(rows, problem.CONTRACT.add_columns({problem.ENTITY: pa.Column(str, unique=True)}))
    assert PERSON not in told
    assert "rows 3, 7" in told


def test_free_text_and_personal_columns_are_told_by_their_rows(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = example_rows().head(20).assign(note="short", income="1")
    rows.loc[4, ["note", "income"]] = PERSON
    monkeypatch.setattr(problem, "PERSONAL", ("income",))
    demanded = problem.CONTRACT.add_columns(
        {"note": pa.Column(str, pa.Check.str_length(max_value=10)), "income": pa.Column(float)}
    )
    told = refusal(rows, demanded)
    assert PERSON not in told
    assert "note: 1 row break" in told
    assert "income: 1 row cannot be read" in told
    assert told.count("the values are private; rows 4") == 2


def test_other_values_are_shown_as_before(bare_project: Project) -> None:
    signature = contract.signature(problem.CONTRACT, problem, "classification")
    number = next(each.name for each in signature.features if each.kind == "number")
    rows = example_rows().head(20)
    rows[number] = rows[number].astype(object)
    rows.loc[4, number] = "many"
    assert "'many'" in refusal(rows, problem.CONTRACT)
