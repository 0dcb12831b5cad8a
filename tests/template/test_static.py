"""Rules of template/ that need no rendering."""

from __future__ import annotations

import itertools
import json
import keyword
import re
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import questions
from commands.answer_space import Question, template
from commands.rendering import TEMPLATE
from tests.support.answers import CHOICES, TABLES, combinations, covering_answers
from tests.support.projects import lay_out

OURS = template()
SETTINGS = yaml.safe_load((TEMPLATE / "copier.yml").read_text(encoding="utf-8"))
UNSAFE = ("_tasks", "_migrations", "_jinja_extensions")
ANSWER_FOLDERS = re.compile(r"\{\{ layer\.([a-z0-9_]+) \}\}")
ENGINE = "engine"
WINDOWS = re.compile(r'[<>:"|?*\\]|[. ]$')


def layers() -> set[str]:
    """Return the layers that have a folder."""
    names = set()
    for path in OURS.root.iterdir():
        if path.is_dir() and path.name != ENGINE:
            match = ANSWER_FOLDERS.fullmatch(path.name)
            assert match, f"{path.name} is neither a layer's folder nor the engine"
            names.add(match.group(1))
    return names


@cache
def maps() -> list[dict[str, str | None]]:
    """Return the map of layers for every combination of the answers that decide about it."""
    rows = questions.combinations(OURS, questions.depends_on(OURS, "layer") & questions.axes(OURS).keys())
    return [OURS.all_answers(given)["layer"] for given in rows]


@cache
def active_layers() -> set[frozenset[str]]:
    """Return every set of layers that a project can have."""
    return {frozenset(name for name, place in taken.items() if place) for taken in maps()}


def test_the_template_runs_no_code() -> None:
    assert not set(UNSAFE) & set(SETTINGS)


def test_every_layers_folder_is_in_the_map_and_some_project_takes_it() -> None:
    assert layers() <= set(OURS.all_answers({})["layer"])
    assert layers() <= frozenset().union(*active_layers())


def test_a_layer_is_laid_onto_the_root_or_left_out() -> None:
    for taken in maps():
        assert set(taken.values()) <= {".", "", None}


def test_no_two_active_layers_write_the_same_path() -> None:
    written: dict[str, list[str]] = {}
    for file in OURS.files():
        if file.layer:
            written.setdefault("/".join(file.path.parts[1:]).removesuffix(".jinja"), []).append(file.layer)
    for path, names in written.items():
        assert not path.startswith(f"{ENGINE}/"), f"{names} write {path}, which is the engine's"
        for active in active_layers():
            assert len(active & set(names)) <= 1, f"{path} is in {sorted(active & set(names))}"


def test_the_engine_is_plain_and_the_same_in_every_project() -> None:
    """Copier would render what ends in .jinja: the engine's own pages are named otherwise."""
    plain = {}
    for file in OURS.files():
        if not file.layer:
            assert file.path.parts[0] == ENGINE, f"{file.path} is neither in a layer nor in the engine"
            assert not file.rendered, file.path
            assert "{" not in str(file.path), file.path
            plain[file.path.as_posix()] = file.content
    for given in (
        {},
        {"problem_type": "regression", "infrastructure": "aws", "ci_provider": "gitlab", "license": "mit"},
    ):
        project = OURS.render(OURS.all_answers(given))
        assert {path: file.content for path, file in project.items() if path.startswith(f"{ENGINE}/")} == plain


def test_python_is_chosen_by_layers_and_configuration_never_by_jinja() -> None:
    for file in OURS.files():
        if file.path.name.endswith((".py", ".py.jinja")) and file.layer:
            assert "{%" not in file.text, file.path
            assert set(re.findall(r"\{\{ *(\w+)", file.text)) <= {"package_name"}, file.path


def test_paths_carry_no_condition_and_are_legal_everywhere() -> None:
    for file in OURS.files():
        inner = file.path.parts[1:] if file.layer else file.path.parts
        assert not any("{%" in part for part in file.path.parts), file.path
        for part in inner:
            assert part == "{{ package_name }}" or "{" not in part, file.path
            assert not WINDOWS.search(part), file.path
    lowered = [str(file.path).lower() for file in OURS.files()]
    assert len(lowered) == len(set(lowered)), "two paths differ only by case"


def test_only_the_operation_may_stand_in_exclude() -> None:
    assert "_skip_if_exists" not in SETTINGS
    for pattern in SETTINGS["_exclude"]:
        rest = pattern.replace("{% if _copier_operation == 'update' %}", "").replace("{% endif %}", "")
        assert "{" not in rest, pattern


