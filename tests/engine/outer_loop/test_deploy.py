"""Deployment: the steps, with a platform that only takes notes."""

import json
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from twoloops import params, registry
from twoloops.artifact import Predictor
from twoloops.contracts.client import Answer, Endpoint
from twoloops.contracts.platform import Platform
from twoloops.contracts.records import Records
from twoloops.contracts.release import Deployment, Release, Status, Traffic, UnfitError
from twoloops.contracts.scan import Scan
from twoloops.errors import ProjectError
from twoloops.outer_loop import canary, deploy, promote, trial
from twoloops.paths import paths
from twoloops.platforms import platform
from twoloops.platforms.shared.notes import Folder

from tests.engine.support.plugins import register
from tests.engine.support.project import Project, signature_of
from tests.engine.support.verbs import call

TRIALS, LAST = ["staging"], "production"


class Notes:
    """A platform that runs nothing, and notes what it was asked for."""

    NAME = "a sheet of paper"
    OFFERS: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.wanted: dict[str, Deployment] = {}
        self.calls: list[str] = []
        self.pushed = "registry.example/image@sha256:1"

    def lasts(self) -> bool:
        return True

    def records(self) -> Records:
        return Folder()

    def image(self, tolerated: Scan) -> str:
        return self.pushed

    def follow_champion(self, version: registry.Version) -> None:
        self.followed = version.number

    def deployment(self, environment: str) -> Deployment | None:
        return self.wanted.get(environment)

    def deploy(self, environment: str, wanted: Deployment) -> None:
        self.wanted[environment] = wanted
        more = f"+{wanted.canary.version}" if wanted.canary else ""
        self.calls.append(f"{environment} {wanted.stable.version}{more}")

    def remove(self, environment: str) -> None:
        self.wanted.pop(environment, None)
        self.calls.append(f"{environment} empty")

    def endpoint(self, environment: str) -> Any:
        return SimpleNamespace(url=f"http://{environment}")

    def status(self, environment: str) -> Status | None:
        return Status(ready=True)

    @contextmanager
    def lock(self, what: str) -> Iterator[None]:
        yield


@pytest.fixture
def notes(project: Project, monkeypatch: pytest.MonkeyPatch) -> Notes:
    """Return the platform that takes notes; every trial passes."""
    found = Notes()
    register(monkeypatch, "platforms", "notes", found)
    project.configure(platform="notes")
    good = trial.Load(requests=100, errors=0, seconds=1.0, median_ms=1.0, p99_ms=2.0)
    monkeypatch.setattr(trial, "smoke", lambda *_: "good")
    monkeypatch.setattr(trial, "contract", lambda *_: "good")
    monkeypatch.setattr(trial, "load", lambda *_: good)
    figures: dict[str, float] = {"requests": 9, "seconds": 1, "errors": 0, "mean_ms": 1, "mean_ms_before": 1}
    figures |= {"own_requests": 0, "highest_error_rate": 0.28}
    monkeypatch.setattr(deploy, "watch", lambda *_: figures)
    return found


def bring(number: str | None = None, to: str | None = None, *, approved: bool = True) -> dict[str, Any]:
    """Deploy, without a word."""
    steps = deploy.DeploymentRun(platform, params.load(), lambda _: approved, lambda _: None, lambda _: None)
    return steps.run(number, to)


def another(alias: str = registry.CHALLENGER) -> registry.Version:
    """Register the same artifact as one more version."""
    first = registry.get("1")
    champion = registry.find(registry.CHAMPION)
    tags = {"model_identity": first.tags["model_identity"], "compared_with": champion.number if champion else "none"}
    version = registry.create_version(first.run_id, tags, registry.REFITTED)
    registry.set_alias(alias, version)
    return version


def outcome(number: str, environment: str) -> dict[str, Any]:
    """Return the newest note of a version's trial."""
    notes = platform.records().read(f"trials/{environment}/{Release.of(registry.get(number)).identity}")
    found: dict[str, Any] = notes[-1]
    assert found["version"] == number
    return found


