"""Rules of template/ that need no rendering."""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path

import pytest
import yaml

from commands.answer_space import template
from commands.rendering import TEMPLATE

from .support.answers import CHOICES, combinations, covering_answers, pairs

OURS = template()
SETTINGS = yaml.safe_load((TEMPLATE / "copier.yml").read_text(encoding="utf-8"))
UNSAFE = ("_tasks", "_migrations", "_jinja_extensions")
ANSWER_FOLDERS = re.compile(r"\{\{ layer\.([a-z0-9_]+) \}\}")
# Not named after a single answer.
SHARED_LAYERS = {
    "base",
    "problem_tabular",
    "infra_local_online",
    "infra_local_batch",
    "infra_aws_online",
    "infra_aws_batch",
} | {f"infra_aws_{host}" for host in CHOICES["ci_provider"]}
WINDOWS = re.compile(r'[<>:"|?*\\]|[. ]$')


def layers() -> set[str]:
    names = set()
    for path in OURS.root.iterdir():
        if path.is_dir():
            match = ANSWER_FOLDERS.fullmatch(path.name)
            assert match, f"{path.name} is not a layer's folder"
            names.add(match.group(1))
    return names


def test_the_template_runs_no_code() -> None:
    assert not set(UNSAFE) & set(SETTINGS)


def test_every_layer_is_in_the_map_and_every_row_has_a_folder() -> None:
    assert set(OURS.all_answers({})["layer"]) == layers()


def test_every_layer_is_used_and_is_named_after_its_answer() -> None:
    used = {name for answers in combinations() for name, place in OURS.all_answers(answers)["layer"].items() if place}
    assert used == layers()
    names = {f"{question}_{value}" for question, values in CHOICES.items() for value in values}
    short = {
        name.replace("problem_type_", "problem_")
        .replace("ci_provider_", "ci_")
        .replace("infrastructure_", "infra_")
        .replace("serving_mode_", "serving_")
        for name in names
    }
    assert layers() <= short | SHARED_LAYERS


def test_a_layer_is_laid_onto_the_root_or_left_out() -> None:
    for answers in combinations():
        assert set(OURS.all_answers(answers)["layer"].values()) <= {".", "", None}


def test_no_two_active_layers_write_the_same_path() -> None:
    for given in combinations():
        answers = OURS.all_answers(given)
        written: dict[str, str] = {}
        for file in OURS.files():
            if file.key(answers) is None:
                continue
            name = "/".join(file.path.parts[1:]).removesuffix(".jinja")
            assert name not in written, f"{name} is in {file.layer} and {written[name]} with {given}"
            written[name] = file.layer


def test_paths_carry_no_condition_and_are_legal_everywhere() -> None:
    for file in OURS.files():
        inner = file.path.parts[1:]
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
    from commands.rendering import render

    render(tmp_path, {"infrastructure": "aws"})  # which is asked the most
    answers: dict[str, object] = yaml.safe_load((tmp_path / ".copier-answers.yml").read_text(encoding="utf-8"))
    return answers


def test_the_table_of_choices_is_the_one_of_copier_yml() -> None:
    for name, question in OURS.questions().items():
        if "choices" not in question:
            continue
        choices = question["choices"]
        if isinstance(choices, str):  # depends on another answer
            offered = set(re.findall(r"'([a-z0-9_]+)'", choices)) - set(CHOICES["problem_type"])
        else:
            offered = set(choices.values())
        assert offered == set(CHOICES[name]), name


def test_the_covering_set_has_every_pair_that_exists() -> None:
    rows = covering_answers()
    assert set().union(*map(pairs, combinations())) == set().union(*map(pairs, rows))
    assert all(row in list(combinations()) for row in rows)


def test_names_that_break_a_project_are_reserved() -> None:
    reserved = set(OURS.all_answers({})["reserved_names"].split())
    keywords = {word for word in keyword.kwlist if word.islower()}
    modules = {name for name in sys.stdlib_module_names if re.fullmatch("[a-z0-9]+", name)}
    assert keywords | modules <= reserved
