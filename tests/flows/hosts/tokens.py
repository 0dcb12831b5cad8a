"""Tokens that a code host makes for a job, by which the job logs in elsewhere: who asks, and for whom it is meant."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode

LIVES_SECONDS = 600


def token(issuer: str, subject: str, audience: str) -> str:
    """Return a JSON Web Token; it is signed by nobody, and who receives it on loopback cannot look.

    Args:
        issuer: the code host's address.
        subject: how the code host names the job.
        audience: whom it is for.
    """
    now = int(time.time())
    claims = {"iss": issuer, "sub": subject, "aud": audience, "iat": now, "exp": now + LIVES_SECONDS}
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
    return ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in (*parts, b"nobody's signature"))
