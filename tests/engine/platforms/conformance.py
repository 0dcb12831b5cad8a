"""What every platform keeps to, whatever it is: the suite that `contracts.platform.Platform` names.

A platform's test module has a class that inherits `PlatformConformance` and a fixture `subject`, which gives a
project on this platform with a champion, and what the suite cannot know of it: `Subject`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any

import pytest
from twoloops import config, params, plugins, registry
from twoloops.artifact import Predictor
from twoloops.contracts import platform as contract
from twoloops.contracts.graph import Graph, Step
from twoloops.contracts.platform import (
    IMAGES,
    INFRASTRUCTURE,
    LOGIN,
    PIPELINES,
    SCORING,
    Login,
    NotOfferedError,
    Platform,
)
from twoloops.contracts.release import Deployment, Release, Traffic, UnfitError
from twoloops.errors import ProjectError
from twoloops.paths import paths
from twoloops.platforms import aws, azure, kubernetes, local

from tests.engine.support.project import Project

# Each platform as mypy sees it: a name or a type that differs from the contract's is an error there.
PLATFORMS: Mapping[str, Platform] = {"aws": aws, "azure": azure, "kubernetes": kubernetes, "local": local}
OFFERS = frozenset({PIPELINES, SCORING, IMAGES, LOGIN, INFRASTRUCTURE})
FIRST, LAST = "staging", "production"


@dataclass
class Subject:
    """A platform in a project with a champion, version 1."""

    platform: Platform
    project: Project
    spoil: Callable[[Release], Release]  # returns a release whose service does not come up the next time
    held_by_another: Callable[[], AbstractContextManager[None]]  # somebody else changes what runs meanwhile

    def release(self, version: str = "1") -> Release:
        """Return the champion as a release; under another number it is another version of the same artifact."""
        made = Release.of(registry.get("1"))
        return Release(version, made.identity, made.registered_at)

    def ask(self, environment: str, count: int = 1) -> list[str]:
        """Send requests to the environment's service, and return which version answered each."""
        predictor = Predictor.load(str(paths().model))
        (row,) = predictor.problem.draw_requests(predictor.reference, predictor.signature, 1, 0)
        body = json.dumps(row).encode()
        versions = []
        with self.platform.endpoint(environment).connect() as client:
            for _ in range(count):
                answer = client.send("POST", "/predict", body)
                assert answer.status == 200, answer.content
                versions.append(str(answer.json()["model_version"]))
        return versions

    def count(self, environment: str, version: str, answered: int) -> Traffic:
        """Return a version's traffic as soon as these answers are counted: the platform says how late that may be."""
        deadline = time.monotonic() + self.platform.LATE_SECONDS
        while (found := self.platform.traffic(environment)[version]).answered < answered:
            assert time.monotonic() <= deadline, found
            time.sleep(0.1)
        return found


