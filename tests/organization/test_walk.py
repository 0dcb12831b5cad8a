"""The whole way, by the commands: a workspace, a release, a project, and its updates across both kinds of release."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import copier
import pytest
import yaml

from commands.answer_space import template
from commands.rendering import TEMPLATE
from extensions.organization.build import compile_tree, read
from extensions.organization.git import Upstream
from extensions.organization.trees import digest
from tests.updates.history import CANDIDATE, NOBODY, History, git

from .conftest import FIRST

EXAMPLE = TEMPLATE / "extensions/example"
HOOKS = ".pre-commit-config.yaml"  # a file that the upstream has left as it was
IGNORED = "{{ layer.base }}/.gitignore"
MARKERS = re.compile(r"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)


def organization(*words: str | Path, code: int = 0) -> str:
    """Run the command and return all that it says."""
    finished = subprocess.run(
        [sys.executable, "-m", "extensions.organization", *map(str, words)],
        cwd=TEMPLATE,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    said = finished.stdout + finished.stderr
    assert finished.returncode == code, said
    assert "Traceback" not in said
    return said


@pytest.fixture
def bank(tmp_path: Path, history: History) -> Path:
    """Return a copy of the example whose upstream is the history, at its first release."""
    folder = tmp_path / "bank"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("build"))
    edit(folder / "policy.yaml", "../.. # this repository; a platform team writes its URL", str(history.repository))
    return folder


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, (old, text)
    file.write_text(text.replace(old, new), encoding="utf-8")


def commit(project: Path) -> None:
    for words in (["add", "--all"], ["commit", "--quiet", "--message=Work"]):
        git(*words, cwd=project)


def update(project: Path) -> dict[str, object]:
    """Update by plain Copier without trust, commit, and return the recorded answers."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in NOBODY.items():
            patch.setenv(name, value)
        copier.run_update(project, defaults=True, overwrite=True, quiet=True)
    assert not re.search("^(UU|AA|DU|UD) ", git("status", "--porcelain", cwd=project), re.MULTILINE)
    for path in git("ls-files", cwd=project).splitlines():
        if (project / path).is_file():
            assert not MARKERS.search((project / path).read_text(encoding="utf-8", errors="replace")), path
    commit(project)
    answers: dict[str, object] = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    return answers


def same_as_fresh(project: Path, remote: Path, fresh: Path, *, edited: set[str]) -> None:
    """Demand that what nobody has edited equals a project that is made now, with the same answers."""
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    given = {name: value for name, value in answers.items() if not name.startswith("_")}
    copier.run_copy(str(remote), fresh, data=given, defaults=True, quiet=True)
    belongs_to_user = template(TEMPLATE).belongs_to_user  # given once: an update does not bring it
    made = {path.relative_to(fresh).as_posix() for path in fresh.rglob("*") if path.is_file()}
    files = {path for path in made if not belongs_to_user(path)}
    there = set(git("ls-files", cwd=project).splitlines()) - {"mine.md"}
    assert files == {path for path in there if not belongs_to_user(path)}
    for path in files - edited:
        assert (project / path).read_bytes() == (fresh / path).read_bytes(), path


