"""Files that are whole or not there: answers, records, figures and pages are written through here."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from advisor.errors import InputError


def publish(path: Path, content: bytes, *, subject: str, remedy: str) -> None:
    """Write a file under a temporary name and rename it, so that it is whole also after a power cut.

    Raises:
        InputError: "SUBJECT cannot be written (why): REMEDY".
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{subject} cannot be written ({error.strerror}): {remedy}") from None
    finally:
        with contextlib.suppress(OSError):  # of a folder that went away: said already
            temporary.unlink(missing_ok=True)
