"""From what a table says, and what a person answers, to what is drafted: the role of each column, and its levels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twoloops.errors import ProjectError
from twoloops.problems.tabular import examining
from twoloops.problems.tabular.contract import ANSWERED, WRITTEN
from twoloops.problems.tabular.drafting import suspecting
from twoloops.problems.tabular.drafting.profiling import Profile
from twoloops.problems.tabular.encoding import encode
from twoloops.problems.tabular.signature import Feature

Role = Literal["entity", "event time", "target", "personal", "feature", "left out"]

NONE: Final = "none"  # the answer that there is no such column
MADE_KEY: Final = "row_key"
OTHER: Final = "other"
BY_HAND: Final = "whoever drafted said so"
UNSPEAKABLE: Final = re.compile(r'["\\\x00-\x1f]')  # what msgspec, which reads requests, takes in no name
CANNOT_BE_NAMED: Final = (
    "requests cannot name it: its name has a quotation mark, a backslash or a control character; rename it in the table"
)
STRICT_LEVELS: Final = 20  # up to here the list is closed: another value is refused
LEARNT_LEVELS: Final = 100  # the most frequent, of more
FEWEST_OF_LEVEL: Final = 20  # rows of a level that is learnt
MOST_REST: Final = 0.5  # of the rows may have a level that is not learnt
WIDENING: Final = 0.1  # of the range that was seen, on both sides
LEAK: Final = 0.999  # data.leakage_threshold, as params.yaml comes
NEARLY_LEAK: Final = 0.95
MOST_LEAK_ROWS: Final = 50_000
NEARLY_EMPTY: Final = 0.5
FEW_EVENTS: Final = 100
MOST_SLICES: Final = 3
SLICE_LEVELS: Final = 12
BEYOND_FLOAT32: Final = 2**24
TARGET_NOUN: Final = {
    "classification": "what is predicted, one of two classes",
    "regression": "the amount that is predicted",
}


@dataclass(frozen=True)
class Question:
    """What the table does not say.

    Attributes:
        name: of the option that answers it, without dashes.
        text: the question, in words.
        suggested: the answer that is suggested; None: there is none.
        choices: what may be answered; empty: anything that `check` takes.
        many: whether several answers are given, parted by commas.
        must: whether a machine has to answer it; else what is suggested is taken.
    """

    name: str
    text: str
    suggested: str | None
    choices: Sequence[str] = ()
    many: bool = False
    must: bool = True


class Ask(Protocol):
    """Gives the answer to a question."""

    def __call__(self, question: Question, /) -> str:
        """Return the answer; of many, parted by commas."""


@dataclass
class Column:
    """A column of the draft: what it is for, and how the contract declares it."""

    profile: Profile
    role: Role
    reason: str = ""  # why it is left out
    levels: tuple[str, ...] = ()  # of a category
    learnt: bool = False  # whether any other text is `other`
    rest: int = 0  # rows of the levels that became `other`

    @property
    def name(self) -> str:
        """The column's name."""
        return self.profile.name


@dataclass
class Plan:
    """All that is decided of a draft."""

    source: str
    task: str
    rows: int
    columns: dict[str, Column]
    target: str
    classes: tuple[Any, ...]  # no event, event; empty for an amount
    entity: str
    made_key: bool
    unique: bool
    event_time: str | None
    label_days: int | None
    words: tuple[str, ...]
    suspicions: list[str] = field(default_factory=list)
    slices: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def of(self, *roles: Role) -> list[Column]:
        """Return the columns of some roles, in the table's order."""
        return [each for each in self.columns.values() if each.role in roles]


