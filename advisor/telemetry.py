"""Nothing is reported to anyone: the switches of the libraries that ping home, set before they are imported.

Both packages call `switch_off` when they are imported, hence before any of their modules imports a library
that reads its variable once. Where the caller imported such a library first, its constant is set.
Standard library only.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Switch:
    """How one library is silenced."""

    variable: str
    """Of the environment."""
    silent: str
    """Its value that means silence."""
    module: str = ""
    """Where the library keeps what it read; empty: it reads the variable every time."""
    value: bool = False
    """What it keeps, under the variable's name, when it is silent."""


COUNTS = "HF_UPDATE_DOWNLOAD_COUNTS"
SWITCHES = (
    # TRL's trainers report through the hub's library.
    Switch(
        variable="HF_HUB_DISABLE_TELEMETRY",
        silent="1",
        module="huggingface_hub.constants",
        value=True,
    ),
    # Reading any file, a local one too, is counted on a server.
    Switch(variable=COUNTS, silent="0", module="datasets.config"),
    Switch(variable=COUNTS, silent="0", module="evaluate.config"),
    Switch(variable="RAY_USAGE_STATS_ENABLED", silent="0"),
)


def switch_off() -> None:
    """Silence what the user's environment says nothing about; a variable that the user set is left alone."""
    for switch in [one for one in SWITCHES if not os.environ.get(one.variable)]:
        kept = sys.modules.get(switch.module)
        if kept is not None:
            setattr(kept, switch.variable, switch.value)
    for switch in SWITCHES:
        if not os.environ.get(switch.variable):
            os.environ[switch.variable] = switch.silent
