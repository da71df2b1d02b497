"""The ledger of kills: a line for each study or training that was killed at a place."""

from __future__ import annotations

from pathlib import Path

from advisor.files import parse_json
from advisor.values import built, dataclass_of
from harness.experiments.kills.came import Came

CAME = dataclass_of(Came)


def read(path: Path) -> list[Came]:
    """Every line, in order; one that a kill cut short is passed over."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(built(CAME, parse_json(line), "line"))
        except ValueError:  # an InputError is one
            continue
    return found
