"""The answers that the tests cover: what the tables of copier.yml offer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from commands.answer_space import template
from commands.questions import cover_pairs, singles

TABLES = {name: question["default"] for name, question in template().questions().items() if "default" in question}
METRICS = {
    problem_type: [name for name, row in TABLES["metrics"].items() if problem_type in row["problem_types"]]
    for problem_type in TABLES["problem_types"]
}

# Every question with choices, and every choice, the default first: the tables of copier.yml say them. private_network,
# which only one infrastructure asks, changes no list of files: tests/aws covers it.
CHOICES: dict[str, list[Any]] = {
    "problem_type": list(METRICS),
    "primary_metric": [metric for metrics in METRICS.values() for metric in metrics],
    "serving_mode": ["online", "batch", "online_and_batch"],
    "license": list(TABLES["licenses"]),
    "ci_provider": list(TABLES["code_hosts"]),
    "infrastructure": list(TABLES["infrastructures"]),
}

# Free text that validators accept and that careless rendering would break.
HOSTILE = {
    "project_name": "Ünï \"quoted\" 'single' ${HOME} {{ 7 * 7 }} {% raw %} 🚀 #[*_]",
    "package_name": "a" * 39 + "9",
    "description": 'It\'s 100% "safe": $(id) ${{ secrets.X }} {{ boom }} %s [link](x) *bold* \N{SNOWMAN} # no comment',
    "owner": "A" + "-" * 37 + "9",
    "contact": "a.b+c_d-e@sub-domain.example.com",
    "environments": "x, dev-1, " + "p" * 20,
    "repository": "Some-Org/a.b_c-" + "d" * 80,
}

HOSTILE_REPOSITORIES = {
    "github": HOSTILE["repository"],
    "gitlab": "Some_Group/sub.group-1/a.b_c-" + "d" * 50,
    "azure_devops": "Some-Org/A.b_c-1/a.b_c-" + "d" * 50,
}


def hostile(provider: str, **answers: Any) -> dict[str, Any]:
    """Return the hostile answers for a provider of CI."""
    return {**HOSTILE, "ci_provider": provider, "repository": HOSTILE_REPOSITORIES[provider], **answers}


def exists(answers: dict[str, Any]) -> bool:
    """Say whether a combination can be chosen, given some of the answers."""
    type_, metric = answers.get("problem_type"), answers.get("primary_metric")
    return type_ is None or metric is None or metric in METRICS[type_]


def combinations() -> Iterator[dict[str, Any]]:
    """Yield every combination of choices that can be answered."""
    for values in itertools.product(*CHOICES.values()):
        answers = dict(zip(CHOICES, values, strict=True))
        if exists(answers):
            yield answers


def covering_answers() -> list[dict[str, Any]]:
    """Return few answers in which every possible pair of choices occurs."""
    return cover_pairs(CHOICES, exists)


def single_answers() -> dict[str, dict[str, Any]]:
    """Return the default answers, and for each other choice the answers that differ in it alone."""
    return singles(template())
