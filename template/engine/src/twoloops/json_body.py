"""What strangers send: JSON of any form, and their texts, shown short and harmless."""

from __future__ import annotations

import gc
import json
import reprlib
from codecs import BOM_UTF8 as BOM
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import msgspec

from twoloops.contracts.serving import RefusedError


def parse(body: bytes) -> Any:
    """Read JSON of any form; a mark of the order of bytes before it is passed over.

    Raises:
        RefusedError: 400, it is not JSON; 422, an object has a key twice.
    """
    body = body.removeprefix(BOM)
    try:
        with _without_collector():
            content = msgspec.json.decode(body)
        if not has_each_key_once(body, _keys(content)):
            refuse_twice(body)
        return content
    except RecursionError:
        raise RefusedError(400, "The JSON is nested too deeply.") from None
    except ValueError as error:
        # Asked of the body, not of the error: msgspec 0.23 raises another type than 0.22 did.
        if not _is_utf8(body):
            raise RefusedError(400, "The body is not UTF-8.") from None
        text = "The body is empty" if not body.strip() else f"The body is not JSON: {error}"
        if b"NaN" in body or b"Infinity" in body:
            text += "; JSON has no NaN and no Infinity, null stands for a missing value"
        raise RefusedError(400, text + ".") from None


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the collector of circles from looking at what is being built: there are none in JSON.

    It would look again and again: 2 MB of empty lists took six times as long with it.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def has_each_key_once(body: bytes, keys: int) -> bool:
    """Say whether surely no object of a body has a key twice; False: it must be read again to know.

    Where no text has an escaped quote, a quote with a colon after it ends a key and nothing else.

    Args:
        body: what is JSON.
        keys: how many there are in what was read of it, where of twins one is left.
    """
    return b"\\" not in body and body.count(b'":') + body.count(b'" :') == keys


def _keys(content: Any) -> int:
    """Return how many keys all objects in parsed JSON have."""
    keys, level = 0, [content]
    while level:
        # Depth by depth, so that what is done for each value is done in C: 660,000 empty rows are no work.
        objects = [each for each in level if type(each) is dict]
        lists = [each for each in level if type(each) is list]
        keys += sum(map(len, objects))
        values = chain(chain.from_iterable(map(dict.values, objects)), chain.from_iterable(lists))
        level = [value for value in values if value and (type(value) is dict or type(value) is list)]
    return keys


def refuse_twice(body: bytes) -> None:
    """Refuse an object that has a key twice: which value is meant, nobody knows, and the parser takes the last.

    Args:
        body: what is JSON.

    Raises:
        RefusedError: 422; 400, it is nested too deeply.
    """
    if b":" not in body:
        return
    try:
        with _without_collector():
            json.loads(body, object_pairs_hook=_once, parse_int=str, parse_float=str)
    except RecursionError:
        raise RefusedError(400, "The JSON is nested too deeply.") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        problem = "is there twice; once is enough"
        detail = {"row": None, "field": shown(twice), "problem": problem}
        raise RefusedError(422, f"The key {shown(twice)!r} {problem}.", [detail])
    return found


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def shown(value: object) -> str:
    """Return a stranger's text, short and harmless; of what is large, only a part is turned into text."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