@pytest.mark.slow
def test_from_a_policy_to_a_project_and_through_both_kinds_of_release(bank: Path, tmp_path: Path) -> None:
    remote, project = tmp_path / "remote.git", tmp_path / "project"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(remote), cwd=tmp_path)
    assert "build/ holds Example Bank v1.0.0" in organization("build", bank)
    assert "organization check" in organization("publish", bank, "--remote", remote, code=1)
    assert "all refused" in organization("check", bank)
    assert "v1.0.0 is published" in organization("publish", bank, "--remote", remote)

    copier.run_copy(str(remote), project, data={"cost_center": "CC-1234"}, defaults=True, quiet=True)
    git("init", "--quiet", "--initial-branch=main", cwd=project)
    edit(project / "pyproject.toml", "fail_under = 85\n", "fail_under = 90\n")
    (project / "src/churn/problem/sample.py").write_text('"""Mine."""\n')
    (project / "mine.md").write_text("mine\n")
    (project / "SECURITY.md").open("a").write("\nA line of the project.\n")
    commit(project)

    # A release of the bank's own: the page on security begins otherwise, and a file comes.
    edit(bank / "overlay/{{ layer.organization }}/SECURITY.md.jinja", "# Security\n", "# Security at the bank\n")
    (bank / "overlay/{{ layer.organization }}/CONDUCT.md").write_text("# Conduct\n")
    edit(bank / "policy.yaml", "version: 1.0.0", "version: 1.1.0")
    edit(bank / "CHANGELOG.md", "## 1.0.0\n", "## 1.1.0\n\nA page on conduct.\n\n## 1.0.0\n")
    for verb in ("build", "check", "publish"):
        organization(verb, bank)
    assert update(project)["_commit"] == "v1.1.0"
    assert (project / "SECURITY.md").read_text().startswith("# Security at the bank\n")
    edits_survive(project)
    edited = {"pyproject.toml", "SECURITY.md", "src/churn/problem/sample.py"}
    same_as_fresh(project, remote, tmp_path / "second", edited=edited)

    # A release of the upstream: a replaced file waits for its review, then all is rebuilt.
    said = organization("upgrade", bank, "--to", CANDIDATE, code=1)
    assert "+/reports/checks/" in said
    assert f"--accept '{IGNORED}'" in said
    assert f"version: {FIRST}" in (bank / "policy.yaml").read_text(encoding="utf-8")
    said = organization("upgrade", bank, "--to", CANDIDATE, "--accept", IGNORED)
    assert "question kubernetes_cluster is new" in said
    assert "Ready to publish as v2.0.0 (a major one)" in said
    text = (bank / "policy.yaml").read_text(encoding="utf-8")
    assert "# The same in every project: not asked, and refused when somebody tries." in text
    # Of the new providers the bank allows one.
    edit(bank / "policy.yaml", "choices:\n", "choices:\n  ci_provider: [github, gitlab]\n")
    for verb in ("build", "check", "publish"):
        organization(verb, bank)
    answers = update(project)
    assert (answers["_commit"], answers["cost_center"]) == ("v2.0.0", "CC-1234")
    edits_survive(project)
    same_as_fresh(project, remote, tmp_path / "third", edited=edited)
    with pytest.raises(ValueError, match="ci_provider"):
        copier.run_copy(str(remote), tmp_path / "fourth", data={"ci_provider": "azure_devops"}, defaults=True)
    assert organization("upgrade", bank, "--to", CANDIDATE) == f"{CANDIDATE} is the newest release of the upstream.\n"


def edits_survive(project: Path) -> None:
    assert "fail_under = 90\n" in (project / "pyproject.toml").read_text()
    assert (project / "src/churn/problem/sample.py").read_text() == '"""Mine."""\n'
    assert (project / "mine.md").read_text() == "mine\n"
    assert (project / "SECURITY.md").read_text().endswith("\nA line of the project.\n")


@pytest.mark.slow
def test_a_lock_that_comes_later_reaches_projects_by_an_update(bank: Path, tmp_path: Path) -> None:
    remote, project = tmp_path / "remote.git", tmp_path / "project"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(remote), cwd=tmp_path)
    for words in (("build", bank), ("check", bank), ("publish", bank, "--remote", remote)):
        organization(*words)
    copier.run_copy(str(remote), project, data={"owner": "other"}, defaults=True, quiet=True)
    git("init", "--quiet", "--initial-branch=main", cwd=project)
    commit(project)
    edit(bank / "policy.yaml", "version: 1.0.0", "version: 2.0.0")
    edit(bank / "policy.yaml", "  owner: risk-models\n", "")
    edit(bank / "policy.yaml", "locks:\n", "locks:\n  owner: risk-models\n  serving_mode: batch\n")
    edit(bank / "policy.yaml", "  serving_mode: [online, batch]\n", "")
    edit(bank / "CHANGELOG.md", "## 1.0.0\n", "## 2.0.0\n\nEvery project scores tables.\n\n## 1.0.0\n")
    for verb in ("build", "check", "publish"):
        organization(verb, bank)
    answers = update(project)
    assert (answers["owner"], answers["serving_mode"]) == ("risk-models", "batch")
    assert not (project / "src/churn/verbs/online.py").exists()
    assert (project / "src/churn/verbs/batch.py").exists()
    for locked in ({"owner": "other"}, {"serving_mode": "online"}, {"environments": "a, b", "serving_mode": "batch"}):
        with pytest.raises(ValueError, match=next(iter(locked))):
            copier.run_copy(str(remote), tmp_path / "second", data=locked, defaults=True, quiet=True)