def decide(source: str, profiles: Mapping[str, Profile], task: str, ask: Ask) -> Plan:
    """Return what is drafted of a table.

    Args:
        source: the table, as data.source will name it.
        profiles: what each column says.
        task: the project's problem type.
        ask: answers what the table does not say.

    Raises:
        ProjectError: an answer does not fit the table, or the table does not fit the problem.
    """
    columns = {name: Column(each, "feature") for name, each in profiles.items()}
    rows = next(iter(profiles.values())).rows if profiles else 0
    suspicions: list[str] = []
    target = _ask_target(profiles, task, ask)
    columns[target].role = "target"
    classes = _classes(profiles[target], ask) if task == "classification" else _amount(profiles[target])
    entity = _ask_entity({name: each for name, each in profiles.items() if name != target}, ask)
    if entity is not None:
        columns[entity].role = "entity"
    event_time = _ask_time({n: each for n, each in profiles.items() if n not in (target, entity)}, ask)
    label_days = None
    if event_time is not None:
        columns[event_time].role = "event time"
        label_days = _days(ask(Question("label-days", "How many days after it is the target known?", "0")))
    words = tuple(dict.fromkeys(word for each in profiles.values() for word in each.words))
    plan = Plan(
        source=source,
        task=task,
        rows=rows,
        columns=columns,
        target=target,
        classes=classes,
        entity=entity or _free_name(profiles),
        made_key=entity is None,
        unique=entity is not None and profiles[entity].distinct == rows,
        event_time=event_time,
        label_days=label_days or None,
        words=words,
        suspicions=suspicions,
    )
    _set_personal(plan, ask)
    _leave_out(plan, ask)
    _suspect(plan)
    _set_levels(plan)
    if not plan.of("feature"):
        raise ProjectError(
            "No column of the table is left that a model could learn from.",
            hint="What was left out, and why:\n"
            + "\n".join(f"  {each.name}: {each.reason}" for each in plan.of("left out")),
        )
    _set_slices(plan)
    return plan


def _column(profiles: Mapping[str, Profile], name: str, option: str) -> Profile:
    if name not in profiles:
        from difflib import get_close_matches

        near = get_close_matches(name, profiles, n=1)
        raise ProjectError(
            f"--{option}: the table has no column {name!r}" + (f"; did you mean {near[0]!r}?" if near else "."),
            hint=f"It has: {', '.join(profiles)}.",
        )
    if UNSPEAKABLE.search(name):
        raise ProjectError(f"--{option}: {name!r} cannot be it: {CANNOT_BE_NAMED}.")
    return profiles[name]


def _ask_target(profiles: Mapping[str, Profile], task: str, ask: Ask) -> str:
    able = [name for name, each in profiles.items() if each.kind not in ("empty", "nested", "time")]
    suggested = suspecting.find_target({name: profiles[name] for name in able})
    text = f"Which column is the target: {TARGET_NOUN.get(task, 'what is predicted')}?"
    return _column(profiles, ask(Question("target", text, suggested, able)), "target").name


def _classes(target: Profile, ask: Ask) -> tuple[Any, ...]:
    values = [value for value, _ in target.levels]
    if target.distinct != 2 or target.kind not in ("text", "integer", "boolean"):
        found = f"{target.distinct:,} different values" if target.distinct != 1 else "one value alone"
        listed = f" ({', '.join(map(repr, values[:5]))}{', …' if len(values) > 5 else ''})" if values else ""
        more = target.numeric and target.distinct > STRICT_LEVELS
        raise ProjectError(
            f"The target {target.name!r} has {found}{listed}, and this project's metrics, plots and gate are of two "
            "classes.",
            hint="It is an amount: make the project with problem_type: regression."
            if more
            else "More than two classes are not offered yet. Put a column of two values into the table, such as "
            "whether it is the one you look for, and name that with --target.",
        )
    said = {"yes", "true", "1", "y", "t", "positive", "pos", "bad", "fraud", "churned", "late", "1.0"}
    rarer = values[-1]  # levels stand by frequency
    told = [value for value in values if str(value).lower() in said]
    suggested = told[0] if len(told) == 1 else rarer
    names = {str(value): value for value in values}
    answer = ask(
        Question(
            "event",
            f"Which value of {target.name!r} is the event, of which the probability is told?",
            str(suggested),
            list(names),
            must=len(told) != 1,
        )
    )
    if answer not in names:
        raise ProjectError(f"--event: {target.name!r} has no value {answer!r}.", hint=f"It has: {', '.join(names)}.")
    event = names[answer]
    return (next(value for value in values if value != event), event)


def _amount(target: Profile) -> tuple[Any, ...]:
    if not target.numeric or target.distinct < 2:
        raise ProjectError(
            f"The target {target.name!r} is no number that varies, and this project predicts amounts.",
            hint="Classes need a project with problem_type: classification. "
            + (target.written and f"Its text: {target.written}."),
        )
    return ()


