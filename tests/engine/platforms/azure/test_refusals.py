"""What Azure refuses is told in words that say what to do; what it asks to repeat is repeated."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from twoloops.contracts.platform import Login
from twoloops.errors import ProjectError
from twoloops.platforms import azure
from twoloops.platforms.azure import account, images, preflight, rest
from twoloops.platforms.azure.account import Names
from twoloops.platforms.azure.rest import explain_errors
from twoloops.platforms.azure.terraform import REFUSALS, AzureInfrastructure
from twoloops.platforms.shared.infrastructure import MissingSettingsError

from tests.engine.support.project import Project
from tests.engine.support.verbs import call
from tests.support.azure.roles import read_roles
from tests.support.azure.state import REGION, SUBSCRIPTION, TENANT
from tests.support.azure.subscription import AUDIENCE, CLIENT, SUBJECT, EmulatedSubscription, assertion

from .conftest import CHOSEN, MACHINES, NAMES, forget_clients, rights

READ = "Microsoft.MachineLearningServices/workspaces/read"
OTHER = "99999999-9999-9999-9999-999999999999"


@pytest.fixture
def chosen(bare_project: Project, logged_in: EmulatedSubscription) -> Project:
    """Return a project on Azure."""
    bare_project.configure(platform="azure", azure=CHOSEN)
    return bare_project


def say(token: Path, text: str) -> None:
    token.write_text(text, encoding="utf-8")
    forget_clients()


def told(words: str) -> ProjectError:
    """Look at the subscription, and return the error, which has these words."""
    with pytest.raises(ProjectError, match=words) as refused:
        account.check_made()
    assert refused.value.hint
    assert "Traceback" not in str(refused.value)
    return refused.value


@pytest.mark.parametrize(
    ("given", "words", "hint"),
    [
        (
            {"subject": SUBJECT.replace("ml-team", "ML-team")},
            "trusts no token of this job .AADSTS700213",
            "apply it again",
        ),
        ({"subject": SUBJECT.replace("production", "staging")}, "AADSTS700213", "infra/bootstrap"),
        ({"audience": "sts.example"}, "AADSTS700212", "infra/bootstrap"),
        ({"issuer": "https://elsewhere.example"}, "AADSTS700211", "infra/bootstrap"),
        ({"seconds": -60}, "the login has expired", "Log in again"),
        (None, "does not take this login", "Log in again"),
    ],
)
def test_a_token_that_is_not_trusted(
    given: dict[str, Any] | None,
    words: str,
    hint: str,
    chosen: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))
    say(tmp_path / "token", "no token at all" if given is None else assertion(**given))
    assert hint in told(words).hint


def test_nobody_is_logged_in(
    chosen: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path))  # nor are there command lines that are
    forget_clients()
    assert "az login" in told("nobody is logged in to Azure").hint
    assert caplog.messages == [], "what was tried is told once, by the error"


def test_another_subscription_is_not_taken_for_a_missing_workspace(chosen: Project) -> None:
    chosen.configure(platform="azure", azure=CHOSEN | {"subscription": OTHER})
    error = told("this login does not reach the project's subscription")
    assert not isinstance(error, MissingSettingsError)
    assert "tenant" in error.hint


def test_a_workspace_that_is_not_there_yet(chosen: Project, logged_in: EmulatedSubscription) -> None:
    """An owner sees that; whoever has rights in a workspace alone is refused, whether there is one or not."""
    chosen.configure(package="another", platform="azure", azure=CHOSEN)
    told("the login may not do that")
    logged_in.control(rights=[])
    try:
        error = told("There is no workspace mlw-another")
        assert isinstance(error, MissingSettingsError)
        assert "bootstrap" in error.hint
        assert not azure.infrastructure().is_made()
    finally:
        logged_in.control(rights=rights())


def test_a_region_that_is_not_the_project_s(chosen: Project) -> None:
    chosen.configure(platform="azure", azure=CHOSEN | {"region": "northeurope"})
    told(f"is in {REGION}, and the project belongs to northeurope")


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "AuthorizationFailed", "the login may not do that"),
        (400, "QuotaExceeded", "a quota of the subscription is used up"),
        (409, "Conflict", "another change of it is under way"),
        (400, "BadRequest", "Azure refuses it: BadRequest"),
    ],
)
def test_a_refusal(status: int, code: str, words: str, chosen: Project, logged_in: EmulatedSubscription) -> None:
    logged_in.refuse(READ, status, code)
    try:
        told(words)
    finally:
        logged_in.control(refuse=[])


def test_what_azure_asks_to_repeat_is_repeated(chosen: Project, logged_in: EmulatedSubscription) -> None:
    logged_in.refuse(READ, 429, "TooManyRequests", times=2)
    try:
        assert account.check_made() == NAMES
    finally:
        logged_in.control(refuse=[])


def test_a_right_that_a_role_lacks_is_refused(chosen: Project) -> None:
    """The emulator has the rights that Terraform gives, at the scope at which it gives them."""
    with pytest.raises(ProjectError, match=r"may not do that: .*workspaces/delete"), explain_errors("Deleting"):
        rest.change("DELETE", NAMES.workspace())
    with pytest.raises(ProjectError, match=r"may not do that: .*jobs/write"), explain_errors("Starting"):
        rest.ask("PUT", f"{NAMES.workspace()[:-1]}/jobs/x", {"properties": {}})


def test_who_applies_one_environment_needs_no_right_in_another(
    chosen: Project, logged_in: EmulatedSubscription
) -> None:
    apply = [
        {"who": CLIENT, "scope": NAMES.group("staging"), "actions": read_roles()["apply"]},
        {"who": CLIENT, "scope": NAMES.workspace(), "actions": ["*/read"]},  # Reader
    ]
    room = azure.infrastructure()
    logged_in.control(rights=apply)
    try:
        assert isinstance(room, AzureInfrastructure)
        room.check_login()
        assert room.deployed("staging") == []
        with pytest.raises(ProjectError, match="may not do that"):
            room.deployed("production")
    finally:
        logged_in.control(rights=rights())


def test_what_stands_in_the_way_of_bootstrap_is_told_before_anything_is_made(
    chosen: Project, logged_in: EmulatedSubscription
) -> None:
    (chosen.folder / "infra").mkdir()
    (chosen.folder / "infra/machines.yaml").write_text(MACHINES, encoding="utf-8")
    here = f"/subscriptions/{SUBSCRIPTION}/providers"
    insights, permissions = f"{here}/Microsoft.Insights", f"{here}/Microsoft.Authorization/permissions"
    sizes = f"{here}/Microsoft.MachineLearningServices/locations/{REGION}/vmSizes"
    usages = sizes.replace("vmSizes", "usages")
    few = {"name": {"value": "STANDARDdsV5family", "localizedValue": "Standard DSv5 Family Cluster Dedicated vCPUs"}}
    contributor = {"actions": ["*"], "notActions": ["Microsoft.Authorization/*/Write"]}
    before = {
        each["id"]: each
        for each in logged_in.tell()["resources"]
        if each["id"] in (insights, permissions, sizes, usages)
    }
    assert len(before) == 4
    logged_in.control(rights=[])
    try:
        preflight.check()
        logged_in.tell(resources={insights: {"registrationState": "NotRegistered"}})
        with pytest.raises(ProjectError, match=r"az provider register --namespace Microsoft\.Insights"):
            preflight.check()
        vault = NAMES.vault("staging")
        deleted = f"{here}/Microsoft.KeyVault/locations/{REGION}/deletedVaults/{NAMES.vault()}"
        logged_in.control(taken=[NAMES.storage, vault, NAMES.vault()])
        logged_in.tell(
            resources={
                insights: before[insights],
                permissions: {"value": [contributor]},
                sizes: {"value": [{"name": "standard_d4s_V5", "family": "standardDSv5Family", "vCPUs": 4}]},
                usages: {"value": [few | {"limit": 3, "currentValue": 0}]},
                deleted: {"properties": {"location": REGION}},
            }
        )
        with pytest.raises(ProjectError, match="cannot be made yet") as refused:
            azure.infrastructure().make({}, ask=False)
        told = str(refused.value)
        for words in (
            "may not give rights",
            f"the name {NAMES.storage} is taken",
            f"the name {vault} is taken",
            "no Standard_D2as_v5 in westeurope",
            "vCPUs at the same time, and the subscription may have 3: Standard DSv5 Family",
        ):
            assert words in told
        assert NAMES.registry not in told
        assert NAMES.vault() not in told, "it was deleted here, and Terraform recovers it"
        assert "Nothing has been changed" in refused.value.hint
        # What is taken by the project itself is there from an earlier run.
        own = f"{NAMES.group()}/providers/Microsoft.Storage/storageAccounts/{NAMES.storage}"
        own_vault = f"{NAMES.group('staging')}/providers/Microsoft.KeyVault/vaults/{vault}"
        logged_in.tell(resources={**before, own: {"location": REGION}, own_vault: {"location": REGION}})
        preflight.check()
        logged_in.tell(remove=[own, own_vault, deleted])
    finally:
        logged_in.tell(resources=before)
        logged_in.control(rights=rights(), taken=[])


def test_a_registry_that_does_not_know_the_login(chosen: Project, logged_in: EmulatedSubscription) -> None:
    user, password = images.ContainerRegistry().log_in()
    assert user == "00000000-0000-0000-0000-000000000000"
    assert len(password.split(".")) == 3
    assert images.ContainerRegistry().find_digest("serve-of-nobody") is None


def test_a_flow_takes_a_role(chosen: Project, tmp_path: Path) -> None:
    variables = {"CLOUD_ROLE_TRAIN": CLIENT}
    login = Login("train", token=assertion(), variables=variables, run="a-run", seconds=900, folder=tmp_path)
    found = azure.log_in(login)
    assert azure.audience("train") == AUDIENCE
    file = Path(found["AZURE_FEDERATED_TOKEN_FILE"])
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text(encoding="utf-8") == login.token
    assert login.token not in found.values()
    assert (found["AZURE_CLIENT_ID"], found["ARM_CLIENT_ID"]) == (CLIENT, CLIENT)
    assert (found["ARM_TENANT_ID"], found["ARM_SUBSCRIPTION_ID"]) == (TENANT, SUBSCRIPTION)
    foreign = Login("train", assertion("repo:somebody/else:ref:refs/heads/main"), variables, "a-run", 900, tmp_path)
    with pytest.raises(ProjectError, match="trusts no token of this job"):
        azure.log_in(foreign)


def test_a_job_that_is_not_trusted_goes_on_where_that_is_asked_for(
    chosen: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On GitLab, changes have branches of many names, and Azure trusts one."""
    chosen.configure(platform="azure", azure=CHOSEN, host="gitlab")
    job = {
        "GITLAB_CI": "true",
        "CI_PROJECT_DIR": str(chosen.folder),
        "CI_JOB_ID": "7",
        "CI_JOB_URL": "https://gitlab.com/ml-team/churn/-/jobs/7",
        "JOB_VARIABLES": str(tmp_path / "variables"),
        "CLOUD_TOKEN": assertion("project_path:ml-team/churn:ref_type:branch:ref:a-change"),
        "CLOUD_ROLE_PLAN": CLIENT,
    }
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    told = call("login", "plan", "--optional")
    assert told.exit_code == 0, told.output
    assert "No login to Azure: Taking the role plan: Azure trusts no token of this job" in told.output
    assert not (tmp_path / "variables").exists()
    told = call("login", "plan")
    assert told.exit_code == 1
    monkeypatch.setenv("CLOUD_TOKEN", assertion())
    told = call("login", "plan", "--optional")
    assert "logged in to Azure as plan" in told.output, told.output


