"""Which answer a label belongs to: the one that was given then, and not the newest about whom it concerns.

Somebody who was asked about in January and in June, and left in July, was answered twice: the label of January's
answer is "stayed". Taken for a label of June's answer it makes a model look better or worse than it is. So a label
tells its answer, by what was known when it was given; the surer way comes first:

1. by `request_id`, which the service tells with each answer (and the entity, where one request held several rows);
2. by entity and event time, where both the request and the label told the time;
3. by the entity alone, where all answers about it are the same and so are all its labels.

What fits several answers that differ is counted and left out.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twoloops.artifact import Predictor, Scores
from twoloops.outer_loop.monitoring import captures
from twoloops.problems import problem
from twoloops.problems.base import Labels

TOLERANCE = 1e-5  # the same row, scored in another batch, may differ in its last digits


@dataclass(frozen=True)
class Joined:
    """Labels and the answers that they belong to, the most recently given first.

    Attributes:
        places: of the labels, shape [joined].
        scores: of the answers, shape [joined, outputs].
        ambiguous: labels that fit several answers, which differ.
        unripe: labels of answers that are younger than a label can be.
    """

    places: NDArray[np.int64]
    scores: Scores
    ambiguous: int
    unripe: int

    def left_out(self, label_days: int | None) -> str:
        """Return which labels were left out, in words; nothing where none was."""
        parts = []
        if self.ambiguous:
            parts.append(
                f"{self.ambiguous:,} labels fit several answers that differ, and are left out: give request_id, or the "
                "event time, with the labels and the requests."
            )
        if self.unripe:
            parts.append(f"{self.unripe:,} labels are of answers younger than data.label_days, {label_days}.")
        return " ".join(parts)


def join(paths: list[Path], predictor: Predictor, labels: Labels, label_days: int | None, now: datetime) -> Joined:
    """Join each label to the answer that it is about.

    Args:
        paths: all capture files on disk.
        predictor: the model whose answers count.
        labels: as the problem has read them.
        label_days: the age from which on a row's label is known; None or 0: at once. A row's age counts from its event
            time, and from its answer where the request told none.
        now: from when the age counts.
    """
    entities = [str(entity) for entity in problem.entities(labels.records)]
    requests = labels.requests or [None] * len(entities)
    given = captures.answers(paths, predictor, set(entities), {each for each in requests if each})
    times = problem.read_times(given.event_times)
    told = labels.times if labels.times is not None else np.full(len(entities), np.datetime64("NaT", "us"))
    of_request, of_entity = _places(given.requests), _places(given.entities)
    labels_of = _places(list(entities))

    def candidates(label: int) -> tuple[list[int], bool]:
        """Return the answers that a label fits, and whether it has to be asked if the entity's labels are the same."""
        entity, request = entities[label], requests[label]
        if request:
            # An answer that was captured without the entity, because that is personal, is told by the request alone.
            return [each for each in of_request.get(request, ()) if given.entities[each] in (entity, None)], False
        about = of_entity.get(entity, [])
        if np.isnat(told[label]):
            return about, True
        exactly = [each for each in about if times[each] == told[label]]
        return (exactly, False) if exactly else ([each for each in about if np.isnat(times[each])], True)

    found: list[tuple[int, int]] = []
    ambiguous = 0
    for label, entity in enumerate(entities):
        fitting, by_entity = candidates(label)
        if not fitting:
            continue
        scores = given.scores[fitting]
        agree = len(fitting) == 1 or np.allclose(scores, scores[0], rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
        if agree and (not by_entity or len({labels.values[each] for each in labels_of[entity]}) == 1):
            found.append((label, max(fitting, key=lambda each: int(given.moments[each]))))
        else:
            ambiguous += 1
    places, answers = np.asarray(found, dtype=np.int64).reshape(-1, 2).T
    known = np.where(np.isnat(times), given.moments.astype("datetime64[us]"), times)[answers]
    newest = np.datetime64((now - timedelta(days=label_days or 0)).astimezone(UTC).replace(tzinfo=None), "us")
    ripe = known <= newest if label_days else np.ones(len(known), dtype=np.bool_)
    order = np.argsort(-given.moments[answers], kind="stable")
    order = order[ripe[order]]
    return Joined(places[order], given.scores[answers[order]], ambiguous, int((~ripe).sum()))


def _places(keys: list[str | None]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        if key is not None:
            found[key].append(place)
    return dict(found)
