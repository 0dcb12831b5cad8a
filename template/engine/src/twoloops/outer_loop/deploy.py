"""A registered version comes into use: environment by environment, with a trial in each and a canary in the last.

All that a deployment knows lies in three places: what each environment was told to run (the
platform), the trials that an artifact has passed (the platform's records, written once), and which
version is champion (the alias, moved last). So it can be killed at any moment, and the same verb
takes it up again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from twoloops import config, registry
from twoloops.contracts.release import Deployment, Release, UnfitError
from twoloops.contracts.signature import Signature
from twoloops.errors import ProjectError
from twoloops.outer_loop import shadow, trial
from twoloops.outer_loop.canary import Say, watch
from twoloops.outer_loop.monitoring import captures
from twoloops.outer_loop.promote import (
    FOLLOWED,
    check_comparison,
    find_rollback,
    line_of,
    make_champion,
    reinstate,
    require_champion,
    rollback_result,
)
from twoloops.outer_loop.trial import Candidate, Load, load_candidate

if TYPE_CHECKING:
    from twoloops.contracts.platform import Platform
    from twoloops.params import DeployParams, Params
    from twoloops.registry import Version

PASSED, FAILED = "passed", "failed"
NO_CAPTURES = "no rows of the version in use are captured on this machine, so none were answered"
ATTEMPTS = 2  # a machine has bad moments: what is too slow is measured again


class DeploymentRun:
    """One run of `deploy`: what it needs at every step."""

    def __init__(
        self, platform: Platform, checked: Params, approve: Callable[[str], bool], say: Say, progress: Say
    ) -> None:
        """Keep where it goes, the parameters and the ways to speak with whoever runs it."""
        self._platform = platform
        self._limits: DeployParams = checked.deploy
        self._tolerated = checked.scan
        self._tolerance = checked.gate.parity_tolerance
        self._approve = approve
        self._say = say
        self._progress = progress

    def run(self, number: str | None, to: str | None) -> dict[str, Any]:
        """Bring a version into every environment in turn, or only into `to`."""
        *trials, last = config.current().environments
        targets = [to] if to else [*trials, last]
        if to and to not in config.current().environments:
            raise ProjectError(
                f"There is no environment {to!r}.", hint=f"Known: {', '.join(config.current().environments)}."
            )
        with self._platform.lock("A deployment"):
            champion = registry.find(registry.CHAMPION)
            version = _choose_version(number, champion)
            release = Release.of(version)
            running = self._platform.deployment(last)
            if last in targets and running and running.runs(release.version):
                return self._confirm(last, running, version, champion)
            if champion is None or (version.number != champion.number and FOLLOWED not in version.tags):
                check_comparison(version, champion)
            if last in targets:
                _refuse_another_canary(last, running, release)
            image = self._platform.image(self._tolerated)
            self._say(f"Version {release.version}, registered {release.registered_at}, into {', '.join(targets)}.")
            with load_candidate(release) as candidate:
                passed = {}
                for environment in trials:
                    if environment in targets:
                        passed[environment] = self._try(environment, candidate, running, image)
                    elif last in targets:
                        _require_trial(self._platform, environment, release, image)
                result = {"version": release.version, "identity": release.identity, "trials": passed, "deployed": False}
                if last not in targets or not self._approve(f"Bring version {release.version} into {last}?"):
                    return result
                figures = self._go_live(last, candidate, running, image)
            return result | {"deployed": True, "canary": figures, **self._make_champion(version, champion)}

    def _confirm(self, last: str, running: Deployment, version: Version, champion: Version | None) -> dict[str, Any]:
        """Make sure that what was deployed answers and is champion; an earlier run may have been cut off here."""
        self._say(f"{last} runs version {version.number} already: making sure that it answers.")
        with load_candidate(running.stable) as candidate:
            self._platform.deploy(last, running)
            self._say(f"  smoke test: {trial.smoke(self._platform.endpoint(last), candidate, self._tolerance)}")
        return {
            "version": version.number,
            "identity": running.stable.identity,
            "trials": {},
            "deployed": True,
            "canary": None,
            **self._make_champion(version, champion),
        }

    def _try(
        self, environment: str, candidate: Candidate, running: Deployment | None, image: str | None
    ) -> dict[str, Any]:
        self._say(f"{environment}:")
        try:
            figures = self._test(environment, candidate, running)
        except UnfitError as error:
            self._record(environment, candidate.release, FAILED, image, {"reason": str(error)})
            raise
        self._record(environment, candidate.release, PASSED, image, figures)
        return figures

    def _record(
        self, environment: str, release: Release, verdict: str, image: str | None, more: dict[str, Any]
    ) -> None:
        """Note a trial's outcome, and with which image; that it failed is told even when it cannot be kept."""
        content = {"verdict": verdict, "version": release.version, "at": datetime.now(UTC).isoformat(), "image": image}
        with suppress(*[ProjectError] if verdict == FAILED else []):
            self._platform.records().add(_trials(environment, release.identity), content | more)

    def _test(self, environment: str, candidate: Candidate, running: Deployment | None) -> dict[str, Any]:
        wanted = Deployment(candidate.release)
        self._progress(f"{environment}: starting version {candidate.release.version}")
        self._platform.deploy(environment, wanted)
        endpoint = self._platform.endpoint(environment)
        self._say(f"  version {candidate.release.version} answers at {endpoint.url}")
        self._progress(f"{environment}: smoke and contract tests")
        self._say(f"  smoke test: {trial.smoke(endpoint, candidate, self._tolerance)}")
        self._say(f"  contract test: {trial.contract(endpoint, candidate)}")
        reason = None
        for _ in range(ATTEMPTS):
            before = None
            if running and running.stable != candidate.release:
                # Measured here and now, so that the figures compare, and users are not disturbed.
                with load_candidate(running.stable) as old:
                    before = self._load(environment, old)
                self._say(f"  load test of version {running.stable.version}, to compare with: {before}")
            found = self._load(environment, candidate)
            self._say(f"  load test: {found}")
            reason = slow(found, before, self._limits)
            if reason is None:
                return {
                    "requests": found.requests,
                    "errors": found.errors,
                    "median_ms": round(found.median_ms, 2),
                    "p99_ms": round(found.p99_ms, 2),
                    "median_ms_before": round(before.median_ms, 2) if before else None,
                }
        raise UnfitError(
            f"Version {candidate.release.version} does not pass the load test in {environment}: {reason}.",
            hint="The limits are in params.yaml, section deploy. Make the model faster, or the machine stronger.",
        )

    def _load(self, environment: str, candidate: Candidate) -> Load:
        self._progress(f"{environment}: load test of version {candidate.release.version}")
        self._platform.deploy(environment, Deployment(candidate.release))
        endpoint, limits = self._platform.endpoint(environment), self._limits
        return trial.load(endpoint, candidate, limits.load_seconds, limits.load_connections)

    def _go_live(
        self, last: str, candidate: Candidate, running: Deployment | None, image: str | None
    ) -> dict[str, Any] | None:
        self._say(f"{last}:")
        try:
            if running:
                return self._take_over(last, candidate, running.stable)
            self._start_first(last, candidate)
            return None
        except UnfitError as error:
            self._record(last, candidate.release, FAILED, image, {"reason": str(error)})
            raise

    def _start_first(self, last: str, candidate: Candidate) -> None:
        """Nothing runs yet: there is nobody to disturb, and nothing to go back to."""
        try:
            self._move_all_requests(last, candidate)
        except BaseException:
            self._platform.remove(last)
            self._say(f"  {last} is empty again")
            raise

    def _take_over(self, last: str, candidate: Candidate, old: Release) -> dict[str, Any] | None:
        """Take over from `old`: a share of the requests first, then all; back at the first fault."""
        figures = None
        try:
            with load_candidate(old) as before:
                keys = [*candidate.keys, *before.keys]
                same_inputs = _same_inputs(before, candidate)
                if same_inputs:
                    self._progress(f"{last}: answering what was captured")
                    seen = shadow.answer_captured(captures.find(None), before.predictor, candidate.predictor)
                    self._say(f"  shadow: {seen.describe() if seen else NO_CAPTURES}")
            if same_inputs:
                share = self._limits.canary_share
                shared = Deployment(old, candidate.release, share)
                self._progress(f"{last}: starting the canary")
                self._platform.deploy(last, shared)
                self._say(f"  canary: version {candidate.release.version} takes {share:.0%} of the requests")
                figures = watch(self._platform, last, shared, candidate.rows, keys, self._limits, self._progress)
                self._say(f"  canary: {_describe(figures)}")
            else:
                self._say(f"  no canary: its inputs differ from those of version {old.version}")
            self._move_all_requests(last, candidate)
        except BaseException:  # also Ctrl-C: nobody watches the canary any more
            self._platform.deploy(last, Deployment(old))
            self._say(f"  rolled back: version {old.version} takes all requests")
            raise
        return figures

    def _move_all_requests(self, last: str, candidate: Candidate) -> None:
        self._progress(f"{last}: moving all requests")
        self._platform.deploy(last, Deployment(candidate.release))
        endpoint = self._platform.endpoint(last)
        self._say(f"  version {candidate.release.version} takes all requests at {endpoint.url}")
        self._say(f"  smoke test: {trial.smoke(endpoint, candidate, self._tolerance)}")

    def _make_champion(self, version: Version, champion: Version | None) -> dict[str, Any]:
        make_champion(self._platform, version, champion)
        return {"champion": version.number, "before": champion.number if champion else None}