def _ask_entity(profiles: Mapping[str, Profile], ask: Ask) -> str | None:
    able = [name for name, each in profiles.items() if each.kind in ("text", "integer") and not each.missing]
    keys = [name for name in able if suspecting.is_key(profiles[name])]
    named = [name for name in keys if suspecting.words_of(name)[-1:] == ["id"]]
    suggested = (named or keys or [name for name in able if suspecting.comes_back(profiles[name])] or [NONE])[0]
    text = (
        "Which column tells whom or what a row is about? A key, or one that comes back such as a customer; "
        f"'{NONE}' where there is none: then a row's key is made of what it says."
    )
    answer = ask(Question("entity", text, suggested, [*able, NONE]))
    if answer == NONE and NONE not in profiles:
        return None
    profile = _column(profiles, answer, "entity")
    if profile.missing or profile.kind not in ("text", "integer"):
        why = f"{profile.missing:,} rows have no value" if profile.missing else "it holds no text and no whole numbers"
        raise ProjectError(
            f"--entity: {answer!r} cannot be the key: {why}.",
            hint=f"Name another column, or --entity {NONE}: then a row's key is made of what it says.",
        )
    if answer in ANSWERED:
        raise ProjectError(
            f"--entity: {answer!r} is a name that results have for themselves.", hint="Rename the column."
        )
    return answer


def _ask_time(profiles: Mapping[str, Profile], ask: Ask) -> str | None:
    able = [name for name, each in profiles.items() if each.kind == "time" and not each.missing]
    # Of several the earliest: what is written later was not known yet.
    able.sort(key=lambda name: pc.min(profiles[name].values).as_py())
    text = f"Which column tells when a row's values were known? '{NONE}' where rows have no time."
    answer = ask(Question("event-time", text, (able or [NONE])[0], [*able, NONE], must=bool(able)))
    if answer == NONE and NONE not in profiles:
        return None
    profile = _column(profiles, answer, "event-time")
    if profile.kind != "time" or profile.missing:
        why = (
            f"{profile.missing:,} rows have none" if profile.kind == "time" else profile.written or "it holds no times"
        )
        raise ProjectError(
            f"--event-time: {answer!r} cannot be the event time: {why}.",
            hint=f"Times are ISO 8601, as 2025-01-31T05:45:00Z. Name another column, or --event-time {NONE}.",
        )
    return answer


def _days(answer: str) -> int:
    if not answer.isdecimal() or int(answer) > 3650:
        raise ProjectError(f"--label-days: {answer!r} is no number of days.", hint="It is 0 to 3650.")
    return int(answer)


def _free_name(profiles: Mapping[str, Profile]) -> str:
    name = MADE_KEY
    while name in profiles:
        name += "_"
    return name


def _listed(plan: Plan, answer: str, option: str) -> list[str]:
    """Return the columns that an answer lists; a name may hold commas itself."""
    parted = [each.strip() for each in answer.split(",") if each.strip() and each.strip() != NONE]
    names = [answer] if answer in plan.columns else parted
    profiles = {name: each.profile for name, each in plan.columns.items()}
    for name in names:
        _column(profiles, name, option)
        if plan.columns[name].role in ("target", "event time"):
            raise ProjectError(f"--{option}: {name!r} is the {plan.columns[name].role}.", hint="Name other columns.")
    return names


def _set_personal(plan: Plan, ask: Ask) -> None:
    why = {each.name: suspecting.find_personal(each.profile) for each in plan.of("feature", "entity")}
    why = {name: reason for name, reason in why.items() if reason}
    for name, reason in why.items():
        plan.suspicions.append(f"{name}: perhaps personal data: it {reason}.")
    able = [each.name for each in plan.of("feature")]
    text = f"Which columns are personal, so that no model may see them? Parted by commas; '{NONE}' for none."
    suggested = ", ".join(name for name in why if name in able) or NONE
    for name in _listed(plan, ask(Question("personal", text, suggested, able, many=True, must=False)), "personal"):
        if plan.columns[name].role == "feature":
            plan.columns[name].role = "personal"


