"""Nothing is reported to anyone: the switches of the libraries that ping home, set before they are imported.

Both packages call `switch_off` when they are imported, hence before any of their modules imports
huggingface_hub, which reads its variable once. Where the caller imported it first, its constant is set.
Standard library only.
"""

from __future__ import annotations

import os
import sys

HUB = "HF_HUB_DISABLE_TELEMETRY"
SWITCHES = {HUB: "1", "RAY_USAGE_STATS_ENABLED": "0"}
"""Variable -> the value that means silence: TRL reports through the hub's library, Ray by itself."""


def switch_off() -> None:
    """Silence what the user's environment says nothing about; a variable that the user set is left alone."""
    chosen = bool(os.environ.get(HUB))
    for name, silent in SWITCHES.items():
        if not os.environ.get(name):
            os.environ[name] = silent
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None and not chosen:
        constants.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]
