"""One record is followed through the model."""

import numpy as np
import pytest
from twoloops.artifact import Predictor
from twoloops.errors import ProjectError
from twoloops.outer_loop.explain import explain
from twoloops.problem import data as problem

from tests.engine.support.project import Project, signature_of

ROWS = "data/raw/rows.parquet"


def test_the_steps_lead_to_the_prediction(project: Project) -> None:
    told = explain(ROWS, row=3, model="artifacts/model")
    predictor = Predictor.load("artifacts/model")
    record = project.rows().iloc[[3]].reset_index(drop=True)
    assert list(told["scores"].values()) == pytest.approx(predictor.scores(record)[0].tolist())
    assert {each["feature"] for each in told["features"]} == set(signature_of(predictor).names)
    moves = [abs(each["contribution"]) for each in told["features"]]
    assert moves == sorted(moves, reverse=True)
    assert moves[0] > 0
    assert told["entity"] == record[problem.ENTITY].iloc[0]


def test_a_feature_that_the_model_does_not_use_moves_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    signature = signature_of(Predictor.load("artifacts/model"))
    only, *others = signature.names

    def one_eyed(self: Predictor, matrix: np.ndarray) -> np.ndarray:
        return np.repeat(np.nan_to_num(matrix[:, [0]]).astype(float), max(len(signature.classes), 1), axis=1)

    monkeypatch.setattr(Predictor, "score_inputs", one_eyed)
    moves = [
        {each["feature"]: each["contribution"] for each in explain(ROWS, row=row, model="artifacts/model")["features"]}
        for row in range(5)
    ]
    assert any(move[only] for move in moves)
    assert not any(move[name] for move in moves for name in others)


def test_a_record_is_chosen_by_entity_and_must_exist(project: Project) -> None:
    entity = str(project.rows()[problem.ENTITY].iloc[7])
    assert str(explain(ROWS, entity=entity, model="artifacts/model")["entity"]) == entity
    with pytest.raises(ProjectError, match="has no row whose"):
        explain(ROWS, entity="nobody at all", model="artifacts/model")
    with pytest.raises(ProjectError, match="has no row 1000000"):
        explain(ROWS, row=10**6, model="artifacts/model")
