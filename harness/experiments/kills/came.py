"""What came of some kills at one place: a line of the ledger. Without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Came:
    """What came of some kills."""

    place: str
    """Name of the place."""
    number: int
    """Of the study that was killed there."""
    kills: int
    """Kills."""
    lost: tuple[str, ...]
    """Files that are missing, or not those of a study that was never killed."""
    repeated: int
    """Finished runs, pieces or saved steps that were made again."""
    in_hand: int
    """Pieces that were begun again because a kill hit them."""
    left: tuple[str, ...]
    """Files that a study which was never killed does not leave, and processes that outlive it."""
    seconds: float
    """Of all of it."""

    def line(self) -> dict[str, object]:
        """As the ledger has it."""
        return {**asdict(self), "seconds": round(self.seconds, 1)}
