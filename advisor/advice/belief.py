"""What is believed of arms' scores while they train: a joint normal over the angles of scores.

Pure, and free of torch. A score is the share s of documents that a run answers rightly after some share of
its optimiser steps, its angle arcsin(sqrt(s)): counting n documents then adds a variance of 1 / 4n whatever
the score (Anscombe, Biometrika 35, 1948), and no score is believed beyond what a score can be. What is known
before is a mean and a covariance over arms and shares of the steps; what was scored conditions them, as in
freeze-thaw Bayesian optimisation (Swersky, Snoek and Adams, arXiv:1406.3896). What the next score is worth is
the knowledge gradient (Frazier, Powell and Dayanik, INFORMS Journal on Computing 21, 2009): by how much it is
expected to better the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]
POINTS = 100.0
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
"""Of a standard normal: a mean over it is `WEIGHTS @ f(NODES)`."""
DRAWS = 4000
"""Of the belief, where there is no closed form."""


@dataclass(frozen=True, kw_only=True)
class Belief:
    """A joint normal over the angles of every arm's score at every share of its steps."""

    mean: Array
    """[arms, shares] angles; the last share is a whole run."""
    covariance: Array
    """[arms * shares, arms * shares], arm by arm."""

    @property
    def shape(self) -> tuple[int, int]:
        """Arms and shares."""
        arms, shares = self.mean.shape
        return arms, shares

    def place(self, arm: int, share: int) -> int:
        """Where a score stands in the covariance."""
        return arm * self.shape[1] + share

    def given(self, places: Sequence[int], angles: Array, noise: Array) -> Belief:
        """The belief after some scores.

        Args:
            places: of the scores, see `place`.
            angles: [scores] as `observed` gives them.
            noise: [scores, scores] covariance of what counting adds.
        """
        if not len(places):
            return self
        cross = self.covariance[:, list(places)]
        gain = np.linalg.solve(cross[list(places)] + noise, cross.T).T
        mean = self.mean.ravel() + gain @ (angles - self.mean.ravel()[list(places)])
        covariance = self.covariance - gain @ cross.T
        return Belief(
            mean=mean.reshape(self.mean.shape), covariance=(covariance + covariance.T) / 2
        )

    def finals(self) -> tuple[Array, Array]:
        """[arms] mean and [arms, arms] covariance of the angles of whole runs."""
        last = np.arange(self.shape[0]) * self.shape[1] + self.shape[1] - 1
        return self.mean[:, -1], self.covariance[np.ix_(last, last)]

    def points(self) -> Array:
        """[arms] expected points of whole runs."""
        mean, covariance = self.finals()
        return expected_points(mean, np.diag(covariance))

    def interval(self, level: float = 0.9) -> Array:
        """[arms, 2] points between which a whole run is believed to score."""
        mean, covariance = self.finals()
        low, high = (1 - level) / 2, (1 + level) / 2
        spread = np.sqrt(np.diag(covariance).clip(0))
        return points_at(mean[:, None] + spread[:, None] * ndtri([low, high]))

    def regret_of(self, arm: int) -> float:
        """Points by which an arm is expected to stay below the best whole run."""
        draws = self._draws()
        return float((draws.max(axis=1) - draws[:, arm]).mean())

    def chance_below(self, arm: int, points: float) -> float:
        """Chance that an arm stays more than so many points below the best whole run."""
        draws = self._draws()
        return float((draws.max(axis=1) - draws[:, arm] > points).mean())

    def _draws(self) -> Array:
        """[draws, arms] points of whole runs, from the same normals whatever the belief."""
        mean, covariance = self.finals()
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(values.clip(0))
        normals = np.random.default_rng(0).standard_normal((DRAWS, len(mean)))
        return points_at(mean + normals @ root.T)


def angle_of(share: Array) -> Array:
    """The angle of a share, between 0 and pi / 2."""
    found: Array = np.arcsin(np.sqrt(np.clip(share, 0, 1)))
    return found


def points_at(angle: Array) -> Array:
    """The points of an angle; one beyond the ends counts as the end."""
    found: Array = POINTS * np.sin(np.clip(angle, 0, np.pi / 2)) ** 2
    return found


def expected_points(mean: Array, variance: Array) -> Array:
    """Points expected where an angle is normal; `mean` and `variance` of any one shape."""
    spread = np.sqrt(np.clip(variance, 0, None))
    found: Array = points_at(mean[..., None] + spread[..., None] * NODES) @ WEIGHTS
    return found


def observed(right: Array) -> tuple[Array, Array]:
    """Scores of the same documents as angles, and the covariance that counting adds to them.

    Scores of the same documents err together, which makes their differences surer than each of them.

    Args:
        right: [scores, documents] share of a document's answers that are right.

    Returns:
        [scores] angles and [scores, scores] covariance, by the delta method; half a document is added to what
        is right and to what is wrong, so that no score is said to be sure.
    """
    documents = right.shape[1]
    share = (right.sum(axis=1) + 0.5) / (documents + 1)
    slope = 2 * np.sqrt(share * (1 - share))
    covariance = np.cov(right, ddof=0).reshape(len(right), len(right)) * documents
    # The half document is one of its own: it keeps the covariance of equal answers from being none at all.
    covariance = (covariance + np.diag(share * (1 - share))) / (documents + 1) ** 2
    return angle_of(share), covariance / np.outer(slope, slope)


def counting_noise(documents: int) -> float:
    """Variance of the angle of a score that is yet to be counted on so many documents."""
    return 1 / (4 * documents)


def worth(belief: Belief, place: int, noise: float, prices: Array, prices_then: Array) -> float:
    """Points by which a score is expected to better what is chosen, prices included.

    Args:
        belief: now.
        place: of the score.
        noise: variance that counting adds to it.
        prices: [arms] points that finishing each arm costs now.
        prices_then: likewise once the score is had.
    """
    mean, covariance = belief.finals()
    last = np.arange(belief.shape[0]) * belief.shape[1] + belief.shape[1] - 1
    cross = belief.covariance[last, place]
    whole = belief.covariance[place, place] + noise
    left = np.diag(covariance) - cross**2 / whole
    moved = mean + np.outer(NODES, cross / np.sqrt(whole))
    then = expected_points(moved, np.broadcast_to(left, moved.shape)) - prices_then
    now = expected_points(mean, np.diag(covariance)) - prices
    return float(WEIGHTS @ then.max(axis=1) - now.max())
