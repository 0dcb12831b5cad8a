"""AWS's registry of images, ECR."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Final

from twoloops.contracts.scan import Scan, refused
from twoloops.errors import ProjectError
from twoloops.platforms.aws.account import client, explain_errors, settings
from twoloops.platforms.shared import images

SCAN_SECONDS: Final = 300.0  # a scan that began with the push takes about a minute
TURN_SECONDS: Final = 5.0
UNDER_WAY: Final = ("IN_PROGRESS", "PENDING")
DONE: Final = ("COMPLETE", "ACTIVE")  # ACTIVE: scanned, and scanned again with every news
SHOWN: Final = 10


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


def scanned(tolerated: Scan) -> str:
    """Return the image that endpoints run, by its digest, if nothing was found in it that is not tolerated.

    Args:
        tolerated: the section `scan` of params.yaml.

    Raises:
        ProjectError: nobody has pushed it, it was not scanned, or something was found.
    """
    image = reference(images.SERVE)
    repository, digest = Ecr().repository.partition("/")[2], image.partition("@")[2]
    for _ in range(int(SCAN_SECONDS / TURN_SECONDS)):
        status, findings = _findings(repository, digest)
        if status not in UNDER_WAY:
            break
        time.sleep(TURN_SECONDS)
    if status not in DONE:
        raise ProjectError(
            f"The registry has not scanned the image {image}: {status}.",
            hint="It is scanned when it is pushed, as infra/modules/images says; the registry's console tells why not.",
        )
    if found := refused(findings, tolerated):
        names = ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
        raise ProjectError(
            f"The registry's scan found in the image {image}: {names}.",
            hint="A newer base in the Dockerfile, or newer packages in uv.lock, mend most. What does not concern you, "
            "put into scan.accepted of params.yaml; scan.fail_on says from which level on a finding counts.",
        )
    return image


def _findings(repository: str, digest: str) -> tuple[str, list[tuple[str, str]]]:
    """Return how far the scan of an image is, and what it found: names and how bad ECR calls it."""
    registry, found = client("ecr"), []
    with explain_errors(f"Asking what was found in the image {digest}"):
        try:
            pages = registry.get_paginator("describe_image_scan_findings").paginate(
                repositoryName=repository, imageId={"imageDigest": digest}
            )
            status = "no scan"
            for page in pages:
                status = page["imageScanStatus"]["status"]
                content = page.get("imageScanFindings", {})
                found += [(each["name"], each["severity"]) for each in content.get("findings", [])]
                found += [
                    (
                        each.get("packageVulnerabilityDetails", {}).get("vulnerabilityId", each["title"]),
                        each["severity"],
                    )
                    for each in content.get("enhancedFindings", [])
                ]
        except registry.exceptions.ScanNotFoundException:
            return "no scan", []
    return status, found


def push(engine: str | None, tell: Callable[[str], None]) -> dict[str, str]:
    """Build and push the images that the registry lacks; `shared.images.push` tells more."""
    return images.push(Ecr(), engine, tell)
