"""The check sees what must not be published."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.organization.build import compile_tree
from extensions.organization.check import laws, passed, record, verify
from extensions.organization.files import problem
from extensions.organization.policy import Policy
from extensions.organization.trees import File
from extensions.refusal import Refused

from .conftest import FIRST, IN_ALL, Team, quiet


def check(team: Team) -> str:
    """Return what the check of a team's template says when it says no."""
    workspace = team.read()
    with pytest.raises(Refused) as refusal:
        verify(team.tree(), workspace, team.upstream, quiet)
    return refusal.value.message


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        ("x.toml", "a = \n", "cannot be read"),
        ("x.yaml", "a: [\n", "cannot be read"),
        ("x.json", "{\n", "cannot be read"),
        ("x.py", "def\n", "cannot be read"),
        ("x.py", "import os\n", "F401"),
        ("x.py", "x = [1,2]\n", "the formatter would change it"),
        ("x.md", "a \n", "line 1 ends in white space"),
        ("x.md", "a\n\n\nb\n", "two blank lines"),
        ("x.md", "a", "does not end in one newline"),
        ("x.md", "\n", "is empty"),
        ("x.md.jinja", "{{ '{{' }} left }}\n", "Jinja is left over in line 1"),
        ("x.md.jinja", "{{ note.nothing }}\n", "cannot be rendered"),
    ],
)
def test_a_file_that_is_not_in_order_is_named(path: str, text: str, told: str, small_team: Team) -> None:
    small_team.overlay({f"{IN_ALL}/docs/{path}": text})
    message = check(small_team)
    assert f"docs/{path.removesuffix('.jinja')}" in message
    assert "of the project with size=small: " in message
    assert told in message


def test_files_without_words_are_no_problem() -> None:
    assert problem("x.png", b"\x89PNG\0\xff  \n\n", rendered=False) == ""


def test_a_tree_that_was_not_built_from_the_workspace_is_refused(small_team: Team) -> None:
    tree = small_team.tree() | {"template/x.md": File(b"by hand\n")}
    with pytest.raises(Refused, match="do not give this template"):
        verify(tree, small_team.read(), small_team.upstream, quiet)


def test_what_has_passed_is_known_until_it_changes(small_team: Team) -> None:
    workspace = small_team.build()
    assert not passed(workspace)
    record(workspace)
    assert passed(workspace)
    (small_team.folder / "build/README.md").open("a").write("x\n")
    assert not passed(workspace)
    small_team.build()
    assert passed(workspace), "the same tree was checked"


@pytest.mark.parametrize(
    ("decisions", "told"),
    [
        ({"locks": {"size": "small"}}, "the layer large is taken, which the policy leaves out"),
        ({"locks": {"size": "large"}}, "size is 'small', and not 'large'"),
        ({"locks": {"note": ""}}, "Copier takes --data note=x, which the policy forbids"),
        ({"locks": {"amount": 0.5}}, "Copier takes --data amount=1.5, which the policy forbids"),
        ({"choices": {"size": ["small", "large"]}}, "Copier takes --data size=medium, which the policy forbids"),
        ({"defaults": {"note": "mine"}}, "note is '', and not 'mine'"),
    ],
)
def test_a_template_that_does_not_follow_the_policy_is_caught(
    decisions: dict[str, Any], told: str, small_team: Team
) -> None:
    """The template is built without the decisions, as a builder with a fault would."""
    tree = compile_tree(small_team.read(), small_team.upstream)
    policy = Policy.model_validate(small_team.policy | decisions)
    with pytest.raises(Refused) as refusal:
        laws(tree, small_team.upstream.tree(FIRST), policy, quiet)
    assert told in refusal.value.message
    small_team.decide(**decisions)
    assert laws(small_team.tree(), small_team.upstream.tree(FIRST), policy, quiet).projects


@pytest.mark.slow
def test_a_lock_and_fewer_choices_hold(team: Team) -> None:
    team.decide(
        locks={"license": "mit", "owner": "bank", "minimum_metric": 0.8, "environments": "test, production"},
        choices={"ci_provider": ["github", "gitlab"], "primary_metric": ["roc_auc", "r2"]},
        defaults={"contact": {"jinja": "{{ owner }}@example.org"}, "description": 'It\'s {{ 100 }}% "safe"'},
        questions={"team": {"type": "str", "help": "Which team?", "default": "a"}},
    )
    checked = verify(team.tree(), team.read(), team.upstream, quiet)
    assert checked.refusals == 3 + 3 + 1 + 5
    # Every pair: each type and metric with each way of serving are six, what each infrastructure asks adds seven.
    assert checked.projects == 13
