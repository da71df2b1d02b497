"""Scores of two or more arms drawn from known distributions."""

from collections.abc import Iterator

import numpy as np
from scipy import stats

from harness.statistics.paired import Difference, paired_difference

Pair = tuple[np.ndarray, np.ndarray]


def continuous(
    rng: np.random.Generator,
    count: int,
    seeds: int,
    documents: int,
    seed_sd: float,
    mean: float = 0.0,
) -> Iterator[Pair]:
    """Pairs whose difference has sd .5 between documents, `seed_sd` between seeds, .4 beyond."""
    for _ in range(count):
        d = mean + rng.normal(0, 0.5, documents) + rng.normal(0, seed_sd, (seeds, 1))
        yield d + rng.normal(0, 0.4, (seeds, documents)), np.zeros(documents)


def binary(
    rng: np.random.Generator,
    count: int,
    seeds: int,
    documents: int,
    seed_sd: float,
    levels: tuple[float, float],
) -> tuple[Iterator[Pair], float]:
    """0/1 pairs that share the documents' difficulty (a probit model), and the true difference."""
    total = np.sqrt(2 + seed_sd**2)

    def draw() -> Iterator[Pair]:
        for _ in range(count):
            difficulty = rng.normal(size=documents)
            a, b = (
                level
                + difficulty
                + rng.normal(0, seed_sd, (seeds, 1))
                + rng.normal(size=(seeds, documents))
                > 0
                for level in levels
            )
            yield a, b

    return draw(), float(np.diff(stats.norm.cdf(np.array(levels) / total))[0] * -1)


def covered(differences: list[Difference], truth: float) -> float:
    return float(np.mean([d.interval[0] <= truth <= d.interval[1] for d in differences]))


def differences(pairs: Iterator[Pair]) -> list[Difference]:
    return [paired_difference(a, b) for a, b in pairs]


def studies(
    rng: np.random.Generator, count: int, seeds: int, seed_sd: float
) -> Iterator[dict[str, np.ndarray]]:
    """Five arms without a difference, on shared documents; `seed_sd` is that of a paired mean."""
    for _ in range(count):
        own = rng.normal(0, 0.3, (5, 1, 80)) + rng.normal(0, seed_sd / 2**0.5, (5, seeds, 1))
        yield dict(zip("abcde", own + rng.normal(0, 0.2, (5, seeds, 80)), strict=True))
