"""What a build refuses, each with the place; and that it makes the same template twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from commands.answer_space import RefusedError, Template
from commands.questions import axes, covering
from commands.rendering import render
from extensions.organization.document import compose
from extensions.organization.git import Upstream
from extensions.organization.pages import code
from extensions.organization.policy import Policy
from extensions.organization.trees import File, digest, read_folder, write_folder
from extensions.refusal import Refused
from tests.updates import history as past

from .conftest import FIRST, IN_ALL, SMALL, Team

IGNORED = "{{ layer.base }}/.gitignore"
README = "{{ layer.base }}/README.md.jinja"


@pytest.mark.parametrize(
    ("decisions", "told"),
    [
        ({"locks": {"licence": "mit"}}, ["locks.licence is no question", "Did you mean license?"]),
        ({"defaults": {"ower": "x"}}, ["defaults.ower is no question", "Did you mean owner?"]),
        ({"choices": {"ci": ["github", "gitlab"]}}, ["choices.ci is no question"]),
        ({"locks": {"layer": "x"}}, ["locks.layer is no question"]),
        ({"locks": {"license": "mti"}}, ["locks.license is 'mti'", "does not offer", "Did you mean mit?"]),
        ({"choices": {"license": ["mit", "gpl"]}}, ["choices.license is 'gpl'", "does not offer"]),
        ({"choices": {"owner": ["a", "b"]}}, ["choices.owner", "takes any text"]),
        ({"defaults": {"ci_provider": "gitlib"}}, ["defaults.ci_provider is 'gitlib'", "Did you mean gitlab?"]),
        ({"locks": {"license": "mit"}, "defaults": {"license": "mit"}}, ["locks.license and defaults.license"]),
        (
            {"locks": {"license": "mit"}, "choices": {"license": ["mit", "proprietary"]}},
            ["locks.license and choices.license"],
        ),
        (
            {"choices": {"license": ["mit", "proprietary"]}, "defaults": {"license": "apache_2_0"}},
            ["defaults.license is 'apache_2_0'", "choices.license leaves out"],
        ),
        ({"defaults": {"owner": 7}}, ["defaults.owner is 7", "type str"]),
        ({"locks": {"minimum_metric": "0.8"}}, ["locks.minimum_metric is '0.8'", "type float"]),
        ({"locks": {"minimum_metric": True}}, ["locks.minimum_metric is True", "type float"]),
        ({"defaults": {"owner": "two words"}}, ["owner is 'two words'", "a handle of 1 to 39 letters"]),
        ({"defaults": {"owner": "{{ 7 * 7 }}"}}, ["owner is '{{ 7 * 7 }}'", "a handle"]),
        ({"locks": {"primary_metric": "roc_auc"}}, ["no choice left", "problem_type is 'regression'"]),
        ({"questions": {"owner": {"default": "x"}}}, ["questions.owner is a question of the upstream"]),
        ({"questions": {"layer": {"default": "x"}}}, ["questions.layer is a question of the upstream"]),
        ({"questions": {"team": {"helpp": "x"}}}, ["questions.team.helpp", "Did you mean help?"]),
        ({"questions": {"team": {"default": "{{ ownr }}"}}}, ["a project cannot be made", "ownr"]),
        ({"layers": {"base": "true"}}, ["layers.base is a layer already"]),
        ({"layers": {"organization": "true"}}, ["layers.organization is a layer already"]),
        ({"layers": {"extra": "ci_provder == 'github'"}}, ["layers.extra", "Did you mean ci_provider?"]),
        ({"layers": {"extra": "a) or (b"}}, ["layers.extra", "no expression"]),
        ({"layers": {"extra": "1 }}{{ 2"}}, ["layers.extra", "no expression"]),
        ({"layers": {"extra": "serving_mode == 'batch'"}}, ["layers.extra has no file"]),
        ({"replaces": {IGNORED: "0" * 64}}, ["overlay/ holds no", IGNORED]),
        ({"replaces": {"{{ layer.base }}/.gitignor": "0" * 64}}, ["the upstream has no", f"Did you mean {IGNORED}?"]),
        ({"version": "1.1.0"}, ["CHANGELOG.md says nothing under: ## 1.1.0"]),
    ],
)
def test_a_decision_that_cannot_be_is_told(decisions: dict[str, Any], told: list[str], team: Team) -> None:
    team.decide(**decisions)
    message = team.refused()
    for part in told:
        assert part in message


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("SECURITY.md", ["in no layer", IN_ALL]),
        ("{{ layer.basis }}/x.md", ["basis is no layer", "Did you mean base?"]),
        ("{{ _copier_conf.answers_file }}.jinja", ["in no layer"]),
        (f"{IN_ALL}/.copier-answers.yml", ["the answers that updates need"]),
        (f"{IN_ALL}/{{{{ owner }}}}.md", ["carries Jinja"]),
        (f"{IN_ALL}/{{% if true %}}x{{% endif %}}.md", ["carries Jinja"]),
        (f"{IN_ALL}/{{{{ '..' }}}}/x.md", ["carries Jinja"]),
        (f"{IN_ALL}/.git/hooks/post-checkout", ["outside the project's files"]),
        (f"{IN_ALL}/docs/a:b.md", ["no name that Windows can have"]),
        (f"{IN_ALL}/docs/nul.md", ["no name that Windows can have"]),
        (f"{IN_ALL}/docs./x.md", ["no name that Windows can have"]),
        (f"{IN_ALL}/README.md", ["would both be README.md", README]),
        (f"{IN_ALL}/readme.MD", ["would both be", README]),
        (f"{IN_ALL}/src", ["would both be src"]),
        (f"{IN_ALL}/pyproject.toml/x", ["would both be"]),
        (f"{IN_ALL}/.github/CODEOWNERS", ["would both be .github/CODEOWNERS"]),
        (IGNORED, ["does not pin", f'"{IGNORED}": ']),
    ],
)
def test_a_file_at_a_wrong_place_is_told(path: str, told: list[str], team: Team) -> None:
    team.overlay({path: "x\n"})
    message = team.refused()
    for part in told:
        assert part in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{ ownr }}\n", "ownr is no question. Did you mean owner?"),
        ("one\n{% if %}\n", "line 2"),
        ("{% include 'copier.yml' %}{{ 1 +", "line 1"),
    ],
)
def test_a_file_that_cannot_be_rendered_is_told(text: str, told: str, team: Team) -> None:
    team.overlay({f"{IN_ALL}/x.md.jinja": text})
    assert told in team.refused()


def test_a_file_that_is_no_text_is_not_rendered(team: Team) -> None:
    team.write(f"overlay/{IN_ALL}/x.png.jinja", "")
    (team.folder / f"overlay/{IN_ALL}/x.png.jinja").write_bytes(b"\x89PNG\xff")
    assert "x.png.jinja is no text" in team.refused()


@pytest.mark.parametrize("target", ["../policy.yaml", "/etc/hostname"])
def test_a_symbolic_link_is_refused(target: str, team: Team) -> None:
    team.overlay({f"{IN_ALL}/x.md": "x\n"})
    (team.folder / f"overlay/{IN_ALL}/link.md").symlink_to(target)
    assert "link.md is a symbolic link" in team.refused()
    (team.folder / f"overlay/{IN_ALL}/link.md").unlink()
    (team.folder / f"overlay/{IN_ALL}/folder").symlink_to(team.folder, target_is_directory=True)
    assert "folder is a symbolic link" in team.refused()


@pytest.mark.slow
def test_files_of_two_own_layers_meet_only_where_a_project_can_have_both(team: Team) -> None:
    files = {"{{ layer.one }}/docs/x.md": "1\n", "{{ layer.two }}/docs/x.md": "2\n"}
    team.overlay(files)
    team.decide(layers={"one": "serving_mode == 'batch'", "two": "serving_mode != 'batch'"})
    assert "template/{{ layer.two }}/docs/x.md" in team.tree()
    for conditions in (
        {"one": "serving_mode == 'batch'", "two": "ci_provider == 'github'"},
        {"one": "owner == 'a'", "two": "owner == 'b'"},  # any text may be answered: not known, so refused
    ):
        team.decide(layers=conditions)
        assert "would both be docs/x.md" in team.refused()


def test_a_release_that_upstream_does_not_have_is_told_with_those_that_it_has(team: Team) -> None:
    team.decide(upstream={"source": team.upstream.source, "version": "v7.7.7"})
    assert f"Its releases: {FIRST}" in team.refused()


@pytest.mark.parametrize("source", ["nowhere", "https://localhost:9/none.git"])
def test_an_upstream_out_of_reach_is_told(source: str, tmp_path: Path) -> None:
    team = Team(tmp_path / "workspace", Upstream(source, tmp_path))
    assert "git ls-remote failed" in team.refused()


def test_a_text_that_the_template_would_read_as_something_else_is_told(small_team: Team) -> None:
    small_team.decide(defaults={"tree": "a: b"})
    assert "defaults.tree is 'a: b', but the template makes {'a': 'b'} of it" in small_team.refused()


def test_an_upstream_of_another_kind_is_told(tmp_path: Path) -> None:
    from tests.updates.history import git

    (tmp_path / "workspace").mkdir()
    (tmp_path / "other/template").mkdir(parents=True)
    (tmp_path / "other/copier.yml").write_text("name: x\n")
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-mx"], ["tag", FIRST]):
        git(*words, cwd=tmp_path / "other")
    team = Team(tmp_path / "workspace", Upstream("../other", tmp_path / "workspace"), version=FIRST)
    assert "has no layers" in team.refused()


def test_a_replaced_file_is_taken_and_stops_the_build_when_upstream_has_changed_it(team: Team) -> None:
    reviewed = team.upstream.tree(FIRST)[f"template/{IGNORED}"]
    team.overlay({IGNORED: "mine\n"})
    team.decide(upstream={"source": team.upstream.source, "version": FIRST}, replaces={IGNORED: reviewed.sha256})
    assert team.tree()[f"template/{IGNORED}"] == File(b"mine\n")
    team.decide(upstream={"source": team.upstream.source, "version": "v999.0.0"})
    message = team.refused()
    assert f"{IGNORED} has changed since it was reviewed" in message
    assert f"--- {IGNORED} in {FIRST}" in message
    assert "\n+/reports/checks/" in message


def test_a_file_may_replace_one_that_is_rendered(team: Team) -> None:
    old = team.upstream.tree("v999.0.0")[f"template/{README}"]
    team.overlay({README.removesuffix(".jinja"): "mine\n"})
    team.decide(replaces={README: old.sha256})
    tree = team.tree()
    assert f"template/{README}" not in tree
    assert f"template/{README.removesuffix('.jinja')}" in tree


def test_a_folder_that_no_build_has_made_is_left_alone(team: Team) -> None:
    team.write("build/precious.txt", "x")
    from extensions.refusal import Refused

    with pytest.raises(Refused, match="holds what no build has made"):
        team.build()
    assert (team.folder / "build/precious.txt").read_text() == "x"


def test_the_same_inputs_give_the_same_bytes_and_only_what_projects_need(team: Team) -> None:
    team.overlay({f"{IN_ALL}/b.md": "b\n", f"{IN_ALL}/a.sh": "#!/bin/sh\n"})
    (team.folder / f"overlay/{IN_ALL}/a.sh").chmod(0o744)
    team.decide(locks={"license": "mit"})
    first, second = team.tree(), team.tree()
    assert list(first.items()) == list(second.items())
    assert first[f"template/{IN_ALL}/a.sh"].executable
    top = {path.partition("/")[0] for path in first}
    commands = {"commands", "extensions", "pyproject.toml"}  # by which a project of it is updated
    assert top == {"CHANGELOG.md", "LICENSE", "README.md", "copier.yml", "provenance.yaml", "template", *commands}
    assert not any(path.startswith("extensions/example/") for path in first)
    team.build()
    lying = {path: file for path, file in read_folder(team.folder / "build").items() if not path.startswith(".git/")}
    assert lying == first
    team.build()
    assert digest(lying) == digest(first)
    assert [path.name for path in team.folder.iterdir() if path.name.startswith(".build")] == []


def test_upstream_s_text_stays_as_it_is_between_the_two_documents(team: Team, tmp_path: Path) -> None:
    team.decide(locks={"license": "mit"})
    text = team.tree()["copier.yml"].content.decode()
    assert text.split("---\n# What the organization decides")[0].endswith(
        team.upstream.tree("v999.0.0")["copier.yml"].content.decode()
    )
    decided = list(yaml.safe_load_all(text))[-1]
    assert list(decided) == ["license", "layer"]
    write_folder(team.tree(), tmp_path / "built")
    template = Template(tmp_path / "built")
    offered = template.text(decided["license"]["choices"], template.all_answers({}))
    assert yaml.safe_load(offered) == {"MIT": "mit"}, "the label is kept"
    assert decided["license"]["ask"] is False


def test_choices_that_follow_another_answer_are_restricted_and_the_default_follows(team: Team, tmp_path: Path) -> None:
    team.decide(choices={"primary_metric": ["average_precision", "r2", "mean_absolute_error"]})
    write_folder(team.tree(), tmp_path / "built")
    template = Template(tmp_path / "built")
    assert template.all_answers({})["primary_metric"] == "average_precision"
    assert template.all_answers({"problem_type": "regression"})["primary_metric"] == "mean_absolute_error"
    with pytest.raises(RefusedError):
        template.all_answers({"primary_metric": "roc_auc"})
    assert axes(template)["primary_metric"] == ["average_precision", "mean_absolute_error", "r2"]
    assert {"problem_type": "regression", "primary_metric": "r2"}.items() <= {
        key: value for row in covering(template) for key, value in row.items() if row.get("primary_metric") == "r2"
    }.items()


@pytest.mark.slow
def test_an_own_question_decides_about_an_own_layer(team: Team, tmp_path: Path) -> None:
    team.overlay({"{{ layer.audited }}/docs/audit.md.jinja": "By {{ auditor }}, of {{ owner }}.\n"})
    team.decide(
        questions={
            "audited": {"type": "bool", "default": False, "help": "Is it audited?"},
            "auditor": {"type": "str", "default": "{{ owner }}", "help": "By whom?", "when": "{{ audited }}"},
        },
        layers={"audited": "audited"},
    )
    write_folder(team.tree(), tmp_path / "built")
    render(tmp_path / "without", {}, template=tmp_path / "built")
    assert not (tmp_path / "without/docs/audit.md").exists()
    render(tmp_path / "with", {"audited": True, "owner": "bank"}, template=tmp_path / "built")
    assert (tmp_path / "with/docs/audit.md").read_text() == "By bank, of bank.\n"
    answers = yaml.safe_load((tmp_path / "with/.copier-answers.yml").read_text())
    assert (answers["audited"], answers["auditor"]) == (True, "bank")


def composed(small: Path, folder: Path, name: str, text: str) -> Template:
    policy = Policy.model_validate(
        {
            "organization": {"name": name, "slug": "test"},
            "upstream": {"source": ".", "version": FIRST},
            "version": "1.0.0",
            "defaults": {"note": text},
            "locks": {"other": text},
        }
    )
    document = compose(Template(small), SMALL, policy)
    folder.mkdir(exist_ok=True)
    (folder / "copier.yml").write_text(document, encoding="utf-8", newline="")
    return Template(folder)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text("{}%#\"'\\\n -:&*!|>@`", max_size=12)
NAMES = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20).filter(
    lambda name: not set(name) & set("<>`|\\")
)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, name=NAMES)
@example(text="{{ 7 * 7 }}{% raw %}", name="{{ 7 * 7 }}")
@example(text='"\n---\n_tasks: [touch x]\n', name="\"'{% if %}")
@example(text="{# no comment #}\u2028\x85é🚀", name="Ünï \"quoted\" 'single'")
@example(text="null", name="yes")
def test_texts_of_a_policy_are_data(text: str, name: str, small: Path, tmp_path: Path) -> None:
    template = composed(small, tmp_path / "built", name, text)
    answers = template.all_answers({})
    assert (answers["note"], answers["other"]) == (text, text)
    assert set(template.settings) == set(Template(small).settings)
    with pytest.raises(RefusedError) as refusal:
        template.all_answers({"other": text + "x"})
    assert f"by {name}." in str(refusal.value)


@pytest.mark.parametrize("text", ["{{ 7 * 7 }}{% raw %}", "\"'\n---\n_tasks: [touch x]\n", "null"])
def test_texts_of_a_policy_are_data_for_copier_itself(text: str, small: Path, tmp_path: Path) -> None:
    template = composed(small, tmp_path / "built", "Test {{ Ltd }}", text)
    write_folder(read_folder(small / "template"), tmp_path / "built/template")
    render(tmp_path / "project", {}, template=template.folder)
    answers = yaml.safe_load((tmp_path / "project/.copier-answers.yml").read_text())
    assert (answers["note"], answers["other"]) == (text, text)
    with pytest.raises(ValueError, match=r"is locked to .* by Test \{\{ Ltd \}\}\."):
        render(tmp_path / "second", {"other": "x"}, template=template.folder)


@given(st.text(max_size=20))
@example("a`b")
@example("``")
@example("|")
def test_code_in_markdown_stays_on_its_line(text: str) -> None:
    shown = code(text)
    assert "\n" not in shown
    assert "|" not in shown.replace("\\|", "")


def test_one_organization_cannot_be_built_on_another(small_team: Team, tmp_path: Path) -> None:
    built = small_team.build().built
    for words in (["add", "--all", "--force"], ["commit", "--quiet", "-mx"], ["tag", "v1.0.0"]):
        past.git(*words, cwd=built)
    second = Team(tmp_path / "second", Upstream(str(built), tmp_path), version="v1.0.0")
    told = second.refused()
    assert "was itself built, for test" in told
    assert f"source: {small_team.upstream.source}, version: {FIRST}" in told


@pytest.mark.parametrize("source", ["ext::touch ran", "git+--upload-pack=touch ran", "http://h.example/x"])
def test_an_upstream_runs_no_program(source: str, tmp_path: Path) -> None:
    with pytest.raises(Refused):
        Upstream(source, tmp_path)
