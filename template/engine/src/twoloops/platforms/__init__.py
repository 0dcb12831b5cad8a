"""Where models run: one folder a platform, each with what `contracts.platform.Platform` asks for."""

from __future__ import annotations

from typing import Final, cast

from twoloops import config, plugins
from twoloops.contracts.platform import Platform

# The platform of the current project.
platform: Final = cast(Platform, plugins.Chosen(lambda: plugins.find("platforms", config.current().platform)))