def test_a_login_lasts_longer_than_the_code_host_s_token(
    chosen: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen.configure(platform="azure", azure=CHOSEN, host="gitlab")  # which gives a job one token, by a variable
    login = Login("train", assertion(), {"CLOUD_ROLE_TRAIN": CLIENT}, "a-run", 900, tmp_path)
    for name, value in azure.log_in(login).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "azure-token").write_text(assertion(seconds=-60), encoding="utf-8")
    forget_clients()
    assert account.check_made() == NAMES, "what Azure has given still holds"
    # An hour later.
    stored = tmp_path / "azure-login.json"
    assert stored.stat().st_mode & 0o777 == 0o600
    content = json.loads(stored.read_text(encoding="utf-8"))
    for each in content["tokens"].values():
        each |= {"token": "ended", "expires_on": int(time.time()) - 1}
    stored.write_text(json.dumps(content), encoding="utf-8")
    forget_clients()
    told("the login has expired")
    monkeypatch.setenv("CLOUD_TOKEN", assertion())
    forget_clients()
    assert account.check_made() == NAMES, "the code host was asked for another token"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"subscription": "churn"}, "subscription: String should match"),
        ({"tenant": None}, "tenant: "),
        ({"region": "West Europe"}, "region: String should match"),
        ({"account": "1"}, "account: Extra inputs are not permitted"),
    ],
)
def test_what_the_project_chose_is_checked(bare_project: Project, table: dict[str, str | None], words: str) -> None:
    wrong = {name: value for name, value in (CHOSEN | table).items() if value is not None}
    bare_project.configure(platform="azure", azure=wrong)
    with pytest.raises(ProjectError, match=words) as refused:
        account.account()
    assert "az account show" in refused.value.hint


