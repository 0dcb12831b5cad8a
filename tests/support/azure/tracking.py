"""A real server of MLflow, behind the workspace's own.

Run as a program, `python -m tests.support.azure.tracking PORT FOLDER`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(port: str, folder: str) -> None:
    """Serve until told to stop."""
    place = Path(folder).absolute()
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{(place / 'tracking.db').as_posix()}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": (place / "artifacts").as_uri(),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    from mlflow.server import app
    from werkzeug.serving import run_simple

    run_simple("127.0.0.1", int(port), app, threaded=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