class PlatformConformance:
    """The suite."""

    @pytest.fixture
    def platform(self, subject: Subject) -> Iterator[Platform]:
        """Return the platform, whose services end with the test."""
        yield subject.platform
        for name in config.current().environments:
            subject.platform.remove(name)

    # ------------------------------------------------------------------ what it says of itself

    def test_notes_are_kept_in_their_order(self, platform: Platform) -> None:
        notes = [{"verdict": "failed"}, {"verdict": "passed"}]
        for note in notes:
            platform.records().add(f"trials/{FIRST}/a1", note)
        assert platform.records().read(f"trials/{FIRST}/a1") == notes == platform.records().read("trials")
        assert platform.records().read("trials/elsewhere") == []

    def test_an_image_is_named_by_its_digest(self, platform: Platform) -> None:
        image = platform.image(params.load().scan)
        assert image is None or "@sha256:" in image

    def test_it_is_found_by_its_name(self, subject: Subject) -> None:
        name = config.current().platform
        assert name in {point.name for point in entry_points(group="twoloops.platforms")}
        assert plugins.find("platforms", name) is subject.platform

    def test_it_has_every_name_of_the_contract(self, subject: Subject) -> None:
        names = {name for name in vars(Platform) if not name.startswith("_")}
        assert {name for name in names if not hasattr(subject.platform, name)} == set()
        assert subject.platform.NAME
        assert subject.platform.STOPPED
        assert subject.platform.LATE_SECONDS >= 0
        assert subject.platform.lasts() in (True, False)
        constants = {value for name, value in vars(contract).items() if name.isupper() and isinstance(value, str)}
        assert subject.platform.OFFERS <= OFFERS == constants, "the suite knows every offer"

    # ------------------------------------------------------------------ services

    def test_an_unknown_environment_is_named(self, subject: Subject) -> None:
        asked: list[Callable[[str], Any]] = [
            subject.platform.deployment,
            subject.platform.status,
            subject.platform.endpoint,
            subject.platform.traffic,
            subject.platform.stop,
            subject.platform.remove,
            lambda name: subject.platform.deploy(name, Deployment(subject.release())),
        ]
        for call in asked:
            with pytest.raises(ProjectError, match="no environment 'nowhere'") as refused:
                call("nowhere")
            assert FIRST in refused.value.hint
            assert LAST in refused.value.hint

    def test_where_nothing_runs(self, platform: Platform) -> None:
        assert platform.deployment(FIRST) is None
        assert platform.status(FIRST) is None
        for call in (platform.endpoint, platform.traffic):
            with pytest.raises(ProjectError, match=FIRST):
                call(FIRST)
        assert platform.stop(FIRST) is False
        platform.remove(FIRST)

    def test_a_release_is_deployed_and_stopped(self, subject: Subject, platform: Platform) -> None:
        wanted = Deployment(subject.release())
        platform.deploy(FIRST, wanted)
        assert platform.deployment(FIRST) == wanted
        found = platform.status(FIRST)
        assert found is not None
        assert (found.ready, found.stable, found.canary, found.problem) == (True, "1", None, None)
        assert subject.ask(FIRST, 3) == ["1"] * 3
        assert platform.endpoint(FIRST).url.startswith("http")
        assert platform.endpoint(FIRST).reaches("/predict")
        assert subject.count(FIRST, "1", 3).errors == 0
        platform.deploy(FIRST, wanted)  # again: nothing is to do
        assert platform.deployment(FIRST) == wanted
        assert platform.status(LAST) is None, "the other environment has its own service"
        assert platform.stop(FIRST) is True
        assert platform.status(FIRST) is None
        assert platform.stop(FIRST) is False
        platform.remove(FIRST)
        assert platform.deployment(FIRST) is None

    def test_a_canary_takes_its_share_and_goes_back(self, subject: Subject, platform: Platform) -> None:
        stable = Deployment(subject.release())
        platform.deploy(LAST, stable)
        both = Deployment(subject.release(), subject.release("2"), 0.5)
        platform.deploy(LAST, both)
        assert platform.deployment(LAST) == both
        found = platform.status(LAST)
        assert found is not None
        assert (found.ready, found.stable, found.canary, found.share) == (True, "1", "2", 0.5)
        answered = subject.ask(LAST, 100)
        assert 20 <= answered.count("2") <= 80
        assert set(answered) == {"1", "2"}
        subject.count(LAST, "2", answered.count("2"))
        assert set(platform.traffic(LAST)) == {"1", "2"}
        platform.deploy(LAST, stable)
        assert platform.deployment(LAST) == stable
        assert set(subject.ask(LAST, 20)) == {"1"}

    def test_what_does_not_come_up_leaves_what_runs(self, subject: Subject, platform: Platform) -> None:
        stable = Deployment(subject.release())
        platform.deploy(LAST, stable)
        with pytest.raises(UnfitError) as refused:
            platform.deploy(LAST, Deployment(subject.release(), subject.spoil(subject.release("2")), 0.5))
        assert refused.value.hint
        assert platform.deployment(LAST) == stable
        assert subject.ask(LAST) == ["1"]

    def test_an_artifact_that_cannot_be_had_changes_nothing(self, subject: Subject, platform: Platform) -> None:
        missing = Release("99", "0" * 64, subject.release().registered_at)
        with pytest.raises(ProjectError) as refused:
            platform.deploy(FIRST, Deployment(missing))
        assert not isinstance(refused.value, UnfitError)
        assert platform.deployment(FIRST) is None

    def test_the_lock(self, subject: Subject, platform: Platform) -> None:
        for _ in range(2):
            with platform.lock("A test"):
                pass
        platform.deploy(FIRST, Deployment(subject.release()))
        with subject.held_by_another(), pytest.raises(ProjectError) as refused, platform.lock("Another"):
            pass
        assert refused.value.hint
        with platform.lock("A test"):
            pass

    # ------------------------------------------------------------------ champions and the monitor

    def test_it_follows_a_champion_again_and_again(self, subject: Subject) -> None:
        for _ in range(2):
            subject.platform.follow_champion(registry.get("1"))

    def test_what_the_monitor_needs(self, subject: Subject) -> None:
        with subject.platform.captures():
            pass
        with subject.platform.monitor_memory():
            paths().history.parent.mkdir(parents=True, exist_ok=True)
            paths().history.write_text('{"windows": []}', encoding="utf-8")
        with subject.platform.monitor_memory():
            assert json.loads(paths().history.read_text(encoding="utf-8")) == {"windows": []}

    # ------------------------------------------------------------------ what it offers

    @pytest.mark.parametrize("offer", sorted(OFFERS))
    def test_what_it_offers_works_and_all_else_is_refused(self, subject: Subject, offer: str) -> None:
        if offer in subject.platform.OFFERS:
            getattr(self, f"see_{offer}")(subject)
            return
        calls: dict[str, Callable[[], Any]] = {
            PIPELINES: lambda: subject.platform.submit(Graph(()), print),
            SCORING: lambda: subject.platform.score(print),
            IMAGES: lambda: subject.platform.push_images(None, print),
            LOGIN: lambda: subject.platform.audience("train"),
            INFRASTRUCTURE: subject.platform.infrastructure,
        }
        with pytest.raises(NotOfferedError, match=f"has no {offer}") as refused:
            calls[offer]()
        assert subject.platform.NAME in str(refused.value)
        assert refused.value.hint

    def see_pipelines(self, subject: Subject) -> None:
        """See that a step runs there and leaves here what it leaves when it runs here."""
        page = "reports/rows.txt"
        step = Step("count", ("wc -l < params.yaml > reports/rows.txt",), ("params.yaml",), (page,), (page,))
        told: list[str] = []
        subject.platform.submit(Graph((step,)), told.append)
        assert any("count" in line for line in told)
        lines = len(paths().params.read_text(encoding="utf-8").splitlines())
        assert int((paths().root / page).read_text(encoding="utf-8")) == lines
        broken = replace(step, commands=("echo the reason && exit 3",))
        with pytest.raises(ProjectError, match=r"(?s)The step count failed .*\n *the reason"):
            subject.platform.submit(Graph((broken,)), told.append)

    def see_scoring(self, subject: Subject) -> None:
        """See that a champion scores there."""
        with pytest.raises(ProjectError, match="No version scores") as refused:
            subject.platform.score(print)
        assert "promote" in refused.value.hint
        subject.platform.follow_champion(registry.get("1"))
        found = subject.platform.score(print)
        assert set(found) == {"target", "summary"}
        assert found["summary"]["rows"] == len(subject.project.rows())
        assert subject.platform.stop(LAST) is True
        assert subject.platform.stop(LAST) is False

    def see_images(self, subject: Subject) -> None:
        """See that images that are there are not built again, and what names both."""
        found = subject.platform.push_images("no-such-engine", print)
        assert set(found) == {"serve", "train"}

    def see_login(self, subject: Subject) -> None:
        """See for whom a token has to be, and that a role which `bootstrap` has not told of is refused in words."""
        assert subject.platform.audience("train")
        asked = Login("train", token="a token", variables={}, run="a-run", seconds=900, folder=paths().reports)
        with pytest.raises(ProjectError, match="train") as refused:
            subject.platform.log_in(asked)
        assert "bootstrap" in refused.value.hint

    def see_infrastructure(self, subject: Subject) -> None:
        """See that the infrastructure says what flows have to know."""
        for _ in range(2):
            room = subject.platform.infrastructure()
        assert room.is_made()
        assert set(room.variables()) <= set(room.variable_names())
        assert "CLOUD_REGION" in room.variables()
        assert room.deployed(LAST) == []
        with pytest.raises(ProjectError, match="no environment 'nowhere'"):
            room.saved("nowhere")
        with pytest.raises(ProjectError, match="There is no plan"):
            room.saved(LAST)
