"""pass@k of sampled answers, and what supervised fine-tuning does to the items that a model covers.

Arrays in, numbers out; an answer is worth 0 to 1, and where it is right or wrong, 1 or 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from advisor.errors import InputError

Array = NDArray[np.float64]

SAMPLES = 32
"""Answers sampled to an item, with which an item's pass@16 is more than 0 or 1."""
LARGE_K = 16
BETWEEN = (0.05, 0.95)
"""Bounds of the rates that leave something to win and something to lose (TailSFT, arXiv:2608.25756)."""


def pass_at_k(values: ArrayLike, k: int) -> Array:
    r"""[items] expected value of the best of k answers, without bias.

    $1 - \binom{n-c}{k} / \binom{n}{k}$ where c of an item's n answers are right. The mean over all choices of
    k of the n answers of the best among them: of sorted values $v_1 \le \dots \le v_n$ it is
    $\sum_i v_i \binom{i-1}{k-1} / \binom{n}{k}$, which is the same where answers are right or wrong.

    Args:
        values: [items, answers].
        k: answers that are drawn; at most as many as there are.

    Raises:
        InputError: fewer answers than k.

    Source: Chen et al. 2021, arXiv:2107.03374, Eq. 1.
    """
    table = np.sort(np.asarray(values, dtype=float), axis=1)
    n = table.shape[1]
    if not 1 <= k <= n:
        raise InputError(f"pass@{k} needs {k} answers to an item, not {n}")
    places = np.arange(k, n + 1)
    weights = np.exp(_log_choose(places - 1, k - 1) - _log_choose(np.array([n]), k))
    found: Array = table[:, k - 1 :] @ weights
    return found


def share_between(values: ArrayLike) -> float:
    """Share of items whose pass rate, the mean of an item's answers, lies within BETWEEN.

    Args:
        values: [items, answers].
    """
    rates = np.asarray(values, dtype=float).mean(axis=1)
    return float(_between(rates).mean())


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What a fine-tune loses and gains of the items that the untouched model covers now and then."""

    items: int
    """With .05 < pass@16 < .95 before."""
    lost: float
    """Summed fall of pass@16 over these items, as a share of them."""
    gained: float
    """Summed rise, likewise."""

    @property
    def ratio(self) -> float | None:
        """rho_16: lost over gained; None where nothing is gained, or there is no such item."""
        return self.lost / self.gained if self.gained > 0 else None


def coverage(before: ArrayLike, after: ArrayLike, k: int = LARGE_K) -> Coverage:
    """rho_16 of a plain fine-tune: above 1 it narrows what the model covers by more than it widens it.

    Published of it: where rho_16 > 1, TailSFT had the higher pass@16 in 10 of 11 settings of 7B parameters.
    Only a note of a third party on the paper was read: that lost and gained are sums over items of the fall
    and the rise of pass@16 is our reading. Two samplings of one model differ too, which alone makes it 1.

    Args:
        before: [items, answers] of the untouched model, more answers than k.
        after: [items, answers] of the fine-tune, the same items.
        k: 16.

    Source: TailSFT, arXiv:2608.25756.
    """
    was, now = pass_at_k(before, k), pass_at_k(after, k)
    change = (now - was)[_between(was)]
    items = max(1, len(change))
    return Coverage(
        items=len(change),
        lost=abs(float(change[change < 0].sum())) / items,
        gained=float(change[change > 0].sum()) / items,
    )


def _between(rates: Array) -> NDArray[np.bool_]:
    low, high = BETWEEN
    return (rates > low) & (rates < high)


def _log_choose(n: NDArray[np.int_], k: int) -> Array:
    """[...] log of n over k."""
    found: Array = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return found
