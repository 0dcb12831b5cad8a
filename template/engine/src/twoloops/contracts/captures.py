"""What passes from the services and the scoring, which capture, to the monitor, which reads: Parquet files of rows.

Each file has the columns `request_id`, `captured_at`, `model`, `model_version`, `entity`, `event_time`, one
`feature.NAME` for each feature of the signature, as it was asked, and one `score.NAME` for each output of the model.
Files of releases before 0.3.0 have no `event_time`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Final

FEATURE, SCORE = "feature.", "score."
ENTITY: Final = "entity"  # the column of whom a row is about
EVENT_TIME: Final = "event_time"  # when the row's values were known, as text that the request told
REQUEST_ID: Final = "request_id"
QUALITY: Final = b"quality"  # the file's metadata: {"refused": n, "dropped": n} since the file before
# Request identifiers of a deployment's own requests begin so. The monitor leaves them out, and so the service takes
# such an identifier only from whoever knows the artifact: `deploy-NONCE-PROOF`, with one proof for each model that
# may answer.
TRIAL: Final = "deploy-"


def trial_key(manifest: bytes) -> bytes:
    """Return what a deployment and a service have in common, and no client: it follows from the artifact's manifest.

    The artifact's identity is told to everybody; it is the hash of the same bytes, and does not lead to them.
    """
    return hashlib.sha256(b"trial of the artifact\n" + manifest).digest()


def new_trial(keys: Iterable[bytes]) -> str:
    """Return a new request identifier of a trial, which services of the artifacts with these keys take."""
    nonce = secrets.token_hex(8)
    return "-".join([f"{TRIAL}{nonce}", *(_proof(nonce, key) for key in keys)])


def is_trial(request_id: str, keys: Iterable[bytes]) -> bool:
    """Say whether a request identifier is that of a trial of an artifact with one of these keys."""
    nonce, *proofs = request_id.removeprefix(TRIAL).split("-")
    return any(hmac.compare_digest(_proof(nonce, key), proof) for key in keys if key for proof in proofs)


def _proof(nonce: str, key: bytes) -> str:
    return hmac.new(key, nonce.encode(), "sha256").hexdigest()[:24]
