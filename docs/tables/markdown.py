"""Where the records are, and how a table is written."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, without a line's end after it."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def read_json(path: Path) -> Any:
    """A record."""
    return json.loads(path.read_text(encoding="utf-8"))
