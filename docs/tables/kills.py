"""The table of `reliability.md`: what was killed where, and what came of it."""

from harness.experiments.kills.came import Came
from harness.experiments.kills.ledger import read
from tables.markdown import RESULTS, table

HEAD = ("killed", "tries", "lost", "repeated", "the piece at hand begun again", "left over")


def tables() -> dict[str, str]:
    """That of the page."""
    lines = read(RESULTS / "kills" / "ledger.jsonl")
    places = list(dict.fromkeys(line.place for line in lines))
    rows = [_row(name, [line for line in lines if line.place == name]) for name in places]
    return {"kills": table(HEAD, [*rows, _row("all", lines)])}


def _row(name: str, lines: list[Came]) -> list[str]:
    """Sums over the studies that were killed at one place."""
    left = sum(len(line.left) for line in lines)
    numbers = (
        sum(line.kills for line in lines), sum(len(line.lost) for line in lines),
        sum(line.repeated for line in lines), sum(line.in_hand for line in lines), left,
    )  # fmt: skip
    return [name, *map(str, numbers)]
