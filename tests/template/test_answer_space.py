"""Copier's rules without Copier's start-up: what they give is what Copier gives."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands.answer_space import RefusedError, Rendered, Template, UnsupportedError, template
from commands.rendering import TEMPLATE, render
from tests.support.answers import hostile

# Whether both agree depends on what of Copier the template uses, and not on pairs of answers: a handful has all of it.
PROJECTS: list[dict[str, Any]] = [
    {"serving_mode": "online_and_batch"},
    {"problem_type": "regression", "infrastructure": "aws", "license": "bsd_3_clause", "ci_provider": "gitlab"},
    hostile("azure_devops", infrastructure="aws", private_network=True, serving_mode="batch"),
    hostile("github"),
]


def project_on_disk(folder: Path) -> dict[str, Rendered]:
    return {
        path.relative_to(folder).as_posix(): Rendered(path.read_bytes(), bool(path.stat().st_mode & 0o100))
        for path in folder.rglob("*")
        if path.is_file()
    }


def check_equal(folder: Path, given: dict[str, Any], project: Path) -> None:
    """Demand every byte and every executable bit that Copier writes, the answers file included."""
    render(project, given, template=folder)
    ours = Template(folder)
    files = ours.render(ours.all_answers(given), origin={"_src_path": str(folder)})
    found = project_on_disk(project)
    assert sorted(files) == sorted(found)
    for path, file in files.items():
        assert file == found[path], path


@pytest.mark.parametrize("number", range(len(PROJECTS)))
def test_this_is_what_copier_renders(number: int, tmp_path: Path) -> None:
    check_equal(TEMPLATE, PROJECTS[number], tmp_path / "project")


# As an organization's template is built: the upstream's questions first, the policy's document last.
TWO_DOCUMENTS = """
_subdirectory: template
_envops: {undefined: jinja2.StrictUndefined}
_exclude: ["*.bak", "{% if _copier_operation == 'update' %}mine{% endif %}"]
name: {type: str, default: Zoo}
region: {type: str, default: north, choices: {Up: north, Down: south}}
copies: {type: int, default: "{{ name | length }}"}
with_docs: {type: bool, default: no}
sizes: {type: json, default: '[1, 2]'}
tags: {type: yaml, default: {team: a}}
short: Plain
kinds: {type: str, multiselect: true, choices: [cat, dog, eel], default: "[dog, cat]"}
ports:
  type: int
  default: 80
  choices: [[web, 80], [other, {value: 81, validator: "{% if name != 'Big' %}only for Big{% endif %}"}]]
