"""The inner loop on SageMaker: a pipeline of the graph's steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twoloops import lineage
from twoloops.contracts.graph import Graph
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

    def start(self, name: str, graph: Graph, parameters: dict[str, str]) -> str:
        """Bring the pipeline up to date, start an execution, and return its ARN."""
        known = settings()
        pipelines.put(known.training_pipeline, known.training_role_arn, define(graph))
        return pipelines.start(known.training_pipeline, name, parameters)

    def wait(self, address: str, tell: Callable[[str], None]) -> ProjectError | None:
        """Wait until an execution has ended, and return what to tell people if it has not succeeded."""
        outcome = pipelines.wait(address, tell)
        return None if outcome.status == pipelines.SUCCEEDED else pipelines.explain_failure(outcome)


def submit(graph: Graph, tell: Callable[[str], None]) -> None:
    """Run the inner loop on SageMaker; `shared.loop.submit` tells more."""
    loop.submit(SageMaker(), graph, tell)


def define(graph: Graph) -> dict[str, Any]:
    """Return the definition of a pipeline with a processing step for each step of the graph."""
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
                step.name,
                image=pipelines.parameter(loop.IMAGE),
                arguments=[pipelines.parameter(loop.RUN), step.name],
                environment=environment,
                role=known.training_role_arn,
                job=job,
                after=graph.before(step),
            )
            for step in graph.steps
        ],
        loop.PARAMETERS,
    )
