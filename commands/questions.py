"""What a template asks: which values a question offers, and which answers go together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from allpairspy import AllPairs
from jinja2 import meta

from .answer_space import Question, RefusedError, Template, UnsupportedError

Answers = dict[str, Any]


def asked(template: Template) -> dict[str, dict[str, Any]]:
    """Return the questions whose answers are recorded; those that are computed are left out."""
    return {
        name: settings for name, settings in template.questions().items() if settings.get("when", True) is not False
    }


def kind(settings: Mapping[str, Any]) -> str:
    """Return a question's type, as Copier takes it."""
    found = settings.get("type") or type(settings.get("default")).__name__
    return found if found in ("bool", "float", "int", "json", "path", "str") else "yaml"


def depends_on(template: Template, name: str) -> set[str]:
    """Return the questions that decide what a question offers, computed ones between them included."""
    questions = template.questions()
    found: set[str] = set()
    waiting = [name]
    while waiting:
        settings = questions[waiting.pop()]
        texts = [settings.get(part) for part in ("choices", "when", "default")]
        for text in texts:
            if isinstance(text, str):
                names = meta.find_undeclared_variables(template.environment.parse(text)) & questions.keys()
                waiting += names - found
                found |= names
    return found - {name}


def combinations(template: Template, names: set[str]) -> Iterator[Answers]:
    """Yield the answers to these questions that go together; all others take their defaults.

    Raises:
        RefusedError: a default is refused, or a question is left without any choice.
    """
    questions = list(template.questions().items())
    end = max((index + 1 for index, (name, _) in enumerate(questions) if name in names), default=0)
    yield from _combinations(template, questions[:end], names, {}, {})


def _combinations(
    template: Template, rest: list[tuple[str, dict[str, Any]]], names: set[str], answers: Answers, given: Answers
) -> Iterator[Answers]:
    if not rest:
        yield given
        return
    name, settings = rest[0]
    question = Question(template, name, settings)
    is_asked = question.asked(answers)
    values = offers(question, answers) if name in names and is_asked else None
    if values is not None:
        for value in values:
            yield from _combinations(template, rest[1:], names, answers | {name: value}, given | {name: value})
        return
    if "default" in settings:
        answers = answers | {name: question.parse(question.default(answers), answers)}
    yield from _combinations(template, rest[1:], names, answers, given)


def offers(question: Question, answers: Answers) -> list[Any] | None:
    """Return the values that a question offers for the answers before it; None for free text.

    Raises:
        RefusedError: it has choices, but none is left.
    """
    if "choices" in question.settings:
        values = question.choices(answers)
        if not values:
            before = {
                name: answers[name] for name in sorted(depends_on(question.template, question.name) & set(answers))
            }
            because = ", ".join(f"{name} is {value!r}" for name, value in before.items())
            raise RefusedError(f"{question.name} has no choice left when {because}")
        return values
    return [True, False] if kind(question.settings) == "bool" else None


def axes(template: Template) -> dict[str, list[Any]]:
    """Return every question that offers values, and every value that it offers for any answers before it.

    Raises:
        RefusedError: a question is left without any choice.
    """
    found: dict[str, list[Any]] = {}
    for name, settings in asked(template).items():
        if "choices" not in settings and kind(settings) != "bool":
            continue
        values: dict[Any, None] = {}
        for answers in combinations(template, depends_on(template, name) | {name}):
            values |= dict.fromkeys([answers[name]] if name in answers else [])
        found[name] = list(values)
    return found


def covering(template: Template) -> list[Answers]:
    """Return few answers in which every pair of values occurs that can be chosen together.

    Raises:
        RefusedError: a question is left without any choice.
    """
    offered = {name: values for name, values in axes(template).items() if values}
    return cover_pairs(offered, lambda answers: _possible(template, answers))


def cover_pairs(offered: Mapping[str, list[Any]], possible: Callable[[Answers], bool]) -> list[Answers]:
    """Return few answers in which every possible pair of values occurs.

    Args:
        offered: the values of each question.
        possible: says whether some answers can be given together.
    """
    if len(offered) < 2:
        return [{name: value} for name, values in offered.items() for value in values] or [{}]

    def allowed(row: list[Any]) -> bool:
        return possible(dict(zip(offered, row, strict=False)))

    rows = [dict(zip(offered, row, strict=True)) for row in AllPairs(list(offered.values()), filter_func=allowed)]
    # With a filter AllPairs can give up on a pair: what is left is added, with values for all others where some go.
    covered = {pair for row in rows for pair in _pairs(row)}
    for first, second in itertools.combinations(offered, 2):
        for values in itertools.product(offered[first], offered[second]):
            answers = dict(zip((first, second), values, strict=True))
            if not _pairs(answers) <= covered and possible(answers):
                choices = [[answers[name]] if name in answers else each for name, each in offered.items()]
                whole = (dict(zip(offered, row, strict=True)) for row in itertools.product(*choices))
                rows.append(next(filter(possible, whole), answers))
                covered |= _pairs(rows[-1])
    return rows


def singles(template: Template) -> dict[str, Answers]:
    """Return, by a name, the default answers, and for each other value the few answers that differ from them by it.

    Raises:
        RefusedError: a question is left without any choice.
    """
    usual = template.all_answers({})
    found: dict[str, Answers] = {"default": {}}
    for name, values in axes(template).items():
        for value in values:
            if value == usual.get(name):
                continue
            rows = combinations(template, depends_on(template, name) & asked(template).keys() | {name})
            others = (
                {each: given for each, given in row.items() if given != usual.get(each) or each == name}
                for row in rows
                if row.get(name) == value
            )
            found[f"{name}-{str(value).lower() if isinstance(value, bool) else value}"] = min(others, key=len)
    return found


def _possible(template: Template, given: Answers) -> bool:
    """Say whether answers can be given together, with defaults for all others."""
    try:
        template.all_answers(given)
    except (RefusedError, UnsupportedError):
        return False
    return True


def _pairs(answers: Answers) -> set[tuple[tuple[str, Any], tuple[str, Any]]]:
    return set(itertools.combinations(sorted(answers.items()), 2))
