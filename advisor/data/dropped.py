"""Rows that give nothing to train on: counted by the reason, and said in one line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from advisor.data.labels import Encoded

EMPTY = "with an empty completion or no assistant turn"
AT = "cut at {} tokens (--max_length, else the model's context)"
CUT = f"{AT} before the first target"
MARKED = "with every turn of the assistant marked as no target"
WEIGHTLESS = "with a weight of 0 on every target"
NOTHING = Encoded(input_ids=[], labels=[], terminators=(), merged=False)
"""What is left of a row that is dropped before it is tokenised."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What of one row is not trained, before anything is cut off."""

    untrained_turns: int = 0
    """Turns of the assistant that the row marks as no target."""
    why: str | None = None
    """Why nothing of it is trained; None where that is not decided yet."""


class Refusals:
    """Reasons for which rows were refused, one for each kind: rows, numbers and names in it may differ."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def kind(self, row: int, reason: str) -> str:
        """The reason as the first of its kind had it, without the remedy, and that row's number."""
        reason = reason.split("; ")[0]
        general = re.sub(r"'[^']*'|\"[^\"]*\"|\d+(\.\d+)?", "_", reason)
        return self._first.setdefault(general, f"refused: {reason} (row {row} is the first)")


def listed(reasons: Mapping[str, int]) -> str:
    """Reasons with their numbers, the most frequent first."""
    most = sorted(reasons.items(), key=lambda item: -item[1])
    return "; ".join(f"{number:,} {why}" for why, number in most)


def sentences(name: str, read: int, reasons: Mapping[str, int], turns: int) -> tuple[str, ...]:
    """What of the rows read is not trained: rows in one sentence, turns in another."""
    said = []
    if total := sum(reasons.values()):
        said.append(f"{name}: {total:,} of the {read:,} rows read are dropped: {listed(reasons)}.")
    if turns:
        said.append(
            f"{name}: {turns:,} turns of the assistant are marked as no target (weight, train, loss, "
            "label) and only read as context."
        )
    return tuple(said)


def shortened(name: str, read: int, number: int, limit: int) -> tuple[str, ...]:
    """That rows of those read are cut within their answers, where some are; `limit` is in tokens."""
    if not number:
        return ()
    cut = AT.format(limit)
    verb, lose = ("is", "loses") if number == 1 else ("are", "lose")
    return (
        f"{name}: {number:,} of the {read:,} rows read {verb} {cut} and {lose} the end of an answer.",
    )
