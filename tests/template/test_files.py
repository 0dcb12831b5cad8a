"""Which files a project has: one table, and what Copier renders for each single choice follows from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from twoloops.problems.tabular.drafting.writing import AS_RENDERED, is_rendered

from commands.answer_space import template
from commands.expected_files import DRAFTED, FILE, fingerprints, table
from commands.rendering import TEMPLATE, render
from tests.support.answers import hostile, single_answers

OURS = template()
ROWS = [line.split(maxsplit=1) for line in (TEMPLATE / FILE).read_text(encoding="utf-8").splitlines() if line[0] != "#"]
# Rendered by Copier itself; together they take every layer that is no licence's.
BY_COPIER = {
    "default": {},
    "aws": {"infrastructure": "aws", "ci_provider": "gitlab", "serving_mode": "online_and_batch", "license": "mit"},
    "hostile": hostile("azure_devops", problem_type="regression", serving_mode="batch", infrastructure="aws"),
}


def expected(given: dict[str, object]) -> list[str]:
    """Return the files that the table promises for some answers."""
    answers = OURS.all_answers(given)
    own = [path.replace("churn", answers["package_name"]) for layer, path in ROWS if answers["layer"][layer]]
    engine = [file.path.as_posix() for file in OURS.files() if not file.layer]
    return sorted([".copier-answers.yml", *own, *engine])


def test_the_table_is_what_lies_in_the_template() -> None:
    assert (TEMPLATE / FILE).read_text(encoding="utf-8") == table(OURS), "if this is meant: uv run expected-files"


@pytest.mark.parametrize("given", single_answers().values(), ids=list(single_answers()))
def test_each_choice_brings_the_files_of_its_layers(given: dict[str, object]) -> None:
    files = OURS.render(OURS.all_answers(given), origin={"_src_path": "template"})
    assert sorted(files) == expected(given)


@pytest.mark.parametrize("name", BY_COPIER)
def test_copier_renders_these_files(name: str, tmp_path: Path) -> None:
    render(tmp_path, BY_COPIER[name])
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert found == expected(BY_COPIER[name])


def test_draft_knows_the_files_as_they_are_rendered() -> None:
    assert (TEMPLATE / DRAFTED).read_text(encoding="utf-8") == fingerprints(TEMPLATE), "if meant: uv run expected-files"
    known = json.loads((TEMPLATE / DRAFTED).read_text(encoding="utf-8"))
    for problem, paths in known.items():
        files = OURS.render(
            OURS.all_answers({"problem_type": problem, "package_name": "mine"}), origin={"_src_path": "template"}
        )
        answers = yaml.safe_load(files[".copier-answers.yml"].content)
        params = yaml.safe_load(files["params.yaml"].content)
        for section, values in AS_RENDERED.items():
            assert {key: params[section][key] for key in values} == values, section
        for path, fingerprint in paths.items():
            text = files[path.format(package="mine")].content.decode()
            assert is_rendered(text, fingerprint, answers), path
            for place in (0, len(text) // 2, len(text)):
                assert not is_rendered(f"{text[:place]}x{text[place:]}", fingerprint, answers), path
