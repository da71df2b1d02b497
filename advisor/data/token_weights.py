"""Weights of characters to weights of tokens.

A token weighs the mean over its characters that are no white space, over all of them where it is white space
alone: so a border beside a space never splits a token that takes the space with it, and one that reaches
across the border of a stretch lies between both weights, in the proportion of its letters. A token of which
every such character weighs 0 is no target, one of which a part does is, as with the borders of targets.
"""

from collections.abc import Sequence

import numpy as np

from advisor.chat.template import Marked
from advisor.errors import InputError

Offsets = Sequence[tuple[int, int]]
"""Of every token its first character and the one after its last."""


def token_weights(row: Marked, offsets: Offsets) -> list[float]:
    """The weight of every token of a row.

    Args:
        row: Its text, with factors on the weights of characters.
        offsets: Of its tokens, in order.
    """
    weights = np.ones(max(len(row.text), 1))
    for start, stop, factor in row.weights:
        weights[start:stop] *= factor
    changes = np.concatenate(([0], (np.diff(weights) != 0).cumsum()))
    found = []
    for start, stop in offsets:
        first = min(start, len(weights) - 1)
        last = max(first, min(stop, len(weights)) - 1)
        mixed = changes[first] != changes[last]
        found.append(_mean(row.text, weights, first, last + 1) if mixed else float(weights[first]))
    return found


def _mean(
    text: str, weights: "np.ndarray[tuple[int], np.dtype[np.float64]]", start: int, stop: int
) -> float:
    seen = [i for i in range(start, stop) if not text[i].isspace()] or range(start, stop)
    values = weights[list(seen)]
    return float(values[0] if (values == values[0]).all() else values.mean())


def require_offsets(row: Marked, *, fast: bool) -> None:
    """Refuse weights that differ within a row where the tokenizer does not tell which characters a token has.

    Raises:
        InputError: says how to mend it.
    """
    parts = [(start, stop) for start, stop, factor in row.weights if factor != 1]
    if not fast and any((start, stop) != (0, len(row.text)) for start, stop in parts):
        raise InputError(
            "weights of turns and spans need to know the characters of each token, which this slow tokenizer "
            "does not tell: give MODEL a fast one (tokenizer.json), or weigh whole rows"
        )
