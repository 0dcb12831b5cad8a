"""Containers for the emulator: as SageMaker runs them, and with fewer rights than it gives."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

# What the project's images need none of. Podman gives a container that is read-only its folder /tmp.
CAREFUL = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def command(
    name: str, image: str, words: Sequence[str], environment: Mapping[str, str], options: Sequence[str] = ()
) -> list[str]:
    """Return the command that runs a container, which is removed when it ends.

    Args:
        name: of the container.
        image: by its digest; it has been pulled.
        words: for the image's entry point, or for that in the options.
        environment: of the container.
        options: further ones.
    """
    settings = [f"--env={key}={value}" for key, value in environment.items()]
    begin = ["podman", "run", "--rm", "--pull=never", f"--name={name}", "--network=host", *CAREFUL]
    return [*begin, *settings, *options, image, *words]


def remove(name: str) -> None:
    """End a container that did not end itself."""
    subprocess.run(["podman", "rm", "--force", "--ignore", "--time=0", name], capture_output=True, check=False)
