"""Where a project is hosted: one folder a code host, each with what `contracts.host.CodeHost` asks for."""

from __future__ import annotations

from typing import Final, cast

from twoloops import config, plugins
from twoloops.contracts.host import CodeHost

# The code host of the current project.
host: Final = cast(CodeHost, plugins.Chosen(lambda: plugins.find("hosts", config.current().host)))