def _leave_out(plan: Plan, ask: Ask) -> None:
    """Leave out what no model can learn from, and what a person says."""
    for column in plan.of("feature", "personal"):
        reason = CANNOT_BE_NAMED if UNSPEAKABLE.search(column.name) else next(_useless(column.profile), "")
        if column.role == "personal" and column.profile.kind not in ("empty", "nested") and reason != CANNOT_BE_NAMED:
            reason = ""
        if reason or column.name in WRITTEN:
            column.role, column.reason = "left out", reason or "results have a column of this name"
    text = f"Which other columns are left out, such as what is known only later? Parted by commas; '{NONE}' for none."
    able = [each.name for each in plan.of("feature")]
    for name in _listed(plan, ask(Question("leave-out", text, NONE, able, many=True, must=False)), "leave-out"):
        if plan.columns[name].role != "entity":
            plan.columns[name].role, plan.columns[name].reason = "left out", BY_HAND


def _useless(profile: Profile) -> Iterator[str]:
    """Yield why no model can learn from a column."""
    if profile.kind == "empty":
        yield "no row has a value"
    if profile.kind == "nested":
        yield f"it holds {profile.values.type}, and a model reads numbers and categories"
    if profile.distinct == 1:
        yield "a constant: each row that has a value has the same"
    if profile.kind == "time":
        yield "a time, which no model reads: put the days to the event time into the table as a number"
    if profile.written:
        yield f"text that holds {profile.written}"
    if suspecting.is_key(profile) or suspecting.is_nearly_a_key(profile):
        yield "an identifier: nearly each row has a value of its own"
    if suspecting.comes_back(profile):
        yield "an identifier that comes back; as --entity it would keep its rows on one side of the split"
    if profile.kind == "text":
        levels, _, rest = _levels(profile)
        if rest > MOST_REST * profile.known:
            yield (
                f"text with {profile.distinct:,} different values, of which {len(levels):,} frequent ones have "
                f"{1 - rest / profile.known:.0%} of the rows"
            )


def _suspect(plan: Plan) -> None:
    told = plan.suspicions
    if "://" not in plan.source and plan.source.startswith(("/", "..")):
        told.append(
            f"{plan.source} lies outside the project: who else works on it has no such file. Put it below data/raw, "
            "and name it so."
        )
    told += [f"{each.name}: left out: {each.reason}." for each in plan.of("left out") if each.reason != BY_HAND]
    target = plan.columns[plan.target].profile
    if target.missing:
        share = target.missing / plan.rows
        nearly = ": it is nearly empty" if share > NEARLY_EMPTY else ""
        told.append(f"{plan.target}: the target has no value in {target.missing:,} rows ({share:.1%}){nearly}.")
    if plan.classes:
        events = min(count for _, count in target.levels)
        if events < FEW_EVENTS:
            told.append(f"{plan.target}: only {events:,} rows are of the rarer class: little can be told from them.")
    _suspect_features(plan)
    if plan.words:
        columns = [name for name, each in plan.columns.items() if each.profile.words]
        told.append(
            f"{', '.join(map(repr, plan.words))} stands for no value in {', '.join(columns)}: load of problem/data.py "
            "takes it so. What sends rows to score or to the service has to leave the field empty."
        )
    for one, other, how in suspecting.find_same(each.profile for each in plan.of("feature", "entity")):
        told.append(f"{one} and {other} say the same: {how}. One of them may be enough.")
    _find_leaks(plan)
    if plan.made_key:
        told.append(
            f"No column is the key: load makes {plan.entity!r} of what a row says. Score, which reads a file as it "
            "is, needs it in the file."
        )


def _suspect_features(plan: Plan) -> None:
    for column in plan.of("feature"):
        if (
            column.profile.numeric
            and max(abs(column.profile.minimum or 0), abs(column.profile.maximum or 0)) > BEYOND_FLOAT32
        ):
            plan.suspicions.append(
                f"{column.name}: numbers as large as {column.profile.maximum:,.0f} lose their last digits in a model: "
                "is it a key, a date or a code?"
            )
        if column.profile.missing > NEARLY_EMPTY * plan.rows:
            plan.suspicions.append(
                f"{column.name}: {column.profile.missing / plan.rows:.1%} of the rows have no value."
            )


