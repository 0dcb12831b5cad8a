"""What the tests of AWS share: a project's configuration, the clients' answers, written down by hand, and settings."""

import io
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber
from twoloops import config
from twoloops.platforms.aws import account

from commands.answer_space import template

ACCOUNT, REGION = "123456789012", "eu-west-1"
AWS = {"platform": "aws", "aws": {"account": ACCOUNT, "region": REGION}}  # of [tool.twoloops]
BUCKET, ROLE = "bucket-of-tests", f"arn:aws:iam::{ACCOUNT}:role/training"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0123"
NETWORK = {"subnet_ids": ["subnet-0123"], "security_group_id": "sg-0123"}


def answers(**changes: Any) -> dict[str, Any]:
    """Return what bootstrap/ leaves, with changes."""
    last = config.current().last
    return {
        "bucket": BUCKET,
        "key_arn": KEY,
        "image_repository": "registry.example/image-of-tests",
        "model_package_group": "models-of-tests",
        "tracking_uri": "https://mlflow.example",
        "training_role_arn": ROLE,
        "training_pipeline": "tests--train",
        "serving_role_arns": {last: ROLE},
        "schedule_role_arns": {last: ROLE},
        "flow_role_arns": {},
        "environments": {last: f"tests--{last}"},
        **changes,
    }


def stored(content: bytes) -> dict[str, Any]:
    """Return the answer to a question for a file."""
    return {"Body": StreamingBody(io.BytesIO(content), len(content)), "ContentLength": len(content), "ETag": '"1"'}


class Cloud:
    """The clients of the platform; each test says in which order what is asked and answered."""

    def __init__(self, stack: ExitStack) -> None:
        """Begin with no client."""
        self._stack = stack
        self._stubs: dict[str, Stubber] = {}

    def __getitem__(self, service: str) -> Stubber:
        """Return the stub of a service."""
        if service not in self._stubs:
            self._stubs[service] = self._stack.enter_context(Stubber(account.client(service)))
        return self._stubs[service]

    def settle(self, **changes: Any) -> None:
        """Answer who is logged in, and what bootstrap/ has made."""
        self["sts"].add_response("get_caller_identity", {"Account": ACCOUNT})
        value = {"Parameter": {"Value": json.dumps(answers(**changes))}}
        self["ssm"].add_response("get_parameter", value, {"Name": account.settings_name()})

    def finish(self) -> None:
        """Demand that everything was asked."""
        for stub in self._stubs.values():
            stub.assert_no_pending_responses()


@contextmanager
def clouded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Give clients that reach nobody."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    account._client.cache_clear()
    account._settings.cache_clear()
    with ExitStack() as stack:
        yield Cloud(stack)
    account._client.cache_clear()
    account._settings.cache_clear()


def write_machines(folder: Path, **answers: Any) -> None:
    """Write the machines of a project."""
    (folder / "infra").mkdir(exist_ok=True)
    (folder / "infra/machines.yaml").write_text(machines_file(**answers), encoding="utf-8")


def machines_file(**answers: Any) -> str:
    """Return infra/machines.yaml as a project with these answers has it; by default it serves and scores."""
    complete = template().all_answers({"infrastructure": "aws", "serving_mode": "online_and_batch", **answers})
    file = next(each for each in template().files() if each.path_for(complete) == "infra/machines.yaml")
    return file.content_for(complete).decode()
