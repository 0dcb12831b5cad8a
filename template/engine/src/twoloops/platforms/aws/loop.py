"""The inner loop on SageMaker: a pipeline whose steps are the project's verbs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twoloops import lineage
from twoloops.errors import ProjectError
from twoloops.platforms.aws import bucket, images, machines, packages, pipelines
from twoloops.platforms.aws.account import settings
from twoloops.platforms.shared import loop
from twoloops.platforms.shared.loop import Attempt
from twoloops.platforms.shared.objects import ObjectStore


class SageMaker:
    """Runs the loop as executions of one pipeline."""

    store: ObjectStore = bucket

    @property
    def home(self) -> str:
        """The project's bucket."""
        return settings().home

    def default_tracking_uri(self) -> str | None:
        """Return the account's own MLflow server, if bootstrap/ has made one."""
        return settings().tracking_uri

    def image(self, kind: str) -> str:
        """Return an image of this very code, by its digest."""
        return images.reference(kind)

    def find_attempt(self, inputs: str) -> Attempt:
        """Return the execution of these inputs that is under way, or the name of the next one."""
        return pipelines.find_attempt(settings().training_pipeline, inputs)

    def start(self, name: str, steps: list[list[str]], parameters: dict[str, str]) -> str:
        """Bring the pipeline up to date, start an execution, and return its ARN."""
        known = settings()
        pipelines.put(known.training_pipeline, known.training_role_arn, define(steps))
        return pipelines.start(known.training_pipeline, name, parameters)

    def wait(self, address: str, tell: Callable[[str], None]) -> ProjectError | None:
        """Wait until an execution has ended, and return what to tell people if it has not succeeded."""
        outcome = pipelines.wait(address, tell)
        return None if outcome.status == pipelines.SUCCEEDED else pipelines.failure(outcome)


def submit(until: str | None, *, new_holdout: bool, tell: Callable[[str], None]) -> None:
    """Run the inner loop on SageMaker; `shared.loop.submit` tells more."""
    loop.submit(SageMaker(), until, new_holdout=new_holdout, tell=tell)


def define(steps: list[list[str]]) -> dict[str, Any]:
    """Return the definition of a pipeline that runs these verbs one after the other."""
    known, job = settings(), machines.load().training
    environment = {
        loop.TRACKING_URI: pipelines.parameter(loop.TRACKING),
        lineage.CODE_VERSION: pipelines.parameter(loop.CODE_VERSION),
        packages.SERVE_IMAGE: pipelines.parameter(loop.SERVE_IMAGE),
        packages.GROUP: known.model_package_group,
    }
    return pipelines.definition(
        [
            pipelines.step(
                words[0],
                image=pipelines.parameter(loop.IMAGE),
                arguments=[pipelines.parameter(loop.RUN), *words],
                environment=environment,
                role=known.training_role_arn,
                job=job,
                after=steps[place - 1][0] if place else None,
            )
            for place, words in enumerate(steps)
        ],
        loop.PARAMETERS,
    )