def _find_leaks(plan: Plan) -> None:
    target = plan.columns[plan.target].profile
    known = target.values.is_valid().to_numpy(zero_copy_only=False)
    if plan.classes:
        answers: Any = pc.equal(target.values, plan.classes[1]).fill_null(False).to_numpy(zero_copy_only=False)
        answers = answers.astype(np.int64)
        parts = [np.flatnonzero(known & (answers == each)) for each in (0, 1)]
    else:
        answers = target.values.cast(pa.float64()).to_numpy(zero_copy_only=False)
        parts = [np.flatnonzero(known)]
    # Evenly spaced rows, of classes equally many as far as there are: `prepare` looks at all of them.
    most = MOST_LEAK_ROWS // len(parts)
    rows = np.sort(np.concatenate([part[:: max(1, -(-len(part) // most))] for part in parts]))
    if min(map(len, parts)) < max(examining.FEWEST_EVENTS, suspecting.FEWEST // len(parts)):
        return
    places = pa.array(rows)
    features, table = [], {}
    for column in plan.of("feature"):
        values = column.profile.values.take(places)
        if column.profile.kind == "text":
            names = tuple(str(value) for value in pc.unique(values).drop_null().to_pylist())
            features.append(Feature(name=column.name, kind="category", nullable=True, categories=names))
            table[column.name] = values
        else:
            features.append(Feature(name=column.name, kind="number", nullable=True))
            table[column.name] = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    if not features:
        return
    entities = rows
    if not plan.made_key:
        found = plan.columns[plan.entity].profile.values.take(places).dictionary_encode()
        entities = found.indices.to_numpy(zero_copy_only=False)
    for told in examining.find_telling(encode(table, tuple(features)), features, answers[rows], entities):
        if told.separation >= LEAK:
            column = plan.columns[told.name]
            column.role, column.reason = "left out", "it alone tells the target: it was written after the fact"
            plan.suspicions.append(
                f"{told.name}: a leak, left out: it alone tells {plan.target!r} almost completely (separation "
                f"{told.separation:.4f}). Is it known only after the event?"
            )
        elif told.separation >= NEARLY_LEAK:
            plan.suspicions.append(
                f"{told.name}: perhaps a leak: it alone tells {plan.target!r} well (separation "
                f"{told.separation:.3f} of 1). Was it known at the time?"
            )


def _levels(profile: Profile) -> tuple[tuple[str, ...], bool, int]:
    """Return the levels of text, whether the list stays open, and how many rows have another value."""
    counted = [(str(value), count) for value, count in profile.levels]
    if counted and len(counted) <= STRICT_LEVELS:
        return tuple(sorted(value for value, _ in counted)), False, 0
    if not counted:
        values = pc.value_counts(profile.values.drop_null()).to_pylist()
        counted = sorted(((each["values"], each["counts"]) for each in values), key=lambda each: -each[1])
    kept = [value for value, count in counted[:LEARNT_LEVELS] if count >= FEWEST_OF_LEVEL]
    rest = profile.known - sum(count for value, count in counted if value in set(kept))
    return tuple(sorted(kept)), True, rest


def _set_levels(plan: Plan) -> None:
    for column in plan.of("feature"):
        if column.profile.kind == "text":
            column.levels, column.learnt, column.rest = _levels(column.profile)
            if column.learnt and OTHER not in column.levels:
                column.levels = (*column.levels, OTHER)


def _set_slices(plan: Plan) -> None:
    categories = [
        each
        for each in plan.of("feature")
        if (each.levels and not each.learnt and len(each.levels) <= SLICE_LEVELS) or each.profile.kind == "boolean"
    ]
    plan.groups = [each.name for each in categories if suspecting.is_group(each.profile)]
    plan.slices = [each.name for each in categories if each.name not in plan.groups][:MOST_SLICES]


def limits(profile: Profile) -> tuple[float, float]:
    """Return the range of a number that a contract allows: the one that was seen, widened and rounded outwards."""
    low, high = float(profile.minimum or 0), float(profile.maximum or 0)
    span = high - low or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span)) / 2
    step = max(step, 1.0) if profile.kind == "integer" else step
    lowest = math.floor(round((low - WIDENING * span) / step, 9)) * step
    highest = math.ceil(round((high + WIDENING * span) / step, 9)) * step
    return _short(max(0.0, lowest) if low >= 0 else lowest), _short(highest)


def _short(value: float) -> float:
    return float(f"{value:.12g}")
