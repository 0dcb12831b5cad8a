"""Which answer a label belongs to, and from what age on."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from twoloops.outer_loop.monitoring import captures, joining
from twoloops.problem import data as project
from twoloops.problems.base import Labels

NOW = datetime(2026, 6, 30, tzinfo=UTC)
JANUARY, MAY, JUNE = "2026-01-10T00:00:00Z", "2026-05-20T00:00:00Z", "2026-06-20T00:00:00Z"
Answer = tuple[str | None, str | None, str | None, str, float]  # request, entity, event time, when, score


@pytest.fixture
def join(bare_project: object, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what joins labels, rows of entity, value, request and event time, to answers."""

    def work(answers: list[Answer], labels: list[tuple[Any, ...]], label_days: int | None = None) -> joining.Joined:
        requests, entities, times, moments, scores = zip(*answers, strict=True)
        given = captures.Answers(
            list(requests),
            list(entities),
            list(times),
            np.asarray([each.rstrip("Z") for each in moments], "datetime64[us]").astype(np.int64),
            np.asarray(scores)[:, None],
        )
        monkeypatch.setattr(captures, "answers", lambda *_: given)
        entity, value, request, time = zip(*labels, strict=True)
        table = pd.DataFrame({project.ENTITY: entity, project.TARGET: value})
        known = np.asarray([each and each.rstrip("Z") for each in time], "datetime64[us]")
        told = Labels(table, list(value), list(request) if any(request) else None, known if any(time) else None)
        return joining.join([], SimpleNamespace(), told, label_days, NOW)  # type: ignore[arg-type]

    return work


def test_the_request_tells_the_answer_else_the_time_else_the_entity(join: Any) -> None:
    answers = [
        ("r1", "a", JANUARY, "2026-01-11", 0.1),
        ("r2", "a", MAY, "2026-05-21", 0.9),
        ("r3", "b", None, "2026-05-21", 0.3),
        ("r3", "c", None, "2026-05-21", 0.4),  # in one request
        ("r4", "b", None, "2026-05-22", 0.3),  # the same answer again
        ("r5", None, None, "2026-05-23", 0.7),  # whom it is about is personal
    ]
    joined = join(
        answers,
        [
            ("a", 0, "r1", None),
            ("a", 1, None, MAY),
            ("b", 1, None, None),
            ("c", 0, "r3", None),
            ("d", 0, "r5", None),
            ("b", 0, "gone", None),  # captured no more, or answered by another model
            ("a", 0, None, "2026-02-01T00:00:00Z"),  # nobody asked then
        ],
    )
    assert dict(zip(joined.places.tolist(), joined.scores[:, 0].tolist(), strict=True)) == {
        0: 0.1,
        1: 0.9,
        3: 0.4,
        4: 0.7,
    }
    assert joined.ambiguous == 1, "b has two labels, and one tells neither request nor time"
    assert join(answers, [("b", 1, None, None)]).scores.tolist() == [[0.3]]


def test_what_fits_several_answers_is_left_out_and_said(join: Any) -> None:
    answers = [(None, "a", None, "2026-05-01", 0.1), (None, "a", None, "2026-05-02", 0.2)]
    joined = join(answers, [("a", 1, None, None)])
    assert (len(joined.places), joined.ambiguous) == (0, 1)
    assert "1 labels fit several answers" in joined.left_out(None)
    # A label that tells a time, of an answer that does not: the answers have to agree too.
    assert join(answers, [("a", 1, None, MAY)]).ambiguous == 1
    assert join(answers[:1], [("a", 1, None, MAY)]).scores.tolist() == [[0.1]]


def test_the_window_ends_where_labels_are_not_known_yet(join: Any) -> None:
    answers = [
        (None, "a", MAY, "2026-06-29", 0.1),  # asked late about May
        (None, "b", JUNE, "2026-06-20", 0.2),
        (None, "c", None, "2026-06-20", 0.3),
        (None, "d", None, "2026-05-20", 0.4),
    ]
    labels = [(entity, 1, None, None) for entity in "abcd"]
    joined = join(answers, labels, 30)
    assert sorted(joined.scores[:, 0].tolist()) == [0.1, 0.4]
    assert joined.unripe == 2
    assert "2 labels are of answers younger than data.label_days, 30" in joined.left_out(30)
    assert len(join(answers, labels, 0).places) == len(join(answers, labels, None).places) == 4


def test_the_newest_answer_knows_what_has_come(join: Any) -> None:
    """The review's case: everybody is asked again later, when usage has stopped because they left."""
    random = np.random.default_rng(5)
    left = random.uniform(size=2000) < 0.3
    then = 0.65 * left + random.normal(size=2000)
    answers = [(f"then-{place}", str(place), JANUARY, "2026-01-11", score) for place, score in enumerate(then)]
    answers += [
        (f"now-{place}", str(place), MAY, "2026-05-21", 3 * each + score + 0.01)
        for place, (each, score) in enumerate(zip(left, then, strict=True))
    ]
    true = roc_auc_score(left, then)
    for labels in (
        [(str(place), int(each), f"then-{place}", None) for place, each in enumerate(left)],
        [(str(place), int(each), None, JANUARY) for place, each in enumerate(left)],
    ):
        joined = join(answers, labels)
        assert roc_auc_score(left[joined.places], joined.scores[:, 0]) == pytest.approx(true)
    assert true < 0.7
    assert roc_auc_score(left, 3 * left + then) > 0.95
    assert join(answers, [(str(place), int(each), None, None) for place, each in enumerate(left)]).ambiguous == 2000
