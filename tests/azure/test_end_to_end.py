"""A project on Azure from its first version to production and back, by its verbs, each with the rights of its flow.

The verbs, the steps, the services and MLflow's server are real, and so is the store of blobs. Azure is the emulator: it
runs steps and services as processes of the installed project. What infra/ makes is there already: Terraform's provider
runs nowhere but in a subscription. In the end no role lacked a right, and none has one that nothing needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from twoloops.platforms.azure.account import Names
from twoloops.platforms.azure.registry import tracking_uri

from tests.conftest import Installed, install
from tests.support.azure.roles import LEARNING, allows, flow_rights, read_roles
from tests.support.azure.state import REGION, SUBSCRIPTION, TENANT
from tests.support.azure.subscription import (
    AUDIENCE,
    ISSUER,
    SUBJECT,
    EmulatedSubscription,
    demand_azurite,
    emulated_subscription,
)
from tests.support.models import LENIENT, QUICK
from tests.support.projects import change, commit_all

# In CI the conformance suite and test_loop.py of engine/platforms/azure show its parts.
pytestmark = [pytest.mark.slow, pytest.mark.twin]
ENVIRONMENTS = ("staging", "production")
ANSWERS = {
    "infrastructure": "azure",
    "serving_mode": "online_and_batch",
    "project_name": "Churn",
    "azure_subscription": SUBSCRIPTION,
    "azure_tenant": TENANT,
    "azure_region": REGION,
}
NAMES = Names(SUBSCRIPTION, REGION, "churn", ENVIRONMENTS)
ROWS = 2000
LOGS = "Microsoft.OperationalInsights/workspaces"
OPERATIONS = "Microsoft.MachineLearningServices/locations"
TABLE = "data/raw/simulated.parquet"
TRAIN, STAGING, PRODUCTION = "train", "deploy/staging", "deploy/production"
TAGS = "import json; from twoloops.platforms.shared import images; print(json.dumps([*map(images.tag, images.KINDS)]))"


@dataclass
class There:
    """The project, and its subscription."""

    project: Installed
    subscription: EmulatedSubscription
    clients: dict[str, str]

    def verb(self, role: str, *words: str, code: int | None = 0) -> str:
        """Run a verb as a flow does that has taken a role, and return what it says."""
        login = {"AZURE_CLIENT_ID": self.clients[role], "MLFLOW_TRACKING_URI": tracking_uri(NAMES)}
        done = self.project.verb(*words, code=code, env=self.subscription.environment | login)
        return done.stdout + done.stderr if code else done.stdout

    def traffic(self, environment: str) -> dict[str, int]:
        """Return the shares of an environment's deployments."""
        path = f"{NAMES.workspace(environment)}/onlineEndpoints/{NAMES.endpoint(environment)}"
        (found,) = [each for each in self.subscription.tell()["resources"] if each["id"] == path]
        shares: dict[str, int] = found["properties"]["traffic"]
        return shares


@pytest.fixture
def there(tmp_path: Path) -> Iterator[There]:
    """Yield a project with simulated data and short trials, in a subscription in which infra/ is applied."""
    demand_azurite()
    project = install(tmp_path / "project", ANSWERS)
    change(project, "gate", **LENIENT)
    change(project, "deploy", **QUICK)
    change(project, "serve", capture_seconds=1.0)
    project.verb("simulate", "--rows", str(ROWS))
    commit_all(project)
    python = str(project.folder / ".venv/bin/python")
    clients, paths, rights = flow_rights(NAMES)
    (tmp_path / "emulator").mkdir()
    with emulated_subscription(tmp_path / "emulator", NAMES.storage) as subscription, subscription.tracking():
        subscription.make(NAMES, paths)
        subscription.control(
            command=[python, "-m", "twoloops", "serve"], folder=str(project.folder), python=python, rights=rights
        )
        subscription.tell(
            trusted=[
                {"client_id": client, "issuer": ISSUER, "subject": SUBJECT, "audience": AUDIENCE}
                for client in clients.values()
            ]
        )
        yield There(project, subscription, clients)


def push(there: There) -> None:
    """Let the registry have the images of the code as it is; tests/walks builds them."""
    tags = json.loads(there.project.run("python", "-c", TAGS).stdout)
    digests = {tag: f"sha256:{number:064}" for number, tag in enumerate(tags)}
    there.subscription.tell(images={f"{NAMES.registry}.azurecr.io/{NAMES.project}": digests})


def test_from_the_first_version_to_production_and_back(there: There) -> None:
    trained(there)
    deployed(there)
    scored(there)
    retrained(there)
    stopped(there)
    every_role_had_what_it_asked_for_and_no_more(there)


def trained(there: There) -> None:
    """The steps run as a job of Azure ML, and a version is registered."""
    push(there)
    assert "Verdict: green" in there.verb(TRAIN, "run", "--submit")


