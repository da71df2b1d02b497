"""What is said after the first rows of a rewriting, where all fail for one reason, and how it is mended.

A row takes a real model half a minute on a CPU: whoever waits for thousands learns at the fourth that none
will come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from harness.generate.provenance import FAILED, Outcome

SMALL = 4
"""Rows at a time, until it has been looked at twice as many."""
LOOKED_AT = (SMALL, 2 * SMALL)
"""Numbers of rows at which it is looked whether all fail for one reason."""
MENDS = {
    "marker_missing": "give --marker none, with which the built-in hint asks for the solution alone, or a "
    "--hint that ends by asking for the --marker on a line of its own",
    "repeated": "give a higher --temperature, or a shorter --hint",
    "unfinished": "give a higher --max_length or --max_new_tokens",
    "unmarked": "see that the --hint ends by asking for it, as the last line {ending} does; here it begins "
    "with {splitter}",
    "wrong": "the model may be too weak to follow the --hint: try another, or a stronger model",
    "too_long": "give a shorter --hint",
    "unverifiable": "see that --answer_regex finds the final answer of the demonstrations",
    "no_target": "see what `advisor validate` says of these rows",
}
"""By `Outcome.origin`."""


class FirstRows:
    """Looks at the first rows that have no right answer of the model's own, and speaks once of a reason."""

    def __init__(self, say: Callable[[str], None], splitter: str) -> None:
        self._say, self._splitter = say, splitter
        self._said: str | None = None

    def waits(self, outcomes: Iterable[Outcome]) -> bool:
        """Whether there are too few rows yet to look at."""
        return len(list(outcomes)) < LOOKED_AT[-1]

    def look(self, outcomes: Iterable[Outcome]) -> None:
        """Say what fails, where at least SMALL rows did, all of them for one reason."""
        left = [outcome.origin for outcome in outcomes if outcome.origin != "own"]
        reason = left[0] if left else ""
        few = len(left) < SMALL or len(left) > LOOKED_AT[-1] + SMALL
        if few or {*left} != {reason} or reason not in FAILED or reason == self._said:
            return
        self._said = reason
        mend = MENDS[reason].replace("{splitter}", self._splitter)
        self._say(
            f"All of the first {len(left)} rows without a right answer of the model's own fail for one "
            f"reason, {reason}: {FAILED[reason]}. To mend it, {mend}. The rewriting goes on; it can be "
            "stopped here."
        )
