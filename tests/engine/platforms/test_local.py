"""Environments of this machine: their services, started and asked for real."""

import json
from pathlib import Path

import pandas as pd
import pytest
from twoloops import registry
from twoloops.artifact import Predictor
from twoloops.contracts.release import Deployment, Release, Traffic, UnfitError
from twoloops.errors import ProjectError
from twoloops.outer_loop import canary, trial
from twoloops.platforms import platform
from twoloops.platforms.shared.traffic import traffic_of

from tests.engine.support.project import RAW, Project, signature_of
from tests.engine.support.verbs import call

ENVIRONMENTS = ("staging", "production")
LAST = ENVIRONMENTS[-1]
QUICK = {
    "load_seconds": 0.2,
    "load_connections": 2,
    "maximum_p99_ms": 10_000.0,
    "canary_share": 0.5,
    "canary_seconds": 1.0,
    "canary_requests": 5,
    "maximum_latency_ratio": 50.0,
}


def test_traffic_is_read_from_metrics() -> None:
    text = """# TYPE service_model_seconds histogram
service_model_seconds_bucket{model_version="3",le="0.001"} 6.0
service_model_seconds_bucket{model_version="3",le="0.01"} 10.0
service_model_seconds_bucket{model_version="3",le="+Inf"} 10.0
service_model_seconds_count{model_version="3"} 10.0
service_model_seconds_sum{model_version="3"} 0.02
# TYPE service_model_errors counter
service_model_errors_total{model_version="3"} 2.0
service_model_errors_total{model_version="4"} 0.0
"""
    found = traffic_of(text)
    assert found["4"] == Traffic()
    assert found["3"] == Traffic(10, 2, 0.02, ((0.001, 6), (0.01, 10), (float("inf"), 10)))


def test_a_service_of_this_machine(promoted: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("tokens").write_text(f"{'a' * 32}\n{'b' * 32}\n")
    monkeypatch.setenv("SERVE_TOKEN_FILE", "tokens")  # every verb that asks the service has to bring one
    monkeypatch.setenv("SERVE_ADMIN_PORT", "1")  # several services of a machine cannot share it, and none takes it
    limits = promoted.set(**{f"deploy__{name}": value for name, value in QUICK.items()}, serve__drain_seconds=0).deploy
    told = call("status")
    assert told.exit_code == 0
    assert told.output.count("nothing has been deployed") == len(ENVIRONMENTS)
    with pytest.raises(ProjectError, match=f"No service runs in {LAST}"):
        platform.endpoint(LAST)
    try:
        told = call("deploy", "--yes")
        assert told.exit_code == 0, (told.output, told.exception)
        assert "contract test" in told.output
        _see_it(promoted)
        # The same artifact under another number is a canary that cannot be worse.
        release = Release.of(registry.get("1"))
        both = Deployment(release, Release("2", release.identity, release.registered_at), 0.5)
        platform.deploy(LAST, both)
        with trial.load_candidate(release) as candidate:
            rows, keys = candidate.rows, candidate.keys
        figures = canary.watch(platform, LAST, both, rows, keys, limits, lambda _: None)
        assert figures["own_requests"] > 0 == figures["errors"]
        assert call("rollback").exit_code == 0
        assert platform.deployment(LAST) == Deployment(release)
        # What the service refuses is told, and what ran goes on.
        (Path("deployments/models") / "broken").mkdir()
        with pytest.raises(UnfitError, match="refuses what it was told to run"):
            platform.deploy(LAST, Deployment(release, Release("3", "broken", release.registered_at), 0.5))
        assert platform.deployment(LAST) == Deployment(release)
    finally:
        told = call("stop", *ENVIRONMENTS)
    assert told.output.count("stopped") == len(ENVIRONMENTS)
    told = call("status")
    assert told.exit_code == 1
    assert "does not answer" in told.output
    assert not platform.stop(LAST)


def _see_it(project: Project) -> None:
    told = call("status", "--json")
    assert told.exit_code == 0
    assert json.loads(told.stdout)[LAST]["found"]["stable"] == "1"
    told = call("invoke", RAW.as_posix(), "answers.parquet", "--rows-per-request", "400")
    assert told.exit_code == 0, (told.output, told.exception)
    rows = project.rows()
    answers = pd.read_parquet("answers.parquet")
    assert answers["row"].tolist() == list(range(len(rows)))
    # A row that breaks the contract is told, and the others are answered.
    predictor = Predictor.load("artifacts/model")
    required = next(feature.name for feature in signature_of(predictor).features if not feature.nullable)
    rows.head(5).assign(**{required: [None, *rows[required].head(5).tolist()[1:]]}).to_parquet("rows.parquet")
    told = call("invoke", "rows.parquet", "--json")
    assert "row 0" in told.stderr
    assert [answer["row"] for answer in json.loads(told.stdout)["answers"]] == [1, 2, 3, 4]
    with platform.lock("A test"), pytest.raises(ProjectError, match="A test is under way"), platform.lock("Another"):
        pass
    assert Path("deployments/holder.json").exists()
