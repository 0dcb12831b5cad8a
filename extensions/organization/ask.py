"""What `organization init` asks on a terminal, where no option has answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import questionary

from commands.answer_space import Template
from commands.questions import asked, axes

from .start import SETTINGS, Wishes, slug


def identity(name: str | None, source: str | None) -> tuple[str, str]:
    """Ask for the organization's name and the upstream."""
    name = name or questionary.text("What is the organization called?", validate=bool).unsafe_ask()
    source = source or questionary.text("Where is copier-mlops? A URL or a path", validate=bool).unsafe_ask()
    return name.strip(), source.strip()


def version(known: list[str]) -> str:
    """Ask which release of the upstream to build from, the newest first."""
    chosen: str = questionary.select("Which release of it?", choices=known[::-1]).unsafe_ask()
    return chosen


def wishes(given: Wishes, template: Template) -> Wishes:
    """Ask for what the options left open."""
    name = questionary.text("Its name in files and repositories?", default=given.slug or slug(given.name)).unsafe_ask()
    allowed = {**_allowed(given, template), **given.allowed}
    locks = {**_values("Which answers are the same in every project?", given, allowed, template), **given.locks}
    given = replace(given, slug=name, allowed=allowed, locks=locks)
    defaults = {**_values("Which questions get another default?", given, allowed, template), **given.defaults}
    return replace(given, defaults=defaults, settings=_settings(given), questions=_questions(given))


def _allowed(given: Wishes, template: Template) -> dict[str, list[str]]:
    found = {}
    for name, values in axes(template).items():
        if len(values) < 2 or name in {*given.allowed, *given.locks}:
            continue
        chosen = questionary.checkbox(
            f"{name}: which answers are allowed?",
            choices=[questionary.Choice(str(value), checked=True) for value in values],
            validate=lambda chosen: bool(chosen) or "Leave at least one.",
        ).unsafe_ask()
        if len(chosen) < len(values):
            found[name] = chosen
    return found


def _values(text: str, given: Wishes, allowed: dict[str, list[str]], template: Template) -> dict[str, str]:
    names = [name for name in asked(template) if name not in {*given.defaults, *given.locks, *allowed}]
    chosen = questionary.checkbox(text, choices=names).unsafe_ask()
    return {name: questionary.text(f"{name}:").unsafe_ask() for name in chosen}


def _settings(given: Wishes) -> dict[str, str]:
    answers: dict[str, Any] = {
        name: given.settings.get(name) or questionary.text(f"{text} Empty: leave it open").unsafe_ask()
        for name, text in SETTINGS.items()
    }
    return {name: value for name, value in answers.items() if value}


def _questions(given: Wishes) -> dict[str, str]:
    found = dict(given.questions)
    while name := questionary.text(
        "A question of your own: its name, such as cost_center. Empty: no more"
    ).unsafe_ask():
        found[name] = questionary.text(f"{name}: what is asked?", validate=bool).unsafe_ask()
    return found
