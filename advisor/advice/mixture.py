"""Several beliefs about the same scores, of which one holds: what is scored also says which.

Pure, and free of torch. A race whose prior prefers the wrong arms would never look at the right ones. So it
believes with some odds that the prior knows how arms go together but not which is best; scores that the prior
did not expect raise those odds (Bayesian model averaging: Hoeting et al., Statistical Science 14, 1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from advisor.advice.belief import Array, Belief


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Beliefs and how likely each is to hold."""

    beliefs: tuple[Belief, ...]
    """Over the same arms and shares."""
    odds: tuple[float, ...]
    """Of each, before any score; they sum to one."""

    def place(self, arm: int, share: int) -> int:
        """Where a score stands, see `Belief.place`."""
        return self.beliefs[0].place(arm, share)

    def given(self, places: Sequence[int], angles: Array, noise: Array) -> Belief:
        """The normal that has mean and covariance of the mixture after some scores, as of `Belief.given`."""
        odds = self.odds_given(places, angles, noise)
        after = [belief.given(places, angles, noise) for belief in self.beliefs]
        mean: Array = np.einsum("b,bak->ak", odds, np.stack([belief.mean for belief in after]))
        apart = np.stack([(belief.mean - mean).ravel() for belief in after])
        within = np.einsum("b,bij->ij", odds, np.stack([belief.covariance for belief in after]))
        return Belief(mean=mean, covariance=within + (apart.T * odds) @ apart)

    def odds_given(self, places: Sequence[int], angles: Array, noise: Array) -> Array:
        """[beliefs] how likely each is to hold after some scores (Bayes)."""
        logs = np.log(self.odds)
        if len(places):
            logs = logs + [_log_density(one, places, angles, noise) for one in self.beliefs]
        weights = np.exp(logs - logs.max())
        found: Array = weights / weights.sum()
        return found


def _log_density(belief: Belief, places: Sequence[int], angles: Array, noise: Array) -> float:
    """How well a belief expected some scores; constants that all beliefs share are left out."""
    there = list(places)
    covariance = belief.covariance[np.ix_(there, there)] + noise
    off = angles - belief.mean.ravel()[there]
    size = np.linalg.slogdet(covariance)[1]
    return float(-0.5 * (off @ np.linalg.solve(covariance, off) + size))
