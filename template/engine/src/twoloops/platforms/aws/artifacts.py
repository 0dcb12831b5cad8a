"""A registered version's artifact in the bucket, from where SageMaker gives it to containers."""

from __future__ import annotations

from twoloops import artifact, registry
from twoloops.contracts.release import Release
from twoloops.errors import ProjectError
from twoloops.platforms.aws import bucket
from twoloops.platforms.aws.account import settings


def stored(release: Release) -> str:
    """Return the folder of a release's artifact in the bucket, and put it there if it is not.

    Raises:
        ProjectError: it cannot be had or stored, or the registry holds another one.
    """
    place = bucket.model_uri(settings().bucket, release.identity)
    if not bucket.exists(f"{place}/{artifact.MANIFEST}"):
        with registry.downloaded(release.uri) as copy:
            if artifact.identity(copy) != release.identity:
                raise ProjectError(
                    f"Version {release.version} was registered with the artifact {release.identity[:12]}, "
                    "and the registry holds another one.",
                    hint="Somebody has changed the registry's files. Train and register the model again.",
                )
            bucket.put_model(copy, settings().bucket)
    return f"{place}/"