def _choose_version(number: str | None, champion: Version | None) -> Version:
    version = registry.get(number) if number else registry.find(registry.CHALLENGER) or champion
    if version is None:
        raise ProjectError("No model is registered yet.", hint="Run the verb 'run': it registers a green model.")
    return version


def _refuse_another_canary(last: str, running: Deployment | None, release: Release) -> None:
    if running and running.canary and running.canary.version != release.version:
        raise ProjectError(
            f"Version {running.canary.version} is canary in {last}: its deployment was cut off.",
            hint=f"Take it away with the verb 'rollback', or finish it with 'deploy {running.canary.version}'.",
        )


def _require_trial(platform: Platform, environment: str, release: Release, image: str | None) -> None:
    """Demand that this artifact has passed an environment, in the image that it is to run in."""
    found = platform.records().read(_trials(environment, release.identity))
    newest = found[-1] if found else {}
    if newest.get("verdict") == PASSED and newest.get("image") == image:
        return
    if not newest:
        what = "has not been there"
    elif newest.get("verdict") == PASSED:
        what = f"was there in the image {newest['image']}, and is to run in {image}"
    else:
        what = f"failed there: {newest.get('reason')}"
    raise ProjectError(
        f"Version {release.version} has to pass {environment} first; it {what}",
        hint=f"Run 'deploy {release.version} --to {environment}'.",
    )


