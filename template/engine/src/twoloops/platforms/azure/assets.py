"""What a workspace has to know before it runs something: images, models and programs, each by its content.

Assets never change: what they are called follows from what they consist of, so that making one again finds it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from twoloops.contracts.release import Release
from twoloops.platforms.azure import blobs, images, rest
from twoloops.platforms.azure.account import check_made
from twoloops.platforms.azure.rest import explain_errors
from twoloops.platforms.shared.images import SERVE
from twoloops.platforms.shared.objects import store_release

PORT = 8080  # of the service in the image
LIVE, READY, SCORE = "/health/live", "/health/ready", "/invocations"


def name_by_content(content: Any) -> str:
    """Return a name that only this very content has."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def put(path: str, properties: dict[str, Any]) -> str:
    """Make an asset, unless it is there, and return its path.

    Args:
        path: of the kind of asset, with its name; the version follows from the content.
        properties: the content.
    """
    whole = f"{path}/versions/{name_by_content(properties)}"
    with explain_errors(f"Making {path.rpartition('/')[2]}"):
        if rest.find(whole) is None:
            rest.ask("PUT", whole, {"properties": properties})
    return whole


def image(environment: str | None, kind: str, reference: str | None = None) -> str:
    """Let a workspace know the image of this very code, and return its path.

    Args:
        environment: whose workspace; None: that which trains.
        kind: SERVE or TRAIN.
        reference: of the image; without it, that of this very code.

    Raises:
        ProjectError: nobody has pushed it.
    """
    content: dict[str, Any] = {"image": reference or images.reference(kind), "osType": "Linux"}
    if kind == SERVE:
        routes = (("livenessRoute", LIVE), ("readinessRoute", READY), ("scoringRoute", SCORE))
        content["inferenceConfig"] = {name: {"port": PORT, "path": path} for name, path in routes}
    return put(f"{check_made().workspace(environment)}/environments/{kind}", content)


def model(environment: str, release: Release) -> str:
    """Let an environment's workspace know a release's artifact, and return its path.

    Args:
        environment: whose workspace.
        release: a registered version.

    Raises:
        ProjectError: the artifact cannot be had.
    """
    known = check_made()
    url = store_release(blobs, known.home, release)
    content = {"modelType": "custom_model", "modelUri": known.datastore(environment, url)}
    return put(f"{known.workspace(environment)}/models/{known.project}-artifact", content)
