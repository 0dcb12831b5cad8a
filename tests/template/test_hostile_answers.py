"""Answers are data: each is refused in words, or ends in files that parse and hold it unharmed."""

from __future__ import annotations

import keyword
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.answer_space import RefusedError, template
from commands.rendering import TEMPLATE
from tests.support.answers import CHOICES, HOSTILE, HOSTILE_REPOSITORIES, hostile
from tests.support.languages import clean, parse

OURS = template()
FREE_TEXT = [
    name
    for name, question in OURS.questions().items()
    if question["type"] == "str" and "choices" not in question and question.get("when", True)
]
NASTY = st.sampled_from(
    [
        *['"', "'", '"""', "'''", "\\", "\\n", "`", "$", "${HOME}", "$(id)", "${{ github.token }}", "{{", "}}"],
        *["{{ 7 * 7 }}", "{% raw %}", "{#", "#", "%", "%(x)s", "{0}", "\n", "\r\n", "\t", "\0", "\x1b[31m", "\x7f"],
        *[
            "\u2028",
            "\ufeff",
            "🚀",
            "ß",
            "İ",
            "名前",
            "e\u0301",
            "\u202e",
            ": ",
            "- ",
            "&a",
            "*a",
            "[",
            "]",
            "=",
            "<",
            ">",
        ],
        *[
            "|",
            ";",
            "../",
            "/",
            "~",
            "..",
            ".",
            "!!python/name:os.system",
            "con",
            "nul",
            "aux",
            "class",
            "None",
            "null",
        ],
        *["true", "yes", "1e3", "0x10", "a" * 300, ""],
    ]
)
WORDS = st.sampled_from(
    [*keyword.kwlist, "con", "prn", "aux", "nul", "com1", "lpt9", "json", "test", "numpy", "mlflow"]
)
TEXT = st.one_of(
    st.lists(st.one_of(NASTY, st.text(max_size=8), st.just("Churn"), st.just(" ")), max_size=6).map("".join),
    WORDS,
    st.text(max_size=300),
)


def check_rendered(given_answers: dict[str, Any]) -> None:
    for file, answers in OURS.distinct_renders(iter([given_answers])):
        if not file.uses & (set(FREE_TEXT)):
            continue
        name, text = file.render(answers)
        clean(name, text)
        parse(name, text)
        if name == "pyproject.toml":
            project = tomllib.loads(text)["project"]
            assert project["description"] == answers["description"]
            assert list(project["scripts"]) == [answers["package_name"]]
            assert project["urls"]["repository"].endswith("/" + answers["repository"])


@settings(max_examples=400, deadline=None)
@given(name=st.sampled_from(FREE_TEXT), value=TEXT)
def test_refused_in_words_or_rendered_unharmed(name: str, value: str) -> None:
    try:
        OURS.all_answers({name: value})
    except RefusedError as refused:
        message = str(refused)
    else:
        check_rendered({name: value})
        return
    # It may be another answer whose default follows from this one, but never an empty message.
    assert any(question in message for question in FREE_TEXT)


@settings(max_examples=100, deadline=None)
@given(values=st.fixed_dictionaries(dict.fromkeys(FREE_TEXT, TEXT)))
def test_all_at_once(values: dict[str, str]) -> None:
    accepted = dict(HOSTILE)
    for name, value in values.items():
        try:
            OURS.all_answers(accepted | {name: value})
        except RefusedError:
            continue
        accepted[name] = value
    check_rendered(accepted)


@settings(max_examples=200, deadline=None)
@given(value=st.text(min_size=1, max_size=60))
def test_any_project_name_that_is_allowed_has_a_default_package_name(value: str) -> None:
    try:
        OURS.all_answers({"project_name": value, "package_name": "fixed"})
    except RefusedError:
        return
    try:
        answers = OURS.all_answers({"project_name": value})
    except RefusedError as refused:
        # Only a reserved name needs another answer.
        if "package_name cannot be" in str(refused):
            return
        raise
    assert answers["package_name"].isidentifier()


@pytest.mark.parametrize("name", HOSTILE)
def test_the_hostile_answers_of_the_execution_tests_are_accepted(name: str) -> None:
    assert OURS.all_answers({name: HOSTILE[name]})[name] == HOSTILE[name]


@pytest.mark.parametrize("provider", HOSTILE_REPOSITORIES)
@pytest.mark.parametrize("infrastructure", CHOICES["infrastructure"])
def test_the_hostile_project_parses_and_records_what_was_answered(provider: str, infrastructure: str) -> None:
    given = hostile(provider, infrastructure=infrastructure, serving_mode="online_and_batch")
    files = OURS.render(OURS.all_answers(given), origin={"_src_path": "template"})
    recorded = yaml.safe_load(files[".copier-answers.yml"].content)
    assert {name: recorded[name] for name in given} == given
    for path, file in files.items():
        if not path.startswith("engine/"):
            parse(path, file.content.decode())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("project_name=", "1 to 60 printable characters"),
        ("project_name=a\nb", "project_name is one line"),
        ("package_name=class", "Python, Windows or a tool"),
        ("package_name=Two Words", "lower-case letters"),
        ("description=" + "x" * 201, "1 to 200 printable"),
        ("owner=a team", "owner is a handle"),
        ("contact=nobody", "e-mail address"),
        ("repository=no-slash", "owner/name"),
        ("repository=owner/name.git", "without .git"),
        ("ci_provider=jenkins", "jenkins"),
        ("minimum_metric=7", "below 1"),
        ("minimum_metric=much", "much"),
        ("problem_type=clustering", "clustering"),
        ("primary_metric=r2", "r2"),
    ],
)
def test_it_is_refused_in_words(answer: str, words: str) -> None:
    name, _, value = answer.partition("=")
    with pytest.raises(RefusedError) as refused:
        OURS.all_answers({name: value})
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("owner=a team", "owner is a handle"),  # by a validator
        ("problem_type=clustering", "clustering"),  # no choice
        ("minimum_metric=much", "much"),  # another type
    ],
)
def test_the_command_refuses_in_words_and_writes_nothing(tmp_path: Path, answer: str, words: str) -> None:
    target = tmp_path / "project"
    command = [
        sys.executable,
        "-m",
        "copier",
        "copy",
        "--defaults",
        "--quiet",
        "--data",
        answer,
        str(TEMPLATE),
        str(target),
    ]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode != 0
    assert words in finished.stderr
    assert not target.exists()
