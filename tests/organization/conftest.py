"""A workspace to try a policy in, beside the template's real history."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from extensions.organization.build import Workspace, compile_tree, lay_down, read
from extensions.organization.git import Upstream
from extensions.organization.trees import Tree
from extensions.refusal import Refused
from tests.conftest import shared_project
from tests.updates import history as past

FIRST = "v0.1.0"
IN_ALL = "{{ layer.organization }}"

# A template that renders in no time, and that takes any text.
SMALL = """\
_min_copier_version: "9.19.0"
_subdirectory: template
_envops: {undefined: jinja2.StrictUndefined, trim_blocks: true, lstrip_blocks: true, keep_trailing_newline: true}
note: {type: str, help: "What?", default: ""}
other: {type: str, help: "What else?", default: ""}
amount: {type: float, help: "How much?", default: 0.5}
tree: {type: yaml, help: "Which?", default: "[]"}
size: {type: str, help: "How big?", choices: [small, medium, large], default: small}
layer: {type: yaml, when: false, default: "base: '.'\\nlarge: \\"{{ '.' if size == 'large' }}\\"\\n"}
"""


class Team:
    """A platform team at its workspace."""

    def __init__(self, folder: Path, upstream: Upstream, version: str = past.CANDIDATE) -> None:
        """Begin with a policy that decides nothing."""
        self.folder = folder
        self.upstream = upstream
        self.policy: dict[str, Any] = {
            "organization": {"name": "Test Ltd", "slug": "test"},
            "upstream": {"source": upstream.source, "version": version},
            "version": "1.0.0",
        }
        folder.mkdir(parents=True, exist_ok=True)
        self.write("CHANGELOG.md", "# Changelog\n\n## 1.0.0\n\nThe first.\n")
        self.decide()

    def decide(self, **decisions: Any) -> None:
        """Write the policy with these decisions in place of others of the same name."""
        self.policy |= decisions
        self.write("policy.yaml", yaml.safe_dump(self.policy))

    def write(self, path: str, text: str) -> None:
        """Write a file of the workspace."""
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text, encoding="utf-8")

    def overlay(self, files: Mapping[str, str]) -> None:
        """Write files of the overlay."""
        for path, text in files.items():
            self.write(f"overlay/{path}", text)

    def read(self) -> Workspace:
        """Return the workspace as it lies there."""
        return read(self.folder)

    def tree(self) -> Tree:
        """Return what is built from it."""
        return compile_tree(self.read(), self.upstream)

    def build(self) -> Workspace:
        """Build into build/."""
        workspace = self.read()
        lay_down(compile_tree(workspace, self.upstream), workspace)
        return workspace

    def refused(self) -> str:
        """Return what a build that is refused says."""
        with pytest.raises(Refused) as refusal:
            self.build()
        assert not (self.folder / "build").exists()
        return f"{refusal.value.message} {refusal.value.hint}"


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> past.History:
    """Return the template with its releases and the working tree as the candidate for the next one."""
    return past.at(shared_project(tmp_path_factory, "history", past.make))


@pytest.fixture(scope="session")
def upstream(history: past.History) -> Upstream:
    """Return the upstream; what was fetched once stays."""
    return Upstream(str(history.repository), history.repository)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with a small template, of which texts may be anything; released as FIRST."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "template/{{ layer.base }}").mkdir(parents=True)
    (folder / "copier.yml").write_text(SMALL)
    (folder / "template/{{ layer.large }}").mkdir()
    (folder / "template/{{ layer.base }}/README.md").write_text("# Small\n")
    (folder / "template/{{ layer.large }}/LARGE.md").write_text("# Large\n")
    (folder / "template/{{ _copier_conf.answers_file }}.jinja").write_text("{{ _copier_answers | to_nice_yaml }}")
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-mx"], ["tag", FIRST]):
        past.git(*words, cwd=folder)
    return folder


@pytest.fixture
def small_team(tmp_path: Path, small: Path) -> Team:
    """Return a team whose upstream is small."""
    return Team(tmp_path / "workspace", Upstream(str(small), small), version=FIRST)


@pytest.fixture
def team(tmp_path: Path, upstream: Upstream) -> Team:
    """Return a team with an empty policy."""
    return Team(tmp_path / "workspace", upstream)


def quiet(_: str) -> None:
    """Show no progress."""
