"""What every registry of models keeps to, whatever keeps it: the suite that `contracts.registry` names.

A registry's test module has a class that inherits `RegistryConformance` and a fixture `connect`, which gives one client
after the other of the registry of the current project's model; nothing is registered yet.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from twoloops import artifact, registry
from twoloops.contracts.registry import ARTIFACT, IDENTITY, JUDGED, REFITTED, Registry, Version
from twoloops.errors import ProjectError
from twoloops.paths import paths

Connect = Callable[[], Registry]


class RegistryConformance:
    """The suite; the project has a trained model that is not registered."""

    def register(self, kept: Registry, **tags: str) -> Version:
        """Register the project's model as the verbs do: a run with its files, then a version of it."""
        run = registry.log_run({"a": 1}, {"score": 0.5}, {}, {paths().model: ARTIFACT})
        return kept.create_version(run, {IDENTITY: artifact.identity(paths().model)} | tags)

    def test_nothing_is_there_at_first(self, connect: Connect) -> None:
        kept = connect()
        assert kept.find(registry.CHAMPION) is None
        assert kept.find_version(IDENTITY, "no model") is None
        with pytest.raises(ProjectError) as refused:
            kept.get("7")
        assert refused.value.hint

    def test_a_version_is_found_by_its_number_and_its_tags(self, connect: Connect) -> None:
        kept = connect()
        first, second = self.register(kept, color="red"), self.register(kept, color="red")
        assert (first.number, second.number) == ("1", "2")
        assert first.run_id
        assert first.run_id != second.run_id
        assert first.registered_at.endswith("+00:00")
        assert kept.get("1") == first
        assert kept.find_version("color", "red") == second, "the newest"
        assert kept.find_version("color", "blue") is None
        kept.set_tag("1", "color", "blue")
        assert connect().get("1").tags == {IDENTITY: first.tags[IDENTITY], "color": "blue"}
        assert kept.get("2").tags["color"] == "red"

    def test_what_is_downloaded_is_what_was_registered(self, connect: Connect, tmp_path: Path) -> None:
        kept = connect()
        version = self.register(kept)
        folder = kept.download(version.number, tmp_path / "copy")
        assert artifact.read(folder).identity == artifact.identity(paths().model)

    def test_what_was_judged_is_kept_beside_what_was_fitted_again(self, connect: Connect, tmp_path: Path) -> None:
        kept, again = connect(), tmp_path / "again"
        shutil.copytree(paths().model, again)
        manifest = json.loads((again / artifact.MANIFEST).read_text(encoding="utf-8"))
        (again / artifact.MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")  # the same, in other letters
        identity, judged = artifact.identity(again), artifact.identity(paths().model)
        assert identity != judged
        run = registry.log_run({}, {}, {}, {paths().model: ARTIFACT})
        kept.store_files(run, {again: REFITTED})
        version = kept.create_version(run, {IDENTITY: identity, JUDGED: judged}, REFITTED)
        assert artifact.identity(kept.download(version.number, tmp_path / "one")) == identity
        assert artifact.identity(kept.download_judged(version, tmp_path / "other")) == judged

    def test_an_alias_moves(self, connect: Connect) -> None:
        kept = connect()
        for _ in range(2):
            self.register(kept)
        kept.set_alias(registry.CHALLENGER, "2")
        kept.set_alias(registry.CHAMPION, "1")
        kept.set_alias(registry.CHAMPION, "1")
        found = [each.number for alias in ("champion", "challenger") if (each := connect().find(alias))]
        assert found == ["1", "2"]
        kept.set_alias(registry.CHAMPION, "2")
        kept.remove_alias(registry.CHALLENGER)
        assert connect().find(registry.CHALLENGER) is None
        assert (champion := connect().find(registry.CHAMPION))
        assert champion.number == "2"

    def test_what_two_do_at_once_is_not_lost(self, connect: Connect) -> None:
        kept = connect()
        self.register(kept)
        failures: list[BaseException] = []

        def move(alias: str) -> None:
            try:
                own = connect()
                for _ in range(3):
                    own.set_alias(alias, "1")
            except BaseException as error:
                failures.append(error)

        names = ["champion", "challenger", "another"]
        threads = [threading.Thread(target=move, args=(name,)) for name in names]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert failures == []
        assert [found.number for name in names if (found := kept.find(name))] == ["1", "1", "1"]

    def test_the_verbs_find_it(self, connect: Connect) -> None:
        self.register(connect())
        connect().set_alias(registry.CHAMPION, "1")
        assert registry.find_in_use().number == "1"
        with registry.download(f"models:/{registry.model_name()}@champion") as folder:
            assert artifact.identity(folder) == artifact.identity(paths().model)
        with pytest.raises(ProjectError, match="the registry holds"), registry.download("models:/churn/1", "0" * 64):
            pass

    def test_it_has_every_name_of_the_contract(self, connect: Connect) -> None:
        names = {name for name in vars(Registry) if not name.startswith("_")}
        assert {name for name in names if not hasattr(connect(), name)} == set()