# In CI the walk above shows both kinds of release.
@pytest.mark.slow
@pytest.mark.twin
def test_a_project_of_the_upstream_moves_over_as_the_page_says(history: History, tmp_path: Path) -> None:
    bank, remote, project = tmp_path / "bank", tmp_path / "remote.git", tmp_path / "project"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(remote), cwd=tmp_path)
    organization("init", bank, "--name=Bank", "--upstream", history.repository, "--upstream-version", FIRST)
    for words in (("build", bank), ("check", bank), ("publish", bank, "--remote", remote)):
        organization(*words)
    copier.run_copy(str(history.repository), project, vcs_ref=FIRST, defaults=True, quiet=True)
    git("init", "--quiet", "--initial-branch=main", cwd=project)
    commit(project)
    (project / "src/churn/problem/sample.py").write_text('"""Mine."""\n')
    (project / HOOKS).open("a").write("# Mine.\n")
    commit(project)

    page = (TEMPLATE / "docs/organizations.md").read_text(encoding="utf-8").split("## Move a project over")[1]
    (script,) = re.findall("^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for old, new in {
        "-p3": f"-p{len(tmp_path.parts) + 1}",
        "/tmp/": f"{tmp_path}/",  # noqa: S108 - the page's folder
        "uvx copier": f"{sys.executable} -m copier",
        "URL-OF-THE-UPSTREAM": str(history.repository),
        "URL-OF-YOUR-TEMPLATE": str(remote),
    }.items():
        assert old in script
        script = script.replace(old, new)
    settings = {"color.ui": "always", "diff.noprefix": "true", "diff.external": "false"}  # whatever a person likes
    for name, value in settings.items():
        git("config", name, value, cwd=project)
    subprocess.run(["bash", "-eu", "-c", script], cwd=project, env=os.environ | NOBODY, check=True)
    assert (project / "src/churn/problem/sample.py").read_text() == '"""Mine."""\n'
    assert (project / HOOKS).read_text().endswith("# Mine.\n")
    assert (project / "SECURITY.md").exists()
    for name in settings:
        git("config", "--unset", name, cwd=project)

    organization("upgrade", bank, "--to", CANDIDATE)
    organization("publish", bank)
    assert update(project)["_commit"] == "v2.0.0"
    assert (project / HOOKS).read_text().endswith("# Mine.\n")
    edited = {HOOKS, "src/churn/problem/sample.py"}
    same_as_fresh(project, remote, tmp_path / "fresh", edited=edited)


def test_the_command_makes_a_workspace_without_asking(history: History, tmp_path: Path) -> None:
    said = organization(
        *("init", tmp_path / "acme", "--name", "Acme [bold]", "--upstream", history.repository),
        *("--upstream-version", FIRST, "--default", "owner=platform", "--lock", "license=mit"),
        *("--allow", "serving_mode=online,batch", "--question", "cost_center=Which cost center?"),
    )
    assert "of Acme [bold], built from v0.1.0" in said
    assert "build/ holds Acme [bold] v1.0.0, from v0.1.0" in organization("build", tmp_path / "acme")
    assert "left as it is" in organization("init", tmp_path / "acme", "--name", "x", code=1)
    assert "--name and --upstream are needed" in organization("init", tmp_path / "other", code=1)


@pytest.mark.parametrize("verb", ["build", "check", "publish", "upgrade"])
def test_a_command_outside_a_workspace_ends_in_two_lines(verb: str, tmp_path: Path) -> None:
    said = organization(verb, tmp_path, code=1)
    assert "holds no policy.yaml" in said
    assert len(said.splitlines()) == 2


def test_the_example_builds_twice_the_same_and_says_what_it_is(bank: Path, tmp_path: Path, history: History) -> None:
    upstream = Upstream(str(history.repository), bank)
    first = compile_tree(read(bank), upstream)
    assert digest(first) == digest(compile_tree(read(bank), Upstream(str(history.repository), tmp_path)))
    provenance = yaml.safe_load(first["provenance.yaml"].content)
    assert provenance["upstream"]["version"] == read(bank).policy.upstream.version
    assert not any(os.fspath(TEMPLATE).encode() in file.content for file in first.values())


def test_the_example_pins_what_the_first_release_holds(bank: Path, history: History) -> None:
    policy = read(bank).policy
    released = Upstream(str(history.repository), bank).tree(policy.upstream.version)
    assert policy.replaces == {path: released[f"template/{path}"].sha256 for path in policy.replaces}
    assert policy.replaces
