"""Send a table's rows to a running service, as a client would."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twoloops.contracts.client import Answer, Client, Endpoint
from twoloops.errors import ProjectError
from twoloops.outer_loop.trial import encode_json
from twoloops.problems import problem

OVERLOADED = 503
TRIES = 5  # of a request that is told to come back


def invoke(
    source: str,
    target: Path | None,
    endpoint: Endpoint,
    rows_per_request: int,
    refuse: Callable[[int, str], None],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Send every row of a table to a service.

    The rows go as they are: what breaks the contract is refused by the service, row by row, and the
    others are answered.

    Args:
        source: a Parquet or CSV table.
        target: the file to write, .parquet or .csv: the row's number, entity and event time, and the answer.
        endpoint: where the service answers.
        rows_per_request: at most so many rows go in one request.
        refuse: is told each refused row, by its number from 0, and why.
        progress: is told how far it is.

    Returns:
        How many rows were answered and refused, the versions that answered, and without `target`
        the answers themselves.

    Raises:
        ProjectError: no service answers, or it fails.
    """
    signature = problem.signature()
    raw = problem.load(source)
    rows, keys = problem.requests(raw, signature), problem.keys(raw)
    answers: list[dict[str, Any]] = []
    refused = 0
    with endpoint.connect() as client:
        waiting = [
            list(range(first, min(first + rows_per_request, len(rows))))
            for first in range(0, len(rows), rows_per_request)
        ]
        waiting.reverse()
        while waiting:
            places = waiting.pop()
            progress(f"{places[0]:,} of {len(rows):,} rows")
            answer = _send(client, encode_json([rows[place] for place in places]))
            if answer.status == 200:
                content = answer.json()
                common = {"model_version": content["model_version"], "request_id": content["request_id"]}
                answers += [
                    {"row": place, **{key: column[place] for key, column in keys.items()}, **each, **common}
                    for place, each in zip(places, content["predictions"], strict=True)
                ]
                continue
            bad, rest = _split_refused(answer, places)
            for place, why in bad.items():
                refuse(place, why)
            refused += len(bad)
            waiting += [part for part in rest if part]
    answers.sort(key=lambda each: each["row"])
    result = {
        "address": endpoint.url,
        "rows": len(rows),
        "answered": len(answers),
        "refused": refused,
        "versions": sorted({each["model_version"] for each in answers}),
    }
    if target is not None:
        problem.write_rows(answers, target)
        return result | {"output": str(target)}
    return result | {"answers": json.loads(json.dumps(answers, default=_plain))}


def _send(client: Client, content: bytes) -> Answer:
    """Send one request; come back when the service says that it has too much to do."""
    for _ in range(TRIES):
        answer = client.send("POST", "/predict", content)
        if answer.status != OVERLOADED:
            break
        time.sleep(float(answer.headers.get("retry-after", "1")))
    if answer.status >= 500 or answer.status in (404, 405):
        raise ProjectError(
            f"The service answers {answer.status}: {answer.content[:300].decode(errors='replace')}",
            hint="The verb 'status' tells whether it is well; its log says more.",
        )
    return answer


def _split_refused(answer: Answer, places: list[int]) -> tuple[dict[int, str], list[list[int]]]:
    """Return the rows that were refused, with the reason, and those to be sent again."""
    said = answer.json()
    bad: dict[int, str] = {}
    for detail in said.get("details") or []:
        if detail.get("row") is not None:
            place = places[detail["row"]]
            found = f"{detail['field']}: {detail['problem']}"
            bad[place] = f"{bad[place]}; {found}" if place in bad else found
    if bad:
        return bad, [[place for place in places if place not in bad]]
    if len(places) == 1:
        return {places[0]: said["error"]}, []
    middle = len(places) // 2  # too large, or not told which: halves are
    return {}, [places[middle:], places[:middle]]


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it."""
    return value.isoformat() if hasattr(value, "isoformat") else value.item() if hasattr(value, "item") else str(value)
