"""The login of a container on Azure ML, for what writes captures: from the address that Azure ML gives it.

It needs the standard library alone, so that the image that serves has no other package than elsewhere. Azure ML's
protocol is that of App Service of 2017-09-01, which object stores' libraries do not speak:
https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""

from __future__ import annotations

import json
import os
import urllib.parse
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

STORAGE = "https://storage.azure.com/"
ENDPOINT, SECRET, WHO = "MSI_ENDPOINT", "MSI_SECRET", "AZURE_CLIENT_ID"
SECONDS = 10.0


def provider() -> Callable[[], dict[str, Any]] | None:
    """Return what gives obstore a token when it needs one; None where this is no container of Azure ML."""
    return provide if ENDPOINT in os.environ else None


def provide() -> dict[str, Any]:
    """Return a token for the storage account, and until when it holds."""
    query = {"api-version": "2017-09-01", "resource": STORAGE}
    if WHO in os.environ:
        query["clientid"] = os.environ[WHO]
    address = f"{os.environ[ENDPOINT]}?{urllib.parse.urlencode(query)}"
    request = urllib.request.Request(address, headers={"secret": os.environ.get(SECRET, "")})  # noqa: S310
    # It is on this machine: no proxy stands between.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=SECONDS) as answer:
        found = json.load(answer)
    return {"token": found["access_token"], "expires_at": datetime.fromtimestamp(int(found["expires_on"]), UTC)}
