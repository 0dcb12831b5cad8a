"""`init` makes a workspace that builds, asks for nothing where nobody is, and overwrites nothing."""

from __future__ import annotations

import http.server
import os
import subprocess
import threading
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from commands.answer_space import Template
from commands.rendering import clean_environment
from extensions.organization import ask
from extensions.organization.build import compile_tree, read
from extensions.organization.cli import pairs
from extensions.organization.git import Upstream
from extensions.organization.policy import load
from extensions.organization.start import Wishes, slug, start
from extensions.organization.trees import write_folder
from extensions.refusal import Refused
from tests.conftest import UV
from tests.updates.history import CANDIDATE

from .conftest import FIRST


def wishes(upstream: Upstream, **others: object) -> Wishes:
    values: dict[str, object] = {"name": "Test Ltd", "slug": "test", "source": upstream.source, "version": CANDIDATE}
    return Wishes(**(values | others))  # type: ignore[arg-type]


def test_every_wish_becomes_part_of_a_policy_that_builds(upstream: Upstream, tmp_path: Path) -> None:
    page = tmp_path / "conduct.md"
    page.write_text("# Conduct\n")
    folder = tmp_path / "workspace"
    start(
        folder,
        wishes(
            upstream,
            name="Ünï {{ 7 }} \"Ltd\" 'x'",
            defaults={"minimum_metric": "0.8", "owner": "data"},
            locks={"license": "mit"},
            allowed={"ci_provider": ["github", "gitlab"], "serving_mode": ["online"]},
            settings={"package_index": "https://packages.example.com/simple", "registry": "images.example.com"},
            questions={"cost_center": "Which {{ center }}?"},
            files={"docs/conduct.md": page},
        ),
    )
    policy = load(folder)
    assert policy.organization.name == "Ünï {{ 7 }} \"Ltd\" 'x'"
    assert policy.defaults == {"minimum_metric": 0.8, "owner": "data"}
    assert policy.locks == {"license": "mit", "serving_mode": "online"}
    assert policy.choices == {"ci_provider": ["github", "gitlab"]}
    tree = compile_tree(read(folder), upstream)
    write_folder(tree, tmp_path / "built")
    template = Template(tmp_path / "built")
    project = template.render(template.all_answers({}))
    assert project["docs/conduct.md"].content == b"# Conduct\n"
    assert b'url = "https://packages.example.com/simple"' in project["uv.toml"].content
    assert b"images.example.com/churn" in project["docs/platform.md"].content
    assert b"ml-team" not in project["SECURITY.md"].content
    assert template.recorded(template.all_answers({}))["registry"] == "images.example.com"
    assert "# " in (folder / "policy.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ({"defaults": {"ownr": "x"}}, "ownr is no question"),
        ({"defaults": {"minimum_metric": "high"}}, "minimum_metric=high is no float"),
        ({"allowed": {"ci_provider": ["github", "gitlib"]}}, "ci_provider is 'gitlib'"),
        ({"locks": {"license": "gpl"}}, "license is 'gpl'"),
        ({"slug": "../x"}, "organization.slug is '../x'"),
        ({"name": "a\nb"}, "organization.name is 'a\\nb'"),
        ({"files": {"x.md": Path("nowhere.md")}}, "nowhere.md, does not exist"),
        ({"files": {"../x.md": Path(__file__)}}, "outside the project"),
        ({"version": "v7.7.7"}, "no release v7.7.7"),
    ],
)
def test_a_wish_that_cannot_be_leaves_nothing(
    others: dict[str, object], told: str, upstream: Upstream, tmp_path: Path
) -> None:
    with pytest.raises(Refused) as refusal:
        start(tmp_path / "workspace", wishes(upstream, **others))
    assert told in refusal.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_as_it_is(upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(Refused, match="left as it is"):
        start(tmp_path, wishes(upstream))
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize(
    ("name", "expected"), [("Example Bank", "example-bank"), ("42", "organization"), ("--Ünï & Co.", "n-co")]
)
def test_a_name_for_files_comes_from_the_name(name: str, expected: str) -> None:
    assert slug(name) == expected


def test_an_option_without_a_value_is_told() -> None:
    with pytest.raises(Refused, match="--default owner: a name, = and a value"):
        pairs("--default", ["owner"])


class Index(http.server.BaseHTTPRequestHandler):
    """An index of packages that has none, and notes what it is asked for."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Note the path."""
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.slow
def test_the_package_index_is_the_one_that_uv_asks(upstream: Upstream, tmp_path: Path) -> None:
    """uv.toml gives the index, and [tool.uv] of pyproject.toml still names the groups."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/simple"
        start(tmp_path / "workspace", wishes(upstream, settings={"package_index": url}))
        write_folder(compile_tree(read(tmp_path / "workspace"), upstream), tmp_path / "built")
        template = Template(tmp_path / "built")
        for path, file in template.render(template.all_answers({})).items():
            (tmp_path / "project" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "project" / path).write_bytes(file.content)
        environment = {name: value for name, value in clean_environment().items() if not name.startswith("UV_")}
        finished = subprocess.run(
            [UV, "lock", "--no-cache"],
            cwd=tmp_path / "project",
            env=environment | {"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        server.shutdown()
    assert finished.returncode != 0
    assert any(path.startswith("/simple/numpy") for path in Index.asked), finished.stderr
    assert "default-groups" not in finished.stderr


def test_the_policy_that_init_writes_is_yaml_with_its_sections_in_order(upstream: Upstream, tmp_path: Path) -> None:
    start(tmp_path / "workspace", wishes(upstream))
    text = (tmp_path / "workspace/policy.yaml").read_text(encoding="utf-8")
    assert list(yaml.safe_load(text)) == [
        *("organization", "upstream", "version", "defaults", "locks", "choices", "questions", "layers", "replaces")
    ]


DOWN, ENTER = "\x1b[B", "\r"


def test_what_no_option_has_answered_is_asked(small: Path) -> None:
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text(ENTER)  # its name in files, as it is
        keys.send_text(DOWN + " " + ENTER)  # size: all but medium
        keys.send_text(" " + ENTER + "fixed" + ENTER)  # locks: the first, note
        keys.send_text(" " + ENTER + "preset" + ENTER)  # defaults: the first that is left, other
        keys.send_text(ENTER + "images.example.com" + ENTER + ENTER + ENTER)  # index, registry, prefix, tags
        keys.send_text("team" + ENTER + "Which team?" + ENTER + ENTER)  # a question of their own, and no more
        given = Wishes(name="Test Ltd", slug="test", source=str(small), version=FIRST)
        answered = ask.wishes(given, Template(small))
    assert answered == Wishes(
        name="Test Ltd",
        slug="test",
        source=str(small),
        version=FIRST,
        defaults={"other": "preset"},
        locks={"note": "fixed"},
        allowed={"size": ["small", "large"]},
        settings={"registry": "images.example.com"},
        questions={"team": "Which team?"},
    )


def test_name_upstream_and_release_are_asked_first() -> None:
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text("Test Ltd" + ENTER)
        assert ask.identity(None, "source") == ("Test Ltd", "source")
        keys.send_text(ENTER)
        assert ask.version(["v0.1.0", "v0.2.0"]) == "v0.2.0"