def deployed(there: There) -> None:
    """The version comes into use in one environment after the other."""
    there.verb(STAGING, "deploy", "--to", "staging", "--yes")
    assert "may not do that" in there.verb(STAGING, "deploy", "1", "--to", "production", "--yes", code=1)
    told = there.verb(PRODUCTION, "deploy", "1", "--to", "production", "--yes")
    assert "Version 1 runs in production and is the champion" in told
    assert list(there.traffic("production").values()) == [100]
    told = there.verb(PRODUCTION, "invoke", TABLE, "answers.csv")
    assert f"{ROWS:,} of {ROWS:,} rows were answered by version 1" in told


def scored(there: There) -> None:
    """The champion scores on the platform as well."""
    summary = json.loads(there.verb(PRODUCTION, "score", "--submit", "--json"))["summary"]
    assert (summary["rows"], summary["model"]["version"]) == (ROWS, "1")


def retrained(there: There) -> None:
    """A second version takes over from the first as canary, and the first one comes back."""
    there.project.verb("simulate", "--rows", str(ROWS), "--seed", "8", "--force")
    push(there)
    assert "Version 2 is the challenger." in there.verb(TRAIN, "retrain", "--submit", "--reason", "drift")
    push(there)
    there.verb(STAGING, "deploy", "--to", "staging", "--yes")
    told = there.verb(PRODUCTION, "deploy", "2", "--to", "production", "--yes")
    assert "canary: version 2 takes 50% of the requests" in told
    (name,) = there.traffic("production")
    assert name.startswith("v2-")
    assert "Champion: version 1 (before: 2)" in there.verb(PRODUCTION, "rollback")
    (name,) = there.traffic("production")
    assert name.startswith("v1-")
    assert "version 1, well" in there.verb(PRODUCTION, "status")


def stopped(there: There) -> None:
    """What was deployed goes, and what it was asked stays for the monitor."""
    for environment in ENVIRONMENTS:
        there.verb(f"deploy/{environment}", "stop", environment)
        assert there.traffic(environment) == {}
    left = [each["id"] for each in there.subscription.tell()["resources"]]
    assert not [each for each in left if "/deployments/" in each or "/schedules/" in each]
    window = json.loads(there.verb(TRAIN, "monitor", "--json"))["window"]
    assert window["rows"] > ROWS, "of the service, and of scoring"


# What a role may do and nothing of this walk does, with the reason.
NAMED = "Azure asks for it of who names one in a job: from its documentation"
WORKSPACE = "of who uses anything in a workspace: the custom roles of Azure's documentation have it"
CONTAINER = "Azure keeps it behind a version"
ELSEWHERE = {
    f"deploy: {LEARNING}/computes/read": NAMED,
    f"deploy: {LEARNING}/datastores/read": NAMED,
    f"deploy: {LEARNING}/jobs/cancel/action": "Ctrl-C",
    f"deploy: {LEARNING}/onlineEndpoints/delete": "a first version that does not come up",
    f"deploy: {LEARNING}/onlineEndpoints/deployments/getLogs/action": "the last words of a container",
    f"deploy: {LEARNING}/read": WORKSPACE,
    f"log: {LOGS}/read": "from Azure's documentation of diagnostic settings",
    f"operations: {OPERATIONS}/mfeOperationResults/read": "Azure names the one or the other",
    f"register: {LEARNING}/models/read": CONTAINER,
    f"train: {LEARNING}/computes/read": NAMED,
    f"train: {LEARNING}/datastores/read": NAMED,
    f"train: {LEARNING}/jobs/cancel/action": "Ctrl-C",
    f"train: {LEARNING}/models/read": CONTAINER,
}


def every_role_had_what_it_asked_for_and_no_more(there: There) -> None:
    """Azure has refused nothing but what was to be refused, and each action of a role was needed where it is given."""
    asked: list[dict[str, Any]] = [each for each in there.subscription.tell()["calls"] if each["who"] != "mlflow"]
    assert {each["who"] for each in asked if not each["allowed"]} == {there.clients[STAGING]}, "to deploy to production"
    places: dict[str, list[tuple[str, str]]] = {
        "train": [(TRAIN, NAMES.workspace()), ("training", NAMES.workspace())],
        "deploy": [(f"deploy/{each}", NAMES.workspace(each)) for each in ENVIRONMENTS],
        "look": [(STAGING, NAMES.workspace("production")), (PRODUCTION, NAMES.workspace("staging"))],
        "register": [(f"deploy/{each}", NAMES.workspace()) for each in ENVIRONMENTS],
        "log": [(f"deploy/{each}", NAMES.logs) for each in ENVIRONMENTS],
        "operations": [(role, f"/subscriptions/{SUBSCRIPTION}") for role in (TRAIN, STAGING, PRODUCTION)],
    }
    given, unused = read_roles(), set()
    for role, scopes in places.items():
        used = {
            each["action"]
            for each in asked
            for who, scope in scopes
            if each["allowed"] and each["who"] == there.clients[who]
            # Azure's names have no case, and a scoring address has its own.
            if f"{each['path']}/".lower().startswith(f"{scope}/".lower())
        }
        unused |= {f"{role}: {action}" for action in given[role] if not any(allows([action], each) for each in used)}
    assert unused == set(ELSEWHERE)