@pytest.mark.parametrize("module", ["", ".mlflow_login", ".identity"])
def test_what_every_project_loads_needs_no_library_of_azure(module: str) -> None:
    """MLflow loads all plugins that are installed, and the image that serves has none of these."""
    code = f"import sys; sys.modules['azure'] = None; import twoloops.platforms.azure{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_stay_within_their_limits() -> None:
    longest = Names(SUBSCRIPTION, REGION, "a" * 40, ("b" * 20, "b" * 19 + "c"))
    assert len({longest.endpoint(each) for each in longest.environments}) == 2
    for each in longest.environments:
        assert len(longest.endpoint(each)) <= 32
        assert len(longest.workspace(each).rpartition("/")[2]) <= 33
    assert 3 <= len(longest.storage) <= 24
    alone = Names(SUBSCRIPTION, REGION, "churn", ("production",))
    assert alone.workspace("production") == alone.workspace(None)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Error: unable to build authorizer for Resource Manager API", "Terraform finds no login"),
        ("AADSTS700024: Client assertion is not within its valid time range", "expired"),
        (
            "does not have authorization to perform action 'x'. AuthorizationFailed perform action 'x/y/write'",
            "x/y/write",
        ),
        ("MissingSubscriptionRegistration: not registered to use namespace 'Microsoft.Insights'", "Microsoft.Insights"),
        ("StorageAccountAlreadyTaken: The storage account named x is already taken", "is taken"),
        ("QuotaExceeded: ... exceeding approved Total Regional Cores quota", "quota"),
        ("A soft-deleted workspace ... Workspace mlw-churn is soft-deleted", "was deleted"),
    ],
)
def test_a_refusal_of_the_provider_is_known(said: str, words: str) -> None:
    found = next(each for each in REFUSALS if re.search(each.pattern, said))
    groups = {"found": ""}
    for match in re.finditer(found.pattern, said):
        groups |= {name: value or "" for name, value in match.groupdict().items()}
    message = found.message.format(environment="production", **groups)
    hint = found.hint.format(environment="production", **groups)
    assert words in message + hint


def test_an_assertion_says_what_a_code_host_says() -> None:
    body = assertion().split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert claims["sub"] == SUBJECT