def champion() -> str | None:
    found = registry.find(registry.CHAMPION)
    return found.number if found else None


def test_without_approval_it_stops_before_the_last_environment(promoted: Project, notes: Notes) -> None:
    result = bring(approved=False)
    assert not result["deployed"]
    assert list(result["trials"]) == TRIALS
    assert LAST not in notes.wanted
    assert all(outcome("1", name)["verdict"] == "passed" for name in TRIALS)


def test_what_was_approved_is_what_is_deployed(promoted: Project, notes: Notes) -> None:
    """Between trial and approval somebody gives the number another artifact."""
    result = bring(approved=False)
    approved = f"{result['version']}@{result['identity']}"
    version = registry.get(approved)
    registry.set_tag(version, "model_identity", "f" * 64)
    with pytest.raises(ProjectError, match="is what was tried and approved"):
        bring(approved, LAST)
    # Whoever names the number alone finds that this artifact has passed no trial; or that the files are others.
    with pytest.raises(ProjectError, match=r"has not been there|the registry holds"):
        bring(result["version"], LAST)
    assert LAST not in notes.wanted
    registry.set_tag(version, "model_identity", result["identity"])
    assert bring(approved, LAST)["deployed"]


def test_the_first_version_gets_all_requests_and_the_next_one_a_share(promoted: Project, notes: Notes) -> None:
    assert bring()["deployed"]
    assert notes.calls[-1] == f"{LAST} 1"
    another()
    notes.calls.clear()
    result = bring()
    assert notes.calls[-2:] == [f"{LAST} 1+2", f"{LAST} 2"]
    # The version in use is measured where the new one is, away from users.
    assert f"{TRIALS[0]} 1" in notes.calls
    assert (result["champion"], result["before"]) == ("2", "1") == (champion(), "1")
    assert registry.find(registry.CHALLENGER) is None


def test_the_last_environment_wants_the_trials_of_the_others(promoted: Project, notes: Notes) -> None:
    with pytest.raises(ProjectError, match=f"has to pass {TRIALS[0]} first; it has not been there"):
        bring(to=LAST)
    for environment in TRIALS:
        bring(to=environment)
    assert LAST not in notes.wanted
    assert bring(to=LAST)["deployed"]
    with pytest.raises(ProjectError, match="There is no environment 'nowhere'"):
        bring(to="nowhere")


def test_nobody_passes_a_trial_by_a_tag(promoted: Project, notes: Notes) -> None:
    """Whoever trains may write tags; the last environment believes what the trial's own environment has noted."""
    registry.set_tag(registry.get("1"), f"trial_{TRIALS[0]}", json.dumps({"verdict": "passed"}))
    with pytest.raises(ProjectError, match="it has not been there"):
        bring(to=LAST)
    bring(to=TRIALS[0])
    (note,) = (paths().deployments / ".records/trials").rglob("*.json")
    assert stat.S_IMODE(note.stat().st_mode) == 0o444, "written once"
    note.chmod(0o644)
    note.write_text('{"verdict": "pas')  # torn: it proves nothing
    with pytest.raises(ProjectError, match="it has not been there"):
        bring(to=LAST)
    assert LAST not in notes.wanted


def test_a_trial_counts_for_the_image_that_it_was_in(promoted: Project, notes: Notes) -> None:
    bring(approved=False)
    tried, notes.pushed = notes.pushed, "registry.example/image@sha256:2"
    with pytest.raises(ProjectError, match=f"was there in the image {tried}, and is to run in {notes.pushed}"):
        bring(to=LAST)
    assert LAST not in notes.wanted
    notes.pushed = tried
    assert bring(to=LAST)["deployed"]