secret: {type: str, secret: true, default: hush}
deep: {type: str, default: "{{ name }}-deep", when: "{{ with_docs }}"}
slug: {type: str, when: false, default: "{{ name | lower }}"}
---
_exclude: ["*.tmp"]
_min_copier_version: "9.19.0"
region: {type: str, default: south, choices: [south], ask: false}
extra: {type: str, default: "{{ region }}", validator: "{% if extra == 'bad' %}extra is bad.{% endif %}"}
"""
FILES = {
    "{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers | to_nice_yaml }}",
    "{{ slug }}/text.txt.jinja": (
        "{{ name }} {{ region }} {{ copies + 1 }} {{ sizes[0] }} {{ tags.team }} {{ kinds }} {{ ports }} {{ secret }}"
        "{{ deep }}"
    ),
    "{% if with_docs %}docs{% endif %}/index.md": "{{ not rendered }}\n",
    "mine/data.txt": "yours\n",
    "{{ '.' if with_docs }}/flat.txt": "flat\n",
    "sibling.txt": "hidden by its sibling\n",
    "sibling.txt.jinja": "{{ name }}\n\n",
    "left.bak": "",
    "left.tmp": "",
    "empty.txt": "",
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    for name, text in FILES.items():
        path = folder / "template" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "template/{{ slug }}/picture.bin").write_bytes(bytes(range(256)))
    (folder / "template/run.sh").write_text("#!/bin/sh\n", encoding="utf-8")
    (folder / "template/run.sh").chmod(0o755)
    (folder / "copier.yml").write_text(TWO_DOCUMENTS, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"name": "Big", "with_docs": True, "copies": "7", "ports": 81},
        {"with_docs": "yes", "deep": "own", "sizes": [3], "tags": "{team: b}", "kinds": ["eel", "cat"]},
    ],
)
def test_a_template_of_two_documents_is_what_copier_renders(given: dict[str, Any], small: Path, tmp_path: Path) -> None:
    check_equal(small, given, tmp_path / "project")


def test_an_update_leaves_out_what_is_the_users(small: Path) -> None:
    ours = Template(small)
    assert "mine/data.txt" in ours.render(ours.all_answers({}))
    assert "mine/data.txt" not in ours.render(ours.all_answers({}), operation="update")
    assert ours.excluded() == ["*.bak", "mine", "*.tmp"]
    assert ours.belongs_to_user("mine/deep/data.txt")
    assert not ours.belongs_to_user("sibling.txt")


def test_what_is_the_users_here() -> None:
    for path in ("params.yaml", "src/churn/problem/data.py", "tests/problem/test_data.py", "docs/problem.md"):
        assert template().belongs_to_user(path)
    for path in ("src/churn/cli.py", "pyproject.toml", "data/other.md"):
        assert not template().belongs_to_user(path)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"region": "north"}, "region is 'north', which is no choice of it: south"),
        ({"ports": 81}, "ports is 81, which is no choice"),
        ({"copies": "many"}, "copies is 'many', which is no int"),
        ({"name": None}, "name is None, which is no str"),
        ({"extra": "bad"}, "extra is 'bad': extra is bad."),
        ({"kinds": ["cow"]}, "kinds is 'cow'"),
    ],
)
def test_an_answer_that_cannot_be_is_refused_by_name(given: dict[str, Any], words: str, small: Path) -> None:
    with pytest.raises(RefusedError) as refused:
        Template(small).all_answers(given)
    assert words in str(refused.value)


def test_an_answer_that_is_not_asked_gives_way_to_the_default(small: Path) -> None:
    assert Template(small).all_answers({"slug": "forged", "deep": "old"})["slug"] == "zoo"
    assert Template(small).all_answers({"deep": "old"})["deep"] == "Zoo-deep"


def test_an_answer_to_a_question_that_was_renamed_is_seen(small: Path) -> None:
    file = small / "copier.yml"
    file.write_text(file.read_text(encoding="utf-8").replace("default: Zoo", "default: \"{{ title | default('x') }}\""))
    assert Template(small).all_answers({"title": "Old"})["name"] == "Old"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("\n---\n_tasks: [echo]\n", "_tasks"),
        ("\n---\n- 1\n", "no mapping"),
        ("\n---\n_envops: {a: [}\n", "cannot be read"),
        ("\n---\nx: !include y.yml\n", "cannot be read"),
        ("\n---\nx: {type: number, default: 1}\n", "number"),
        ("\n---\nx: {type: str, default: '{{ unknown }}'}\n", "unknown"),
    ],
)
def test_what_only_copier_can_do_is_refused(change: str, words: str, small: Path) -> None:
    (small / "copier.yml").write_text(textwrap.dedent(TWO_DOCUMENTS) + change, encoding="utf-8")
    with pytest.raises(UnsupportedError, match=words):
        Template(small).all_answers({})


def test_paths_out_of_the_project_and_links_are_refused(small: Path) -> None:
    ours = Template(small)
    with pytest.raises(UnsupportedError, match="outside the project"):
        ours.render({**ours.all_answers({}), "slug": "../.."})
    (small / "template/link").symlink_to("run.sh")
    with pytest.raises(UnsupportedError, match="symbolic link"):
        Template(small).files()


def test_what_is_recorded_is_what_copier_records(tmp_path: Path) -> None:
    render(tmp_path, {"serving_mode": "batch"})
    found = yaml.safe_load((tmp_path / ".copier-answers.yml").read_text(encoding="utf-8"))
    ours = template()
    assert {"_src_path": str(TEMPLATE), **ours.recorded(ours.all_answers({"serving_mode": "batch"}))} == found
