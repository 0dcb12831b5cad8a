"""The account: who is logged in, what bootstrap/ has left to know, and AWS's refusals in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twoloops import config
from twoloops.errors import ProjectError
from twoloops.platforms.shared.infrastructure import MissingSettingsError

# AWS asks to slow down under load: botocore waits, longer each time.
TRIES = 8

# How AWS names what people have to put right; every service spells it in its own way.
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
UNKNOWN = {"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
BUSY = {"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}
QUOTA = {"ResourceLimitExceeded", "LimitExceededException", "ServiceQuotaExceededException"}


class Settings(BaseModel):
    """What bootstrap/ has made, as its output `settings` says; nothing of it is secret."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    bucket: str
    key_arn: str
    image_repository: str
    model_package_group: str
    tracking_uri: str | None
    training_role_arn: str
    training_pipeline: str
    serving_role_arns: dict[str, str]
    schedule_role_arns: dict[str, str]
    flow_role_arns: dict[str, str]
    environments: dict[str, str]  # by environment, the prefix of its names; its endpoint has this very name
    subnet_ids: list[str] | None = None
    security_group_id: str | None = None

    @property
    def home(self) -> str:
        """The project's bucket, as a URL."""
        return f"s3://{self.bucket}"

    @property
    def network(self) -> dict[str, Any]:
        """The argument VpcConfig of a call, or no argument."""
        if self.subnet_ids is None:
            return {}
        return {"VpcConfig": {"Subnets": self.subnet_ids, "SecurityGroupIds": [self.security_group_id]}}


class Account(BaseModel):
    """`[tool.twoloops.aws]`: what the project chose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    account: str = Field(pattern=r"^[0-9]{12}$")
    region: str = Field(pattern=r"^(af|ap|ca|eu|il|me|mx|sa|us)-[a-z]{4,9}-[1-9]$")
    private_network: bool = False


def account() -> Account:
    """Return what the project chose.

    Raises:
        ProjectError: a key is missing, unknown, or has a value that is not allowed.
    """
    chosen = config.current()
    try:
        return Account.model_validate(dict(chosen.platform_settings))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, each['loc'])) or 'the table'}: {each['msg']}" for each in error.errors()]
        raise ProjectError(
            f"[tool.twoloops.aws] in {chosen.root / config.FILE} is not valid:\n"
            + "\n".join(f"  - {line}" for line in lines),
            hint="It has account, the 12 digits of the AWS account, and region, such as eu-west-1.",
        ) from error


def settings_name() -> str:
    """Return the name of the parameter in which infra/bootstrap leaves its settings: infra/project/outputs.tf."""
    return f"/ml/{config.current().package.replace('_', '-')}/settings"


def tags() -> list[dict[str, str]]:
    """Return the tags as Terraform gives them to what it makes: the budget counts what has the first one."""
    package = config.current().package
    return [{"Key": "Project", "Value": package.replace("_", "-")}, {"Key": "ManagedBy", "Value": package}]


def _bootstrap() -> str:
    return f"An administrator makes it with 'uv run {config.current().package} bootstrap': infra/README.md."


def client(service: str) -> Any:
    """Return boto3's client of a service, in the project's region."""
    return _client(service, account().region)


@lru_cache
def _client(service: str, region: str) -> Any:
    retries = {"mode": "standard", "total_max_attempts": TRIES}
    return boto3.client(service, config=Config(region_name=region, retries=retries, connect_timeout=10))


@contextmanager
def explain_errors(what: str) -> Iterator[None]:
    """Turn what AWS refuses while it is asked for something into an error for people.

    Args:
        what: is done, as in "making the endpoint".

    Raises:
        ProjectError: AWS refused, or did not answer.
    """
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise ProjectError(
            f"{what}: nobody is logged in to AWS.",
            hint="Log in, for example with 'aws sso login' and AWS_PROFILE; in a flow, 'bootstrap' sets the roles.",
        ) from error
    except ClientError as error:
        raise _explain(what, error.response) from error
    except BotoCoreError as error:
        raise ProjectError(
            f"{what}: AWS does not answer: {error}", hint="Is this machine connected? Then run the same verb again."
        ) from error


def _explain(what: str, response: Mapping[str, Any]) -> ProjectError:
    code, message = response["Error"]["Code"], response["Error"].get("Message", "")
    if code in EXPIRED:
        return ProjectError(f"{what}: the login has expired.", hint="Log in again, and run the same verb again.")
    if code in UNKNOWN:
        return ProjectError(f"{what}: AWS does not know this login.", hint="Check AWS_PROFILE, or log in again.")
    if code in DENIED:
        return ProjectError(
            f"{what}: the login may not do that: {message}",
            hint="infra/README.md tells which role may do what; infra/bootstrap.sh changes roles.",
        )
    if code in BUSY:
        return ProjectError(
            f"{what}: AWS asks to slow down, still after {TRIES} tries.",
            hint="Run the same verb again in a few minutes: what is done already is not done twice.",
        )
    if code in QUOTA:
        return ProjectError(
            f"{what}: a quota of the account is used up: {message}",
            hint="Request an increase in the console of Service Quotas, or take another machine: infra/machines.yaml.",
        )
    return ProjectError(f"{what}: AWS refuses it: {message or code}", hint="infra/README.md tells what refusals mean.")


def settings() -> Settings:
    """Return what bootstrap/ has made.

    Raises:
        ProjectError: the login is of another account, or bootstrap/ has not been applied.
    """
    return _settings(account(), settings_name())


@lru_cache
def _settings(chosen: Account, name: str) -> Settings:
    with explain_errors("Looking who is logged in"):
        used = client("sts").get_caller_identity()["Account"]
    if used != chosen.account:
        raise ProjectError(
            f"The login is of the AWS account {used}, and the project belongs to {chosen.account}.",
            hint="Log in to that account; or change the answer: 'update-template --answer aws_account=...'.",
        )
    ssm = client("ssm")
    with explain_errors(f"Reading the parameter {name}"):
        try:
            value = ssm.get_parameter(Name=name)["Parameter"]["Value"]
        except ssm.exceptions.ParameterNotFound as error:
            raise MissingSettingsError(
                f"There is no parameter {name} in {chosen.region} yet.", hint=_bootstrap()
            ) from error
    try:
        return Settings.model_validate_json(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise ProjectError(
            f"The parameter {name} is not what this project's bootstrap writes: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}.",
            hint=_bootstrap(),
        ) from error
