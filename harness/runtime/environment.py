"""The machinery of a run: versions, device, and the commit of this program."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.runtime.versions import versions


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The machinery of a run."""

    versions: Mapping[str, str]
    """Installed packages that matter."""
    python: str
    """Version of the interpreter."""
    platform: str
    """Operating system and architecture."""
    device: str | None
    """Where the model was."""
    dtype: str | None
    """Of its weights."""
    threads: int | None
    """Of torch, on a CPU."""
    commit: str | None
    """Of this program's own checkout; None where it is installed."""
    dirty: bool
    """Whether that checkout had changes."""
    gpu: str | None = None
    """Name of the GPU that the model was on."""

    @classmethod
    def here(cls, *, device: object = None, dtype: object = None) -> Environment:
        """The environment of this process."""
        torch = sys.modules.get("torch")
        commit, dirty = _checkout()
        return cls(
            versions=versions(),
            python=platform.python_version(),
            platform=f"{platform.system()} {platform.machine()}",
            device=None if device is None else str(device),
            dtype=None if dtype is None else str(dtype),
            threads=torch.get_num_threads() if torch else None,
            commit=commit,
            dirty=dirty,
            gpu=_gpu(torch, device),
        )


def _gpu(torch: Any, device: object) -> str | None:
    """The name of a CUDA device; None of anything else."""
    named = torch is not None and str(device).startswith("cuda")
    return str(torch.cuda.get_device_name(str(device))) if named else None


@functools.cache
def _checkout() -> tuple[str | None, bool]:
    """Commit of the checkout that this file is tracked in, and whether it has changes."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, False
