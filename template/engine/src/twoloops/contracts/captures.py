"""What passes from the services and the scoring, which capture, to the monitor, which reads: Parquet files of rows.

Each file has the columns `request_id`, `captured_at`, `model`, `model_version`, `entity`, one `feature.NAME` for each
feature of the signature, as it was asked, and one `score.NAME` for each output of the model.
"""

from __future__ import annotations

from typing import Final

FEATURE, SCORE = "feature.", "score."
QUALITY: Final = b"quality"  # the file's metadata: {"refused": n, "dropped": n} since the file before
TRIAL: Final = "deploy-"  # request identifiers of a deployment's own requests begin so