def test_jinja_is_where_the_suffix_says() -> None:
    for file in OURS.files():
        if not file.layer:
            continue
        if file.path.suffix != ".jinja":
            assert not file.uses - {"package_name"} or "{{" not in file.text.replace("${{", ""), file.path
        else:
            inner = file.text + "/".join(file.path.parts[1:])
            assert "{{" in inner or "{%" in inner, f"{file.path} needs no .jinja"


def test_blocks_stand_on_lines_of_their_own_and_are_not_nested_deeply() -> None:
    """A loop may hold a branch; a branch holds no other one."""
    for file in OURS.files():
        if file.path.suffix != ".jinja":
            continue
        depth = {"if": 0, "for": 0}
        for line in file.text.splitlines():
            if "{% raw %}" in line and "{% endraw %}" in line:
                continue
            for word in re.findall(r"\{%[-+]?\s*(\w+)", line):
                kind = word.removeprefix("end")
                if kind in depth:
                    depth[kind] += -1 if word.startswith("end") else 1
                assert re.fullmatch(r"\s*\{%.*%\}", line), f"{file.path}: {line}"
            assert max(depth.values()) <= 1, f"{file.path}: {line}"


def test_every_question_helps_and_has_a_default() -> None:
    for name, question in OURS.questions().items():
        assert "default" in question, name
        assert "type" in question, name
        if question.get("when", True):
            assert question["help"].strip(), name
            free = "choices" not in question and question["type"] != "bool"
            assert ("validator" in question) == free, f"{name}: free text has a validator, a choice needs none"


def test_computed_values_are_not_recorded_and_questions_are(rendered_answers: dict[str, object]) -> None:
    computed = {name for name, question in OURS.questions().items() if question.get("when", True) is False}
    asked = set(OURS.questions()) - computed
    assert asked <= set(rendered_answers)
    assert not computed & set(rendered_answers)


@pytest.fixture
def rendered_answers(tmp_path: Path) -> dict[str, object]:
    """Return what is recorded of all infrastructures together: each asks for its own."""
    answers: dict[str, object] = {}
    for name in CHOICES["infrastructure"]:
        lay_out(tmp_path / name, {"infrastructure": name})
        answers |= yaml.safe_load((tmp_path / name / ".copier-answers.yml").read_text(encoding="utf-8"))
    return answers


def test_every_choice_is_covered() -> None:
    asked = {name for name, question in OURS.questions().items() if "choices" in question}
    assert asked == set(CHOICES)
    for problem_type in CHOICES["problem_type"]:
        answers = OURS.all_answers({"problem_type": problem_type})
        for name in asked:
            offered = Question(OURS, name, OURS.questions()[name]).choices(answers)
            assert offered, name
            assert set(offered) <= set(CHOICES[name]), name


def test_tables_are_data_and_name_what_there_is() -> None:
    """A row holds no Jinja, and what a project names of it is an entry point of the engine."""
    for table, rows in TABLES.items():
        if isinstance(rows, dict):
            for name, row in rows.items():
                assert "{{" not in json.dumps(row), f"{table}.{name}"
                assert "{%" not in json.dumps(row), f"{table}.{name}"
    groups = {"problem_types": "problems", "code_hosts": "hosts", "infrastructures": "platforms"}
    for table, group in groups.items():
        assert set(TABLES[table]) == {entry.name for entry in entry_points(group=f"twoloops.{group}")}
    for problem_type, row in TABLES["problem_types"].items():
        assert problem_type in TABLES["metrics"][row["metric"]]["problem_types"]


def test_the_page_of_questions_names_every_choice() -> None:
    page = (TEMPLATE / "docs/questions.md").read_text(encoding="utf-8")
    for question, values in CHOICES.items():
        section = page.split(f"`{question}`", 1)[1]
        for value in values:
            assert f"`{value}`" in section, f"docs/questions.md does not name {value} of {question}"


def test_the_covering_set_has_every_pair_that_exists() -> None:
    def pairs(rows: Iterable[dict[str, Any]]) -> set[tuple[Any, Any]]:
        return {pair for row in rows for pair in itertools.combinations(row.items(), 2)}

    rows = covering_answers()
    assert pairs(combinations()) == pairs(rows)
    assert all(row in list(combinations()) for row in rows)


def test_names_that_break_a_project_are_reserved() -> None:
    reserved = set(OURS.all_answers({})["reserved_names"].split())
    keywords = {word for word in keyword.kwlist if word.islower()}
    modules = {name for name in sys.stdlib_module_names if re.fullmatch("[a-z0-9]+", name)}
    assert keywords | modules <= reserved
