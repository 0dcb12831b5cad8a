"""What a flow demands before a version enters the last environment: where it comes from, and what it is made of.

By hand, on a laptop, nothing of this is asked: whoever may deploy from there needs no flow.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from twoloops import registry
from twoloops.artifact import MANIFEST
from twoloops.delivery import supply_chain
from twoloops.hosts import host
from twoloops.outer_loop.promote import Admit
from twoloops.params import ScanParams


def admission(params: ScanParams, say: Callable[[str], None]) -> Admit:
    """Return what is to be called with a version, its identity and its image before the last environment.

    What is called raises a ProjectError where the code host's statement about the artifact or the image is missing or
    wrong, where a part of the image is known to be dangerous and a fix is there, or where nobody can tell.
    """

    def admit(version: str, identity: str, image: str | None) -> None:
        if not host.in_flow():
            return
        say(f"  {supply_chain.refuse_dangerous_parts(params)}")
        with (
            registry.download(registry.get(version).uri, identity) as artifact,
            tempfile.TemporaryDirectory() as folder,
        ):
            # An artifact is its manifest, which holds the digest of every other file.
            say(f"  {host.verify_attestation(artifact / MANIFEST)}")
            if image:
                say(f"  {host.verify_attestation(write_image(Path(folder), image))}")

    return admit


def write_image(folder: Path, image: str) -> Path:
    """Write which image serves, by its digest, as the flow `train` attests it."""
    path = folder / "image.txt"
    path.write_text(f"{image}\n", encoding="utf-8")
    return path
