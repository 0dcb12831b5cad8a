"""The inner loop on Azure ML: a pipeline job of the graph's steps."""

from __future__ import annotations

from collections.abc import Callable

from twoloops import lineage
from twoloops.contracts.graph import Graph
from twoloops.errors import ProjectError
from twoloops.platforms.azure import assets, blobs, images, jobs, machines
from twoloops.platforms.azure.account import check_made
from twoloops.platforms.azure.registry import tracking_uri
from twoloops.platforms.shared import loop
from twoloops.platforms.shared.images import TRAIN
from twoloops.platforms.shared.loop import Attempt
from twoloops.platforms.shared.objects import ObjectStore

TRAINING = jobs.Place(None, "train", "training")


class AzureLearning:
    """Runs the loop as pipeline jobs of the workspace that trains."""

    store: ObjectStore = blobs

    @property
    def home(self) -> str:
        """The project's container."""
        return check_made().home

    def default_tracking_uri(self) -> str | None:
        """Return the workspace's own MLflow server."""
        return tracking_uri(check_made())

    def image(self, kind: str) -> str:
        """Return an image of this very code, by its digest."""
        return images.reference(kind)

    def find_attempt(self, inputs: str) -> Attempt:
        """Return the job of these inputs that is under way, or the name of the next one."""
        return jobs.find_attempt(TRAINING, inputs)

    def start(self, name: str, graph: Graph, parameters: dict[str, str]) -> str:
        """Start a job, and return its path."""
        image = assets.image(None, TRAIN, parameters[loop.IMAGE])
        environment = {
            loop.TRACKING_URI: parameters[loop.TRACKING],
            lineage.CODE_VERSION: parameters[loop.CODE_VERSION],
        }
        job = machines.load().training
        steps = {
            step.name: jobs.step(
                TRAINING,
                image=image,
                values={"run": parameters[loop.RUN], "step": step.name},
                environment=environment,
                job=job,
                after=graph.before(step),
            )
            for step in graph.steps
        }
        return jobs.start(TRAINING, name, jobs.definition(TRAINING, steps, name))

    def wait(self, address: str, tell: Callable[[str], None]) -> ProjectError | None:
        """Wait until a job has ended, and return what to tell people if it has not succeeded."""
        return jobs.wait(address, f"{self.home}/models/runs/{address.rpartition('/')[2]}", tell)


def submit(graph: Graph, tell: Callable[[str], None]) -> None:
    """Run the inner loop on Azure ML; `shared.loop.submit` tells more."""
    loop.submit(AzureLearning(), graph, tell)
