"""What is believed of a pair's arms before any of them is scored, learnt from the records of whole curves.

`learnt_belief.json`, which `harness.experiments.race` writes, holds one belief for each way of decoding: its
mean goes by how accurate the untouched model is and by mean p, its covariance is that of the residuals over
cells. Of models that are not of the measured sizes no arm is preferred: their arms differ as published gains
do. Pure, and free of torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from advisor.advice.belief import Array, Belief, angle_of
from advisor.advice.learning_rates import Word
from advisor.advice.mixture import Mixture
from advisor.advice.replayed import FACTOR, Decoding
from advisor.errors import InputError
from advisor.files import publish, read_json

SCHEMA = 1
SHIPPED = Path(__file__).with_name("learnt_belief.json")
Racer = tuple[str, Word]
"""Label of an objective and the word for its learning rate."""
ARRAYS = ("centre", "coefficients", "covariance", "leverage")
DOUBT = 0.2
"""How likely it is, before any score, that the records are no guide to which arm is best of a pair."""


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """A belief over arms and shares of the steps, by what is known of a pair."""

    centre: Array
    """[features] subtracted from what is known."""
    coefficients: Array
    """[features, arms * shares] of the mean."""
    covariance: Array
    """[arms * shares, arms * shares] of what the mean does not say."""
    leverage: Array
    """[features, features] inverse of the design's squares: how unsure the mean is."""
    widened: float = 1.0
    """Factor of the covariance with which intervals cover on cells that were left out."""

    def belief(self, known: Array, shares: int) -> Belief:
        """What is believed of a pair.

        Args:
            known: as `known_of` gives it.
            shares: of the steps, at which arms are scored.
        """
        from_centre = known - self.centre
        unsure = self.widened * (1 + float(from_centre @ self.leverage @ from_centre))
        mean = from_centre @ self.coefficients
        return Belief(mean=mean.reshape(-1, shares), covariance=unsure * self.covariance)

    def doubted(self, known: Array, shares: int) -> Mixture:
        """What is believed of a pair, allowing for records that are no guide to it; see `belief`."""
        beliefs = (self.belief(known, shares), self.undecided(shares).belief(known, shares))
        return Mixture(beliefs=beliefs, odds=(1 - DOUBT, DOUBT))

    def undecided(self, shares: int) -> Learnt:
        """The belief that no arm is preferred, with what arms differ by on average as further scatter.

        Args:
            shares: as of `belief`.
        """
        table = self.coefficients.reshape(len(self.centre), -1, shares)
        arms = table.shape[1]
        alike = np.broadcast_to(table.mean(axis=1, keepdims=True), table.shape)
        differ = table[0] - table[0].mean(axis=0)
        scatter = np.kron(np.eye(arms) - 1 / arms, differ.T @ differ / (arms - 1))
        flat = alike.reshape(self.coefficients.shape)
        return replace(self, coefficients=flat, covariance=self.covariance + scatter)

    def elsewhere(self, shares: int, scatter: float) -> Learnt:
        """The belief about models of other sizes: no arm is preferred.

        Args:
            shares: as of `belief`.
            scatter: variance of published gains, angles squared.
        """
        table = self.coefficients.reshape(len(self.centre), -1, shares)
        alike = np.broadcast_to(table.mean(axis=1, keepdims=True), table.shape)
        arms = table.shape[1]
        blocks = self.covariance.reshape(arms, shares, arms, shares)
        own = np.einsum("akal->kl", blocks) / arms
        common = (blocks.sum(axis=(0, 2)) - arms * own) / (arms * (arms - 1))
        apart = (own - common) * scatter / 2 / (own - common)[-1, -1]
        covariance = np.kron(np.ones((arms, arms)), common) + np.kron(np.eye(arms), apart)
        flat = alike.reshape(self.coefficients.shape)
        return replace(self, coefficients=flat, covariance=covariance)


@dataclass(frozen=True, kw_only=True)
class LearntBeliefs:
    """What is shipped."""

    records: str
    """SHA-256 of the records that it was learnt from."""
    racers: tuple[Racer, ...]
    """Every arm, in order."""
    at: tuple[float, ...]
    """Shares of the steps at which arms are scored; the last is 1."""
    cells: int
    """That it rests on."""
    sizes: tuple[float, float]
    """Parameters of the smallest and the largest model."""
    scatter: float
    """Variance of the gains of -p over NLL where they were published, angles squared."""
    by_decoding: Mapping[Decoding, Learnt]
    """For each way of decoding."""

    def belief(
        self,
        decoding: Decoding,
        *,
        accuracy: float,
        mean_p: float,
        parameters: float,
    ) -> Belief | Mixture:
        """What is believed of a pair.

        Args:
            decoding: how the model is used.
            accuracy: share of the development documents that the untouched model answers rightly.
            mean_p: of the prior.
            parameters: of the model.
        """
        low, high = self.sizes
        learnt = self.by_decoding[decoding]
        if not low / FACTOR <= parameters <= high * FACTOR:
            learnt = learnt.elsewhere(len(self.at), self.scatter)
            return learnt.belief(known_of(accuracy, mean_p), len(self.at))
        return learnt.doubted(known_of(accuracy, mean_p), len(self.at))


def known_of(accuracy: float, mean_p: float) -> Array:
    """[features] a one, and the angles of the untouched model's accuracy and of mean p."""
    return np.array([1.0, *angle_of(np.array([accuracy, mean_p]))])


def write(beliefs: LearntBeliefs, path: Path) -> None:
    """Write beliefs as JSON.

    Raises:
        InputError: the file cannot be written.
    """
    content = {
        "schema": SCHEMA,
        **{name: getattr(beliefs, name) for name in ("records", "racers", "at", "cells", "sizes", "scatter")},
        "by_decoding": {how: _plain(learnt) for how, learnt in beliefs.by_decoding.items()},
    }  # fmt: skip
    text = json.dumps(content, indent=1) + "\n"
    publish(path, text.encode(), subject=str(path), remedy="give another path")


def _plain(learnt: Learnt) -> dict[str, Any]:
    found = {name: np.round(getattr(learnt, name), 5).tolist() for name in ARRAYS}
    return {**found, "widened": learnt.widened}


@cache
def shipped() -> LearntBeliefs:
    """Those that come with the package."""
    return read(SHIPPED)


def read(path: Path) -> LearntBeliefs:
    """Read beliefs.

    Raises:
        InputError: the file holds none.
    """
    try:
        found = read_json(path)
        if found.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        learnt = {
            how: Learnt(widened=one["widened"], **{name: np.array(one[name]) for name in ARRAYS})
            for how, one in found.pop("by_decoding").items()
        }
        racers = tuple((name, word) for name, word in found.pop("racers"))
        at, sizes = tuple(found.pop("at")), tuple(found.pop("sizes"))
        return LearntBeliefs(by_decoding=learnt, racers=racers, at=at, sizes=sizes, **found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: no learnt beliefs ({error}): install the package again"
        ) from error
