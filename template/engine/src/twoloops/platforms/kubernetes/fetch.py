"""The program of the container that comes before a service's own: it brings the models of a deployment.

    python -m twoloops.platforms.kubernetes.fetch HOME DEPLOYMENT MODELS

HOME is the project's place in the object store, DEPLOYMENT the file that says what is to run, and MODELS the folder in
which the service looks. A model that is another one than the deployment names ends it.
"""

from __future__ import annotations

import json
from pathlib import Path

from twoloops import artifact
from twoloops.errors import ProjectError
from twoloops.platforms.kubernetes import store
from twoloops.platforms.shared.objects import model_url
from twoloops.platforms.shared.steps import run_program
from twoloops.storage import replacing


def main(home: str, deployment: str, models: str) -> int:
    """Bring what is not there yet, and return 0.

    Args:
        home: a URL.
        deployment: deployment.json.
        models: the folder for artifacts, by identity.

    Raises:
        ProjectError: a model cannot be had, or is another one.
    """
    wanted = json.loads(Path(deployment).read_text(encoding="utf-8"))
    for release in filter(None, (wanted["stable"], wanted["canary"])):
        target = Path(models) / release["identity"]
        if target.exists():
            continue
        url = model_url(home, release["identity"])
        with replacing(target) as new:
            new.mkdir()
            store.download(url, new, list(store.sizes(url)))
            found = artifact.read(new).identity
            if found != release["identity"]:
                raise ProjectError(
                    f"{url} holds the model {found[:12]}, and version {release['version']} is "
                    f"{release['identity'][:12]}.",
                    hint="Somebody has changed the files. Find out who; the registry has the right ones.",
                )
        print(f"Version {release['version']} is there: {release['identity'][:12]}", flush=True)
    return 0


if __name__ == "__main__":
    run_program(main)
