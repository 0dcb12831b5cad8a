"""One threshold decides what is predicted, in training, service and scoring alike."""

from pathlib import Path

import numpy as np
import pytest
from twoloops import params
from twoloops.artifact import Predictor
from twoloops.errors import ProjectError
from twoloops.inner_loop.train import train
from twoloops.problem import metrics
from twoloops.problems import problem
from twoloops.problems.outputs import classes

from tests.engine.support.project import Project

SCORES = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])


def test_the_last_of_two_classes_is_predicted_above_the_threshold() -> None:
    assert classes.predictions(SCORES, ("stays", "leaves"))["prediction"].tolist() == ["stays", "stays", "leaves"]
    found = classes.predictions(SCORES, ("stays", "leaves"), 0.15)
    assert found["prediction"].tolist() == ["stays", "leaves", "leaves"]
    assert found["probability_leaves"].tolist() == [0.1, 0.2, 0.7]


def test_a_model_decides_as_its_project_did_when_it_was_trained(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "DECISION_THRESHOLD", 0.07)
    train(params.load())
    model = Predictor.load(Path("artifacts/model"))
    monkeypatch.setattr(metrics, "DECISION_THRESHOLD", 0.9)
    answers = model.predict(project.rows())
    above = answers[f"probability_{model.signature.classes[1]}"] > 0.07
    assert 0 < above.mean() < 1
    np.testing.assert_array_equal(answers["prediction"] == model.signature.classes[1], above)


@pytest.mark.parametrize("threshold", [0, 1, 1.5])
def test_what_is_no_probability_is_refused(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch, threshold: float
) -> None:
    monkeypatch.setattr(metrics, "DECISION_THRESHOLD", threshold, raising=False)
    with pytest.raises(ProjectError, match="DECISION_THRESHOLD"):
        problem.signature()


def test_a_project_without_one_predicts_the_more_probable_class(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "DECISION_THRESHOLD", None)
    signature = problem.signature()
    assert signature.decision_threshold is None
    assert problem.predictions(SCORES, signature)["prediction"].tolist() == [0, 0, 1]
