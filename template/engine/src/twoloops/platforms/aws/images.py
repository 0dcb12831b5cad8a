"""AWS's registry of images, ECR."""

from __future__ import annotations

import base64
from collections.abc import Callable

from twoloops.platforms.aws.account import client, explain_errors, settings
from twoloops.platforms.shared import images


class Ecr:
    """The project's repository in the account's registry."""

    @property
    def repository(self) -> str:
        """HOST/NAME."""
        return settings().image_repository

    def find_digest(self, tag: str) -> str | None:
        """Return the digest of the image with this tag, or None."""
        registry = client("ecr")
        name = self.repository.partition("/")[2]
        with explain_errors(f"Looking for the image {tag}"):
            try:
                found = registry.describe_images(repositoryName=name, imageIds=[{"imageTag": tag}])
            except registry.exceptions.ImageNotFoundException:
                return None
        return str(found["imageDetails"][0]["imageDigest"])

    def log_in(self) -> tuple[str, str]:
        """Return a user and a password, which last for hours."""
        with explain_errors("Logging in to the registry"):
            token = client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(token).decode().partition(":")
        return user, password


def reference(kind: str) -> str:
    """Return the image of this very code, by its digest.

    Args:
        kind: images.SERVE or images.TRAIN.

    Raises:
        ProjectError: nobody has pushed it.
    """
    return images.reference(Ecr(), kind)


def push(engine: str | None, tell: Callable[[str], None]) -> dict[str, str]:
    """Build and push the images that the registry lacks; `shared.images.push` tells more."""
    return images.push(Ecr(), engine, tell)
