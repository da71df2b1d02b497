"""What is believed of a cell before any score: a mean by what is known of it, and a covariance.

Angles of scores, arms by shares of the steps, are taken as normal around a mean that is linear in what is
known. Not every cell has every score: the older studies have whole runs alone, and not of every arm. So mean
and covariance are fitted by expectation and maximisation over what is missing (Dempster, Laird and Rubin,
1977), counting noise taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from advisor.advice.belief import Array
from advisor.advice.learnt_belief import Learnt
from harness.experiments.race.curves import RACERS, STAGES

COMMON, APART = 1.0, 8.0
"""Penalties of the ridge, in cells: of what all arms have in common, and of what sets an arm apart."""
SHRUNK = 12.0
"""Cells that the target of the covariance weighs."""
FLOOR = 1e-4
"""Smallest eigenvalue of a covariance, angles squared."""
ROUNDS = 40


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What a cell says: its scores as angles, NaN where there are none."""

    size: str
    """Of its model."""
    skill: str
    """Of its demonstrations."""
    seed: int
    """Of its pretraining text."""
    known: Array
    """[features] as `known_of` gives them."""
    angles: Array
    """[arms * shares]."""
    noise: Array
    """[arms * shares] variance that counting adds."""


def fit_belief(cells: Sequence[Scored]) -> Learnt:
    """What cells say of others."""
    known = np.stack([cell.known for cell in cells])
    centre = known.mean(axis=0) * np.array([0.0, *[1.0] * (known.shape[1] - 1)])
    design = known - centre
    size = len(RACERS) * len(STAGES)
    angles = np.stack([cell.angles for cell in cells])
    coefficients = np.zeros((design.shape[1], size))
    coefficients[0] = np.nanmean(angles)
    covariance = 0.2 * np.eye(size) + 0.1
    alike = _alike(cells)
    for _ in range(ROUNDS):
        values, spread = design @ coefficients, np.zeros((size, size))
        for rows, noise in alike:
            values[rows], unsure = _filled(angles[rows], values[rows], covariance, noise)
            spread += len(rows) * unsure
        coefficients = _ridge(design, values)
        residuals = values - design @ coefficients
        found = (residuals.T @ residuals + spread) / len(cells)
        covariance = _proper(
            (len(cells) * found + SHRUNK * _factored(found)) / (len(cells) + SHRUNK)
        )
    inverse = np.linalg.inv(design.T @ design + _penalty(design.shape[1], COMMON))
    return Learnt(centre=centre, coefficients=coefficients, covariance=covariance, leverage=inverse)


def _alike(cells: Sequence[Scored]) -> list[tuple[list[int], Array]]:
    """Numbers of the cells that have the same scores on as many documents, and the noise of these."""
    found: dict[bytes, list[int]] = {}
    for number, cell in enumerate(cells):
        key = np.where(np.isnan(cell.angles), np.nan, cell.noise).tobytes()
        found.setdefault(key, []).append(number)
    return [(rows, cells[rows[0]].noise) for rows in found.values()]


def _filled(angles: Array, mean: Array, covariance: Array, noise: Array) -> tuple[Array, Array]:
    """[cells, scores] all angles as expected from those that are there, and how unsure they are."""
    there = np.flatnonzero(~np.isnan(angles[0]))
    cross = covariance[:, there]
    gain = np.linalg.solve(cross[there] + np.diag(noise[there]), cross.T).T
    return mean + (angles[:, there] - mean[:, there]) @ gain.T, covariance - gain @ cross.T


def _penalty(features: int, weight: float) -> Array:
    found: Array = weight * np.diag([1e-6, *[1.0] * (features - 1)])
    return found


def _ridge(design: Array, values: Array) -> Array:
    """[features, arms * shares] of what arms have in common at a share, and of what sets each apart."""
    table = values.reshape(len(values), len(RACERS), len(STAGES))
    middle = table.mean(axis=1)
    features = design.shape[1]
    gram = design.T @ design
    common = np.linalg.solve(gram + _penalty(features, COMMON), design.T @ middle)
    rest = (table - middle[:, None]).reshape(len(values), -1)
    own = np.linalg.solve(gram + _penalty(features, APART), design.T @ rest)
    return (common[:, None] + own.reshape(features, len(RACERS), len(STAGES))).reshape(features, -1)


def _factored(covariance: Array) -> Array:
    """The nearest product of a covariance over arms and one over shares (Van Loan and Pitsianis, 1993)."""
    number, stages = len(RACERS), len(STAGES)
    blocks = covariance.reshape(number, stages, number, stages)
    rearranged = blocks.transpose(0, 2, 1, 3).reshape(number**2, stages**2)
    left, values, right = np.linalg.svd(rearranged, full_matrices=False)
    arms, shares = left[:, 0].reshape(number, number), right[0].reshape(stages, stages)
    product: Array = values[0] * np.kron(arms, shares)
    rest = np.diag(covariance - product).clip(0)
    return product + np.diag(rest)


def _proper(matrix: Array) -> Array:
    """Symmetric, with eigenvalues of at least `FLOOR`."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    found: Array = (vectors * values.clip(FLOOR)) @ vectors.T
    return found
