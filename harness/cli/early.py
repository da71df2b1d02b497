"""Refusals of a command before torch, transformers, datasets and TRL are imported: half a second, not ten.

Each but the one of the shell is the function that the command calls later too. What cannot be seen so early
is let pass.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from advisor.data.first_look import look
from advisor.errors import InputError
from advisor.model import checkpoint
from advisor.objectives.table import OBJECTIVES
from advisor.options import DataOptions
from harness.ladder.named_pair import Pair


def check_shell() -> None:
    """Refuse a standard output that goes, here, into a file with the name of an objective.

    Unquoted, a shell reads `--objective nll>neg_p` as `--objective nll` with the output in a file `neg_p`.

    Raises:
        InputError: says to quote it; the file stays.
    """
    path = _redirected()
    names = {name for row in OBJECTIVES.values() for name in (row.name, *row.aliases)}
    if path is None or re.split(r"[(@>]", path.name.lower())[0] not in names:
        return
    if path.parent == Path.cwd():
        raise InputError(
            f"the output goes into a file {path.name}: the shell takes > for a redirection, so put an "
            f"objective that changes in quotes, 'nll>{path.name}' (or give the file another name)"
        )


def _redirected() -> Path | None:
    """The regular file that standard output goes into; None where there is none or the system is silent."""
    try:
        if not stat.S_ISREG(os.fstat(1).st_mode):
            return None
        return Path("/proc/self/fd/1").readlink()
    except OSError:
        pass
    try:  # macOS has no /proc
        import fcntl

        asked: int = fcntl.F_GETPATH  # type: ignore[attr-defined,unused-ignore]
        return Path(os.fsdecode(fcntl.fcntl(1, asked, bytes(1024)).rstrip(b"\0")))
    except (ImportError, AttributeError, OSError):
        return None


def check_pair(pair: Pair, data: DataOptions) -> None:
    """Refuse a MODEL that is none, and a DATASET that leads nowhere or whose columns are of no known format.

    Raises:
        InputError: as of `load_model` and `load_dataset`.
    """
    name, folder = checkpoint.locate(pair.model)
    if folder and not any(folder.glob("*.gguf")):
        checkpoint.check_config(name, folder)
    look(pair.dataset, data)