def _trials(environment: str, identity: str) -> str:
    return f"trials/{environment}/{identity}"


def _same_inputs(before: Candidate, candidate: Candidate) -> bool:
    """Say whether the same requests suit both versions."""
    common = set(Signature.model_fields)  # what is left says what a record holds
    asked = [each.predictor.signature.model_dump(exclude=common) for each in (before, candidate)]
    return asked[0] == asked[1]


def slow(found: Load, before: Load | None, limits: DeployParams) -> str | None:
    """Say what a load test showed that is not allowed, or None."""
    if found.error_rate > limits.maximum_error_rate:
        return f"{found.errors} of {found.requests} requests failed, allowed are {limits.maximum_error_rate:.2%}"
    if found.p99_ms > limits.maximum_p99_ms:
        return f"99 of 100 answers take up to {found.p99_ms:.0f} ms, allowed are {limits.maximum_p99_ms:g}"
    if before and found.median_ms > limits.maximum_latency_ratio * before.median_ms:
        return (
            f"half of the answers take more than {found.median_ms:.1f} ms, those of the version in use "
            f"{before.median_ms:.1f} ms; allowed is {limits.maximum_latency_ratio:g} times as much"
        )
    return None


def _describe(figures: dict[str, Any]) -> str:
    own = figures["own_requests"]
    return (
        f"{figures['requests']} requests in {figures['seconds']:.0f} s, {figures['errors']} errors "
        f"(so up to {figures['highest_error_rate']:.2%} are possible, at 95 %), "
        f"{figures['mean_ms']:.2f} ms on average (before: {figures['mean_ms_before']:.2f})"
        + (f"; users sent too few, so {own} requests were its own" if own else "")
    )


def rollback(platform: Platform) -> dict[str, Any]:
    """Take a canary away; else let the champion before take all requests again, and move the alias back.

    Args:
        platform: where it runs.

    Returns:
        The canary that was taken away, or the champion before and after and the one that a further
        rollback would bring.

    Raises:
        ProjectError: there is nothing to go back to.
    """
    last = config.current().last
    with platform.lock("A rollback"):
        running = platform.deployment(last)
        if running and running.canary:
            platform.deploy(last, Deployment(running.stable))  # needs no registry
            return {
                "canary": running.canary.version,
                "champion": running.stable.version,
                "before": None,
                "earlier": None,
            }
        left, target, was_champion = _find_rollback(platform, running)
        if running:
            platform.deploy(last, Deployment(Release.of(target)))
        if was_champion:
            reinstate(platform, target, left)
        return rollback_result(target, left)


def _find_rollback(platform: Platform, running: Deployment | None) -> tuple[Version, Version, bool]:
    """Return the version to leave, the one to go back to, and whether the first one is champion.

    They follow from the champion, but for one case: a version took all requests, and its deployment
    was cut off before it became champion. Then the champion is what to go back to.
    """
    champion = registry.find(registry.CHAMPION)
    if champion and running and running.stable.version not in (champion.number, *line_of(champion)):
        require_champion(platform, champion)
        return registry.get(running.stable.version), champion, False
    return *find_rollback(platform), True
