"""How long answers may be, and which prompts leave room for them in the model's context."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from advisor.errors import InputError

logger = logging.getLogger(__name__)

T = TypeVar("T")


def answer_length(
    prompts: Sequence[int], wanted: int | None, context: int | None, where: str
) -> int | None:
    """Tokens of the longest answer: those wanted, where half of the prompts leave room for them.

    Else those that all but the longest twentieth leave, which is said.

    Args:
        prompts: their lengths in tokens, one or more.
        wanted: None: as many as there is room for.
        context: tokens; None: it has no end.
        where: the data, for a refusal.

    Raises:
        InputError: prompts that are as long as the context.
    """
    if context is None:
        return wanted
    lengths = sorted(prompts)
    if wanted is not None and 2 * sum(n + wanted <= context for n in lengths) >= len(lengths):
        return wanted
    longest = lengths[-(-19 * len(lengths) // 20) - 1]
    if longest >= context:
        raise InputError(
            f"{where}: a prompt of {longest} tokens leaves no room in a context of {context}"
        )
    logger.warning("max_completion_length is %d: more does not fit the context", context - longest)
    return context - longest


def with_room(
    rows: Sequence[T],
    length_of: Callable[[T], int],
    answer: int | None,
    context: int | None,
    where: str,
) -> list[T]:
    """The rows whose prompts leave room for the longest answer; of the others it is said how many there are.

    Args:
        rows: one or more.
        length_of: tokens of a row's prompt.
        answer: tokens of the longest answer; None: no row is left out.
        context: tokens; None: it has no end.
        where: the data, for what is said.

    Raises:
        InputError: no row leaves that room.
    """
    if context is None or answer is None:
        return list(rows)
    kept = [row for row in rows if length_of(row) + answer <= context]
    if not kept:
        room = context - min(map(length_of, rows))
        mend = f"give --max_completion_length {room}" if room > 0 else "take shorter ones"
        raise InputError(
            f"{where}: no prompt leaves the {answer} tokens of the longest answer in a context of "
            f"{context}; the shortest leaves {max(0, room)}: {mend}"
        )
    if len(kept) < len(rows):
        logger.warning(
            "%s: %d of %d prompts are left out: with answers of up to %d tokens they do not fit a context "
            "of %d (max_completion_length)",
            where, len(rows) - len(kept), len(rows), answer, context,
        )  # fmt: skip
    return kept
