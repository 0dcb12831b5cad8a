"""What a table makes one suspect: keys, constants, personal data, columns that say the same. Names and values tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Final

import numpy as np
import pyarrow as pa

from twoloops.problems.tabular.drafting.profiling import Profile

KEY_WORDS: Final = frozenset({"id", "key", "uuid", "guid", "number", "no", "nr", "code", "index", "rowid", "unnamed"})
KEY_ENDS: Final = frozenset({"id", "key", "uuid", "guid"})
# Of people. A word alone proves nothing: it is a suspicion, and a person answers.
PERSONAL_WORDS: Final = frozenset(
    {"email", "mail", "phone", "telephone", "mobile", "fax", "name", "firstname", "lastname", "surname", "forename"}
    | {"address", "street", "ssn", "iban", "passport", "birthday", "birthdate", "dob", "ip", "license", "licence"}
)
PERSONAL_PAIRS: Final = (("birth", "date"), ("date", "birth"), ("social", "security"), ("credit", "card"))
GROUP_WORDS: Final = frozenset(
    {"sex", "gender", "race", "ethnicity", "ethnic", "religion", "nationality", "disability", "citizenship"}
)
GROUP_PAIRS: Final = (("age", "group"), ("marital", "status"))
TARGET_WORDS: Final = frozenset(
    {"target", "label", "outcome", "y", "churn", "churned", "default", "defaulted", "fraud", "survived", "response"}
)
PERSONAL_VALUES: Final = {
    "e-mail addresses": re.compile(r"[^@\s]+@[^@\s]+\.[a-zA-Z]{2,}"),
    "phone numbers": re.compile(r"(\+|00)\d[\d\s()/-]{6,}\d|\(?\d{3}\)?[\s-]\d{3}[\s-]\d{4}"),
    "IP addresses": re.compile(r"\d{1,3}(\.\d{1,3}){3}"),
    "IBANs": re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}"),
}
MANY: Final = 50  # different values from which a name such as `name` is that of a person, and not of a kind of thing
NEARLY_ALL: Final = 0.95
LOOKED_AT: Final = 500
SAME: Final = 0.99999  # of a correlation
ROUGHLY_SAME: Final = 0.9  # with the mean in place of what is missing: these pairs are looked at
FEWEST: Final = 20  # rows for a correlation to say anything
SAMPLE: Final = 10_000


def words_of(name: str) -> list[str]:
    """Return the words of a column's name: customerId, customer_id and "Customer ID" are customer and id."""
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return [each.lower() for each in re.split(r"[^A-Za-z0-9]+", parted) if each]


def _has(name: str, single: frozenset[str], pairs: Iterable[tuple[str, str]] = ()) -> bool:
    words = words_of(name)
    return bool(single & set(words)) or any(set(pair) <= set(words) for pair in pairs)


def is_key(profile: Profile) -> bool:
    """Say whether each row has a value of its own that is no measurement."""
    if profile.missing or profile.distinct < profile.rows or profile.rows < FEWEST:
        return False
    if profile.kind == "text":
        return True
    if profile.kind != "integer":
        return False
    span = (profile.maximum or 0) - (profile.minimum or 0) + 1
    return _has(profile.name, KEY_WORDS) or span <= 2 * profile.rows  # counted up


def is_nearly_a_key(profile: Profile) -> bool:
    """Say whether nearly each row has a value of its own, so that nothing can be learned from it."""
    own = profile.kind == "text" or (profile.kind == "integer" and _has(profile.name, KEY_WORDS))
    return own and profile.known >= FEWEST and profile.distinct > NEARLY_ALL * profile.known


def comes_back(profile: Profile) -> bool:
    """Say whether a column is called a key, and has many values, of which some occur again."""
    called = bool(KEY_ENDS & set(words_of(profile.name)[-1:]))
    return called and profile.kind in ("text", "integer") and MANY < profile.distinct < profile.known


def find_personal(profile: Profile) -> str:
    """Return why a column seems to be about a single person; nothing where it does not."""
    if profile.kind in ("text", "integer") and profile.known:
        told = profile.values.drop_null()[:LOOKED_AT].to_pylist()
        for what, pattern in PERSONAL_VALUES.items() if profile.kind == "text" else ():
            if sum(bool(pattern.fullmatch(str(each).strip())) for each in told) > len(told) / 2:
                return f"holds {what}"
    named = _has(profile.name, PERSONAL_WORDS, PERSONAL_PAIRS)
    return "is called as what tells who somebody is" if named and profile.distinct >= MANY else ""


def is_group(profile: Profile) -> bool:
    """Say whether a column tells groups of people apart."""
    return _has(profile.name, GROUP_WORDS, GROUP_PAIRS)


def find_target(profiles: Mapping[str, Profile]) -> str | None:
    """Return the one column whose name says that it is the target."""
    found = [name for name in profiles if set(words_of(name)) & TARGET_WORDS]
    return found[0] if len(found) == 1 else None


def find_same(profiles: Iterable[Profile]) -> Iterator[tuple[str, str, str]]:
    """Yield pairs of columns that say the same, and how: by equal rows, or by a straight line."""
    listed = [each for each in profiles if each.codes and each.distinct > 1]
    told = set()
    for _, same in groupby(sorted(listed, key=lambda each: each.codes), lambda each: each.codes):
        first, *others = sorted(same, key=lambda each: [one.name for one in listed].index(each.name))
        for other in others:
            told.add((first.name, other.name))
            yield first.name, other.name, "each value of the one goes with one of the other"
    numbers = [each for each in listed if each.numeric and each.distinct > 2]
    if len(numbers) < 2:
        return
    step = max(1, numbers[0].rows // SAMPLE)
    matrix = np.column_stack(
        [each.values.cast(pa.float64()).to_numpy(zero_copy_only=False)[::step] for each in numbers]
    )
    known = ~np.isnan(matrix)
    means = np.array(
        [matrix[known[:, place], place].mean() if known[:, place].any() else 0.0 for place in range(len(numbers))]
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        rough = np.abs(np.corrcoef(np.where(known, matrix, means), rowvar=False))
    for one, other in zip(*np.where(np.triu(rough, 1) > ROUGHLY_SAME), strict=True):
        pair = (numbers[one].name, numbers[other].name)
        both = known[:, one] & known[:, other]
        if pair in told or both.sum() < FEWEST:
            continue
        left, right = matrix[both, one], matrix[both, other]
        if np.ptp(left) and np.ptp(right) and abs(np.corrcoef(left, right)[0, 1]) > SAME:
            yield *pair, "the one follows from the other by a straight line"