def test_nothing_starts_in_an_image_that_is_refused(
    promoted: Project, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(tolerated: Scan) -> str:
        raise ProjectError("The registry's scan found CVE-1.")

    monkeypatch.setattr(notes, "image", found)
    for environment in (TRIALS[0], LAST):
        with pytest.raises(ProjectError, match="CVE-1"):
            bring(to=environment)
    assert notes.calls == []


def test_no_rollback_brings_what_never_was_champion(promoted: Project, notes: Notes) -> None:
    """Whoever trains may also say in tags which champion came before, and move the alias."""
    bring()
    second = another()
    bring()
    poisoned = another("poisoned")
    registry.set_tag(poisoned, "model_identity", "f" * 64)
    registry.set_tag(second, promote.FOLLOWED, poisoned.number)
    before = list(notes.calls)
    for rollback in (deploy.rollback, promote.rollback):
        with pytest.raises(ProjectError, match="no deployment has noted that"):
            rollback(platform)
    registry.set_alias(registry.CHAMPION, poisoned)  # and what runs seems to be cut off before it became champion
    with pytest.raises(ProjectError, match="no deployment has noted that"):
        deploy.rollback(platform)
    assert notes.calls == before


def test_a_project_from_before_the_notes_can_go_back(promoted: Project, notes: Notes) -> None:
    bring()
    shutil.rmtree(paths().deployments / ".records")
    another()
    bring()
    assert deploy.rollback(platform)["champion"] == "1"


def test_a_canary_that_fails_is_taken_back(promoted: Project, notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    bring()
    another()

    def fails(*_: object) -> None:
        raise UnfitError("5 errors in 9 requests")

    monkeypatch.setattr(deploy, "watch", fails)
    with pytest.raises(UnfitError, match="5 errors"):
        bring()
    assert notes.calls[-2:] == [f"{LAST} 1+2", f"{LAST} 1"]
    assert champion() == "1"
    assert outcome("2", LAST)["reason"] == "5 errors in 9 requests"


@pytest.mark.parametrize("error", [UnfitError("another version answers"), KeyboardInterrupt()])
def test_what_goes_wrong_after_the_canary_is_taken_back_too(
    promoted: Project, notes: Notes, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fails(endpoint: Endpoint, *_: object) -> str:
        if endpoint.url.endswith(LAST):
            raise error
        return "good"

    bring(approved=False)
    monkeypatch.setattr(trial, "smoke", fails)
    with pytest.raises(type(error)):
        bring()
    assert notes.calls[-1] == f"{LAST} empty"
    monkeypatch.setattr(trial, "smoke", lambda *_: "good")
    bring()
    another()
    monkeypatch.setattr(trial, "smoke", fails)
    with pytest.raises(type(error)):
        bring()
    assert notes.wanted[LAST] == Deployment(Release.of(registry.get("1")))
    assert champion() == "1"


def test_a_slow_version_does_not_pass(promoted: Project, notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = iter([(1.0, 2.0), (50.0, 60.0)] * deploy.ATTEMPTS)
    monkeypatch.setattr(trial, "load", lambda *_: trial.Load(100, 0, 1.0, *next(loads)))
    notes.deploy(LAST, Deployment(Release.of(registry.get("1"))))
    another()
    with pytest.raises(UnfitError, match="half of the answers take more than 50"):
        bring()
    assert outcome("2", TRIALS[0])["verdict"] == "failed"
    with pytest.raises(ProjectError, match="it failed there: Version 2"):
        bring(to=LAST)


def test_the_verb_tells_what_came_of_it(promoted: Project, notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (["--to", TRIALS[0]], []):
        told = call("deploy", *words)
        assert told.exit_code == 0
        assert f"deploy 1 --to {LAST} --yes" in told.output
    assert json.loads(call("deploy", "--json").stdout)["deployed"] is False
    told = call("deploy", "--yes")
    assert f"Version 1 runs in {LAST} and is the champion." in told.output
    another()

    def fails(*_: object) -> None:
        raise UnfitError("another version answers", hint="Look.")

    monkeypatch.setattr(trial, "smoke", fails)
    told = call("deploy", "--yes", "--json")
    assert told.exit_code == 2
    assert json.loads(told.stdout) == {"version": None, "deployed": False, "reason": "another version answers"}
    assert "What to do: Look." in told.stderr


def test_load_that_is_not_borne_is_told(project: Project) -> None:
    limits = params.load().deploy
    assert deploy.slow(trial.Load(100, 0, 1.0, 1.0, 2.0), None, limits) is None
    assert "99 of 100" in str(deploy.slow(trial.Load(100, 0, 1.0, 1.0, 1e6), None, limits))
    assert "50 of 100 requests failed" in str(deploy.slow(trial.Load(100, 50, 1.0, 1.0, 2.0), None, limits))


def test_a_canary_that_was_left_behind(promoted: Project, notes: Notes) -> None:
    bring()
    second, third = another(), another()
    both = Deployment(Release.of(registry.get("1")), Release.of(second), 0.1)
    notes.deploy(LAST, both)
    with pytest.raises(ProjectError, match="Version 2 is canary") as caught:
        bring(third.number)
    assert "rollback" in caught.value.hint
    assert deploy.rollback(platform)["canary"] == "2"
    assert notes.wanted[LAST] == Deployment(both.stable)
    notes.deploy(LAST, both)
    assert bring("2")["champion"] == "2"


def test_a_deployment_that_was_cut_off_at_the_end_is_finished(promoted: Project, notes: Notes) -> None:
    bring()
    second = another()
    notes.deploy(LAST, Deployment(Release.of(second)))
    assert bring("2")["champion"] == "2" == champion()


def test_a_rollback_undoes_a_deployment_that_was_cut_off_at_the_end(promoted: Project, notes: Notes) -> None:
    bring()
    notes.deploy(LAST, Deployment(Release.of(another())))
    result = deploy.rollback(platform)
    assert (result["champion"], result["before"]) == ("1", "2")
    assert notes.wanted[LAST].runs("1")
    assert champion() == "1"


def test_rollbacks_go_back_and_never_in_a_circle(promoted: Project, notes: Notes) -> None:
    bring()
    for number in ("2", "3"):
        another()
        assert bring()["champion"] == number
    assert deploy.rollback(platform) == {"canary": None, "champion": "2", "before": "3", "earlier": "1"}
    assert deploy.rollback(platform) == {"canary": None, "champion": "1", "before": "2", "earlier": None}
    assert notes.wanted[LAST].runs("1")
    with pytest.raises(ProjectError, match="no champion before version 1"):
        deploy.rollback(platform)
    assert "rolled_back_at" in registry.get("3").tags
    # Forward to a version by its number, and back again.
    assert bring("3")["champion"] == "3"
    assert deploy.rollback(platform)["champion"] == "1"


def test_the_alias_alone_goes_back_where_nothing_runs(promoted: Project) -> None:
    another()
    promote.promote(platform)
    assert promote.rollback(platform)["champion"] == "1"
    with pytest.raises(ProjectError, match="no champion before version 1"):
        promote.rollback(platform)
    # An earlier champion by its number is a way back as well: no circle comes of it.
    promote.promote(platform, "2")
    promote.promote(platform, "1")
    with pytest.raises(ProjectError, match="no champion before version 1"):
        promote.rollback(platform)


def test_a_challenger_of_another_champion_is_refused(promoted: Project, notes: Notes) -> None:
    second, third = another(), another()
    promote.promote(platform, second.number)
    registry.set_alias(registry.CHALLENGER, third)
    with pytest.raises(ProjectError, match="Version 3 was compared with champion 1, but the champion is now 2"):
        bring()
    assert notes.calls == []


def test_nothing_is_registered(project: Project, notes: Notes) -> None:
    with pytest.raises(ProjectError, match="No model is registered yet"):
        bring()
    with pytest.raises(ProjectError, match="There is no champion"):
        deploy.rollback(platform)


def traffic(answered: float, errors: float, seconds: float) -> Traffic:
    """Return traffic whose answers all took as long."""
    buckets = tuple((bound, answered if seconds <= bound else 0.0) for bound in (0.001, 0.01, 0.1, float("inf")))
    return Traffic(answered, errors, answered * seconds, buckets)


def test_a_canary_is_judged_by_errors_and_by_time(project: Project) -> None:
    limits = project.set(deploy__maximum_latency_ratio=2.0, deploy__maximum_error_rate=0.01).deploy
    old = traffic(900, 0, 0.005)
    assert canary.fault(traffic(100, 0, 0.005), old, limits) is None
    assert canary.fault(traffic(100, 2, 0.005), old, limits) is None, "2 of 102 may be chance where 1 of 100 is allowed"
    assert "8 errors in 108" in str(canary.fault(traffic(100, 8, 0.005), old, limits))
    assert canary.fault(traffic(100, 8, 0.005), traffic(900, 70, 0.005), limits) is None, (
        "the old version errs as often"
    )
    assert "3 errors in 3" in str(canary.fault(traffic(0, 3, 0.005), old, limits)), "what always fails is found at once"
    assert "50.00 ms on average" in str(canary.fault(traffic(100, 0, 0.05), old, limits))
    assert canary.fault(traffic(3, 0, 0.05), old, limits) is None, "three answers tell nothing yet"
    # One pause of the machine lifts the mean, and not the percentile.
    paused = Traffic(100, 0, 0.005 * 99 + 3, ((0.01, 99), (float("inf"), 100)))
    assert canary.fault(paused, old, limits) is None


def test_traffic_is_counted_from_a_moment_on() -> None:
    three = Traffic(10, 2, 0.02, ((0.001, 6), (0.01, 10), (float("inf"), 10)))
    assert (three.requests, three.errors, three.mean) == (12, 2, 0.002)
    assert three.quantile(0.5) == pytest.approx(0.001 * 5 / 6)
    assert three.quantile(0.8) == pytest.approx(0.001 + 0.009 * 2 / 4)
    assert Traffic().quantile(0.5) == 0
    assert three.since(three).requests == 0
    assert three.since(Traffic(100)) == three, "a service that was started anew counts from zero"


class Late:
    """A platform whose figures come late; its service answers everything."""

    LATE_SECONDS = 1.0

    def __init__(self) -> None:
        self.sent: list[float] = []

    def traffic(self, environment: str) -> dict[str, Traffic]:
        counted = sum(time.monotonic() - at > self.LATE_SECONDS for at in self.sent)
        return {name: traffic(counted / 2, 0, 0.005) for name in ("1", "2")}

    def status(self, environment: str) -> Status | None:
        return Status(ready=True)

    def endpoint(self, environment: str) -> "Late":
        return self

    def connect(self) -> "Late":
        return self

    def __enter__(self) -> "Late":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, *_: Any, **__: Any) -> Answer:
        self.sent.append(time.monotonic())
        return Answer(200, {}, b"{}")


def test_figures_that_come_late_are_waited_for(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = project.set(deploy__canary_seconds=0.2, deploy__canary_requests=20).deploy
    late = Late()
    monkeypatch.setattr(canary, "TURN_SECONDS", 0.1)
    release = Release("1", "a", "")
    both = Deployment(release, Release("2", "b", ""), 0.5)
    figures = canary.watch(cast(Platform, late), "any", both, [{"a": 1}], [], limits, lambda _: None)
    assert figures["requests"] >= 20
    # What is on its way is not sent again: without that it would be ten times as many.
    assert figures["own_requests"] <= 80


def test_examples_keep_the_contract(finished: Project) -> None:
    predictor = Predictor.load(finished.folder / "artifacts/model")
    signature, problem = signature_of(predictor), predictor.problem
    rows = problem.draw_requests(predictor.reference, signature, trial.ROWS, trial.SEED)
    assert rows == problem.draw_requests(predictor.reference, signature, trial.ROWS, trial.SEED)
    assert len(rows) == trial.ROWS
    for feature in signature.features:
        for value in (row[feature.name] for row in rows):
            if value is None:
                assert feature.nullable
            elif feature.kind == "category":
                assert value in feature.categories
            else:
                assert feature.minimum is None or value >= feature.minimum
                assert feature.maximum is None or value <= feature.maximum
