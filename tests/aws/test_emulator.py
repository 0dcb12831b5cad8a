"""The life of a project on an emulator of AWS: made, interrupted, drifted, locked, destroyed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws.harness import (
    ACCOUNT,
    APPLIED,
    EVERYTHING,
    bootstrap,
    client,
    documents,
    left,
    many,
    options,
    prepared,
)
from tests.support.aws.policies import FREE, RENAMED, allows, decides, problems
from tests.support.terraform import Make, Terraform

pytestmark = pytest.mark.slow
PRODUCTION = {"TF_WORKSPACE": "production"}
ISSUER = {
    "github": "token.actions.githubusercontent.com",
    "gitlab": "gitlab.com",
    "azure_devops": "vstoken.dev.azure.com/01234567-89ab-cdef-0123-456789abcdef",
}
SERVICES = {"CloudWatch": "cloudwatch", "CloudWatch Logs": "logs", "Scheduler": "scheduler"}


def interrupt(terraform: Terraform, log: Path) -> None:
    """Start bootstrap, and press Ctrl-C as soon as something has been made."""
    command = ["sh", "bootstrap.sh", "-auto-approve", "-no-color", *options("github", preflight="false")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=terraform.folder,
            env=terraform.environment,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while "aws_s3_bucket.this: Creation complete" not in log.read_text(encoding="utf-8"):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(180) != 0


def calls(log: Path) -> set[str]:
    """Return what Terraform asked of AWS, as IAM names it."""
    found = set()
    for line in log.read_text(encoding="utf-8").splitlines():
        service = re.search(r'rpc\.service=(?:"([^"]+)"|(\w+))', line)
        method = re.search(r"rpc\.method=(\w+)", line)
        if service and method:
            name = service[1] or service[2]
            found.add(f"{SERVICES.get(name, name.lower())}:{method[1]}")
    return {RENAMED.get(call, call) for call in found} - FREE


def test_a_project_from_its_first_to_its_last_day(project: Make, aws: dict[str, str], tmp_path: Path) -> None:
    terraform = prepared(project(EVERYTHING, aws))
    interrupted_and_repeated(terraform, tmp_path / "interrupted.log")
    apply_an_environment(terraform, tmp_path / "environment.log")
    shared, own = terraform.state("bootstrap"), terraform.state("environment", PRODUCTION)
    assert {resource["type"] for resource in shared + own if resource["mode"] == "managed"} == APPLIED
    policies_are_as_narrow_as_they_can_be(shared + own)
    only_this_repository_and_its_environments_are_trusted(shared)
    only_the_last_deployment_changes_what_production_runs(shared)
    a_changed_resource_is_noticed(terraform, aws)
    a_locked_state_is_left_alone(terraform, aws)
    credentials_of_another_account_are_refused(project, aws)
    destroy_the_environment(terraform, aws, tmp_path / "environment.log")
    flows_may_do_what_they_have_to(shared, tmp_path / "environment.log")
    data_is_not_destroyed(terraform)
    remove_everything(terraform, aws)


def interrupted_and_repeated(terraform: Terraform, log: Path) -> None:
    interrupt(terraform, log)
    folder = terraform.folder / "bootstrap"
    assert (folder / "terraform.tfstate").exists(), "what has been made is noted"
    assert "Apply complete!" in bootstrap(terraform)
    assert not (folder / "terraform.tfstate").exists(), "the state is in the bucket"
    assert not (folder / "first_override.tf").exists()


def apply_an_environment(terraform: Terraform, log: Path) -> None:
    terraform.run("environment", "init", "-input=false", "-backend-config=../state.tfbackend", env=PRODUCTION)
    logged = PRODUCTION | {"TF_LOG_PROVIDER": "DEBUG", "TF_LOG_PATH": str(log)}
    terraform.run("environment", "apply", "-auto-approve", "-input=false", env=logged)
    terraform.run("environment", "plan", "-detailed-exitcode", "-input=false", env=logged)  # 0: nothing to change


def policies_are_as_narrow_as_they_can_be(state: list[dict[str, Any]]) -> None:
    found = list(documents(state))
    assert len(found) > 20
    assert [problem for address, document in found for problem in problems(address, document)] == []
    for resource in state:
        if resource["type"] == "aws_iam_role_policy":
            assert len(resource["values"]["policy"].replace(" ", "")) <= 10240, resource["address"]
    # No flow may give itself, or anything else, more rights.
    for address, document in found:
        if "identities" in address and "aws_iam_role_policy" in address:
            actions = {action for each in document["Statement"] for action in many(each["Action"])}
            assert {a for a in actions if a.startswith("iam:")} <= {"iam:PassRole", "iam:CreateServiceLinkedRole"}
            assert not {a for a in actions if a.startswith("s3:Delete")} - {"s3:DeleteObject"}
            for each in document["Statement"]:
                if "s3:DeleteObject" in many(each["Action"]):
                    assert all(name.endswith(".tflock") for name in many(each["Resource"])), address


DATA, MODELS = f"arn:aws:s3:::{ACCOUNT}-churn-data", "arn:aws:sagemaker:eu-west-1:" + ACCOUNT
NEW = {"s3:ObjectCreationOperation": "true", "s3:if-none-match": "*"}
OVER = {"s3:ObjectCreationOperation": "true"}
APPROVED, PENDING = ({"sagemaker:ModelApprovalStatus": name} for name in ("Approved", "PendingManualApproval"))
# What production runs comes from these. A request is an action, a resource and its condition keys.
PATHS: dict[str, tuple[str, str, dict[str, str]]] = {
    "write over a model": ("s3:PutObject", f"{DATA}/models/{'a1' * 32}/model.onnx", OVER),
    "write over a note": ("s3:PutObject", f"{DATA}/records/trials/staging/a1/1.json", OVER),
    "remove a model": ("s3:DeleteObject", f"{DATA}/models/{'a1' * 32}/model.onnx", {}),
    "remove a note": ("s3:DeleteObject", f"{DATA}/records/trials/staging/a1/1.json", {}),
    "note a champion": ("s3:PutObject", f"{DATA}/records/champions/a1/1.json", NEW),
    "note a trial of production": ("s3:PutObject", f"{DATA}/records/trials/production/a1/1.json", NEW),
    "register as approved": ("sagemaker:CreateModelPackage", f"{MODELS}:model-package/churn/1", APPROVED),
    "approve a package": ("sagemaker:UpdateModelPackage", f"{MODELS}:model-package/churn/1", APPROVED),
    "make a model": (
        "sagemaker:CreateModel",
        f"{MODELS}:model/churn--production--a1",
        {"sagemaker:VpcSubnets": "subnet-1"},
    ),
    "configure the endpoint": ("sagemaker:CreateEndpointConfig", f"{MODELS}:endpoint-config/churn--production--a1", {}),
    "change the endpoint": ("sagemaker:UpdateEndpoint", f"{MODELS}:endpoint/churn--production", {}),
    "share out requests": (
        "sagemaker:UpdateEndpointWeightsAndCapacities",
        f"{MODELS}:endpoint/churn--production",
        {},
    ),
    "delete the endpoint": ("sagemaker:DeleteEndpoint", f"{MODELS}:endpoint/churn--production", {}),
    "change what scores": ("sagemaker:UpdatePipeline", f"{MODELS}:pipeline/churn--production--score", {}),
    "change the schedule": (
        "scheduler:UpdateSchedule",
        f"arn:aws:scheduler:eu-west-1:{ACCOUNT}:schedule/churn--production/score",
        {},
    ),
    "lend production's role": (
        "iam:PassRole",
        f"arn:aws:iam::{ACCOUNT}:role/churn--production--serving",
        {"iam:PassedToService": "sagemaker.amazonaws.com"},
    ),
    "say what the project is": (
        "ssm:PutParameter",
        f"arn:aws:ssm:eu-west-1:{ACCOUNT}:parameter/ml/churn/settings",
        {},
    ),
}
MAY = {  # and nobody else anything
    "deploy/production": set(PATHS)
    - {"write over a model", "write over a note", "remove a model", "remove a note"}
    - {"register as approved", "say what the project is"},
    "apply/production": {"change the schedule"},  # the infrastructure of production, after the same approval
    "serving/production": {"lend production's role"},  # its own, to the jobs that score
}


def only_the_last_deployment_changes_what_production_runs(shared: list[dict[str, Any]]) -> None:
    """From a training, from staging or from a change under review no path leads there; nobody writes over anything."""
    found = dict(documents(shared))
    bucket = next(document for address, document in found.items() if "module.data.aws_s3_bucket_policy" in address)
    roles = {re.sub(r'.*flows\["(.*)"\]', r"\1", name): found[name] for name in found if "role_policy.flows" in name}
    roles |= {name: found[f"module.machine_learning.aws_iam_role_policy.{name}"] for name in ["training"]}
    serving = {name: document for name, document in found.items() if "role_policy.serving" in name}
    roles |= {f"serving/{name.split(chr(34))[1]}": document for name, document in serving.items()}
    assert set(roles) >= {"plan", "train", "training", "apply/staging", "deploy/staging", "serving/staging", *MAY}
    for role, document in roles.items():
        policies = [document, bucket]
        may = {path for path, request in PATHS.items() if decides(policies, *request)}
        assert may == MAY.get(role, set()), role
    # Whoever proposes a change gets the sample, and nothing else of the data.
    places = (
        "data/rows.parquet",
        "data/dvc/files/md5/00/1",
        "data/sample/rows.parquet",
        "captures/production/a.parquet",
    )
    read = {each for each in places if decides([roles["plan"], bucket], "s3:GetObject", f"{DATA}/{each}")}
    assert read == {"data/sample/rows.parquet"}
    # And what they have to do, they may.
    model, note = f"{DATA}/models/{'a1' * 32}/model.onnx", f"{DATA}/records/trials/staging/a1/1.json"
    assert decides([roles["training"], bucket], "s3:PutObject", model, NEW)
    assert decides([roles["training"], bucket], "s3:PutObject", f"{DATA}/models/runs/1/metrics.json", OVER)
    assert decides([roles["train"], bucket], "s3:PutObject", f"{DATA}/models/runs/1/params.yaml", OVER)
    assert decides([roles["deploy/staging"], bucket], "s3:PutObject", note, NEW)
    assert not decides([roles["deploy/production"], bucket], "s3:PutObject", note, NEW), "staging alone says that"
    package = f"{MODELS}:model-package/churn/1"
    assert decides([roles["training"]], "sagemaker:CreateModelPackage", package, PENDING)
    server = next(each for each in many_resources(roles["deploy/staging"]) if "mlflow-tracking-server" in each)
    moves = ["SetRegisteredModelAlias", "DeleteRegisteredModelAlias", "SetModelVersionTag", "CreateModelVersion"]
    for role, allowed in {"deploy/staging": 0, "plan": 0, "deploy/production": 3}.items():
        assert sum(decides([roles[role]], f"sagemaker-mlflow:{move}", server) for move in moves) == allowed, role


def many_resources(document: dict[str, Any]) -> list[str]:
    return [resource for statement in document["Statement"] for resource in many(statement["Resource"])]


def a_changed_resource_is_noticed(terraform: Terraform, aws: dict[str, str]) -> None:
    client("cloudwatch", aws).delete_alarms(AlarmNames=["churn--production--stable-errors"])
    said = terraform.run("environment", "plan", "-detailed-exitcode", "-input=false", code=2, env=PRODUCTION).stdout
    assert 'aws_cloudwatch_metric_alarm.errors["stable"] will be created' in said
    said = terraform.run("environment", "apply", "-auto-approve", "-input=false", env=PRODUCTION).stdout
    assert "1 added, 0 changed, 0 destroyed" in said


def a_locked_state_is_left_alone(terraform: Terraform, aws: dict[str, str]) -> None:
    place = {"Bucket": f"{ACCOUNT}-churn-state", "Key": "environments/production/environment.tfstate.tflock"}
    lock = {"ID": "1", "Operation": "OperationTypeApply", "Who": "a-colleague@laptop", "Version": "1.11.4", "Path": ""}
    client("s3", aws).put_object(**place, Body=json.dumps({**lock, "Created": "2026-11-21T00:00:00Z", "Info": ""}))
    said = terraform.run("environment", "apply", "-auto-approve", "-input=false", code=1, env=PRODUCTION).stderr
    assert "Error acquiring the state lock" in said
    assert "a-colleague@laptop" in said
    client("s3", aws).delete_object(**place)


def credentials_of_another_account_are_refused(project: Make, aws: dict[str, str]) -> None:
    other = prepared(project({"aws_account": "210987654321"}, aws))
    local = 'terraform {\n  backend "local" {}\n}\n'
    (other.folder / "bootstrap" / "first_override.tf").write_text(local, encoding="utf-8")
    other.run("bootstrap", "init", "-input=false")
    said = other.run("bootstrap", "plan", *options("github", preflight="false"), code=1).stderr
    assert "AWS account ID not allowed: 123456789012" in said


def destroy_the_environment(terraform: Terraform, aws: dict[str, str], log: Path) -> None:
    logged = PRODUCTION | {"TF_LOG_PROVIDER": "DEBUG", "TF_LOG_PATH": str(log)}
    terraform.run("environment", "destroy", "-auto-approve", "-input=false", env=logged)
    assert terraform.run("environment", "state", "list", env=PRODUCTION, plain=True).stdout == ""
    found = left(aws)
    assert {kind: found[kind] for kind in ("alarms", "dashboards", "schedules", "topics")} == {
        "alarms": [],
        "dashboards": [],
        "schedules": [],
        "topics": [],
    }
    assert [group["logGroupName"] for group in found["logs"]] == ["/aws/vpc/churn--network"]  # bootstrap's


def flows_may_do_what_they_have_to(shared: list[dict[str, Any]], log: Path) -> None:
    """Every call that Terraform made is one that the role apply has."""
    made = calls(log)
    assert len(made) > 20
    policies = {address: document for address, document in documents(shared) if "aws_iam_role_policy.flows" in address}
    apply = next(document for address, document in policies.items() if '"apply/production"' in address)
    assert sorted(call for call in made if not allows(apply, call)) == []
    reading = {call for call in made if re.match(r"\w+:(Get|List|Describe)", call)}
    plan = next(document for address, document in policies.items() if '"plan"' in address)
    assert sorted(call for call in reading if not allows(plan, call)) == []


def data_is_not_destroyed(terraform: Terraform) -> None:
    given = options("github", preflight="false")
    said = terraform.run("bootstrap", "destroy", "-auto-approve", *given, code=1).stderr
    assert "Instance cannot be destroyed" in said
    assert "module.data.aws_s3_bucket.this" in said
    assert "module.data.aws_s3_bucket_policy.this" in terraform.run("bootstrap", "state", "list", plain=True).stdout


def remove_everything(terraform: Terraform, aws: dict[str, str]) -> None:
    """Do what the page of the folder says, word by word."""
    client("s3", aws).put_object(Bucket=f"{ACCOUNT}-churn-data", Key="data/raw.parquet", Body=b"data")
    page = (terraform.folder / "README.md").read_text(encoding="utf-8")
    block = page.split("```sh\ncd infra/bootstrap\n")[1].split("```")[0]
    given = " ".join(options("github", preflight="false"))
    block = re.sub(r"terraform (apply|destroy)", rf"terraform \1 -auto-approve {given}", block)
    terraform.call(["sh", "-e", "-c", block], terraform.folder / "bootstrap")
    assert {kind: found for kind, found in left(aws).items() if found} == {}


def only_this_repository_and_its_environments_are_trusted(state: list[dict[str, Any]]) -> None:
    trusted = {}
    for resource in state:
        if resource["address"].startswith("module.identities.aws_iam_role.flows"):
            (statement,) = json.loads(resource["values"]["assume_role_policy"])["Statement"]
            assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
            assert statement["Principal"] == {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER['github']}"}
            (subjects,) = [
                many(test[key]) for test in statement["Condition"].values() for key in test if key.endswith(":sub")
            ]
            audience = statement["Condition"]["StringEquals"][f"{ISSUER['github']}:aud"]
            trusted[resource["index"]] = {"audience": audience, "subjects": sorted(subjects)}
    assert trusted == expected(GITHUB)


@pytest.mark.parametrize("provider", ISSUER)
def test_every_code_host_is_trusted_for_one_repository(provider: str, project: Make, providers: None) -> None:
    """What code_host.tf hands to the module, which the other test follows to the end for one of the hosts."""
    terraform = project({"ci_provider": provider})
    local = 'terraform {\n  backend "local" {}\n}\n'
    (terraform.folder / "bootstrap" / "first_override.tf").write_text(local, encoding="utf-8")
    terraform.run("bootstrap", "init", "-input=false")
    command = ["terraform", "console", *options(provider, preflight="false")[1:]]
    finished = subprocess.run(
        command,
        cwd=terraform.folder / "bootstrap",
        env=terraform.environment,
        input="jsonencode({ issuer = local.issuer, trust = local.trust })",
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(json.loads(finished.stdout))
    assert said["issuer"] == ISSUER[provider]
    assert said["trust"] == expected({"github": GITHUB, "gitlab": GITLAB, "azure_devops": AZURE_DEVOPS}[provider])


Tokens = dict[str, tuple[str, list[str]]]


def expected(tokens: Tokens) -> dict[str, dict[str, Any]]:
    return {role: {"audience": audience, "subjects": subjects} for role, (audience, subjects) in tokens.items()}


def each(audience: str, subject: str) -> Tokens:
    """Return the tokens of the roles of each environment; both texts name the environment and the purpose."""
    found: Tokens = {}
    for purpose in ("apply", "deploy"):
        for name in ("staging", "production"):
            words = {"purpose": purpose, "name": name}
            found[f"{purpose}/{name}"] = (audience.format(**words), [subject.format(**words)])
    return found


REPOSITORY = "repo:ml-team@1/churn@2"
GITHUB: Tokens = {
    "plan": ("sts.amazonaws.com", [f"{REPOSITORY}:pull_request", f"{REPOSITORY}:ref:refs/heads/main"]),
    "train": ("sts.amazonaws.com", [f"{REPOSITORY}:ref:refs/heads/main"]),
    **each("sts.amazonaws.com", REPOSITORY + ":environment:{name}"),
}
ROLE = f"arn:aws:iam::{ACCOUNT}:role/churn"
BRANCH = "project_path:ml-team/churn:ref_type:branch:ref"
GITLAB: Tokens = {
    "plan": (f"{ROLE}--ci-plan", [f"{BRANCH}:*"]),
    "train": (f"{ROLE}--ci-train", [f"{BRANCH}:main"]),
    **each(ROLE + "--{name}--{purpose}", f"{BRANCH}:main"),
}
EXCHANGE = "api://AzureADTokenExchange"
AZURE_DEVOPS: Tokens = {
    "plan": (EXCHANGE, ["sc://ml-team/churn/churn-plan"]),
    "train": (EXCHANGE, ["sc://ml-team/churn/churn-train"]),
    **each(EXCHANGE, "sc://ml-team/churn/churn-{purpose}-{name}"),
}
