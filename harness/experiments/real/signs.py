"""Which statistics of the prior order the gains over NLL on the real model as they do on the ladder."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from advisor.advice.features import CONFOUNDED, PRIOR, features
from harness.experiments.real.between import AMONG, HEATS
from harness.experiments.real.found import DRAWS, FoundCell, rank_correlations
from harness.experiments.replay.cells import RunKey, later
from harness.records.arm import NLL

LEANING: tuple[RunKey, ...] = (("p_pow(0.5)", "high"), ("neg_p", "low"))
"""Runs that lean on the prior, a little and wholly."""
USUAL: RunKey = (NLL, "high")
"""What their gain is over."""
STATISTICS = tuple(name for name in PRIOR if name not in CONFOUNDED)
FEWEST = 5
"""Cells below which no correlation is told."""
Correlation = tuple[float, float, float]
"""Rank correlation and its 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class Sign:
    """A statistic and a gain, on both kinds of cells."""

    statistic: str
    """Name in `advisor.advice.features`."""
    run: RunKey
    """Whose gain over NLL at the high rate."""
    heat: float
    """Temperature of the answers."""
    ladder: Correlation
    """Over the ladder's cells."""
    real: Correlation
    """Over the real ones."""


def signs(cells: Sequence[FoundCell], results: Path) -> list[Sign]:
    """Every statistic with every gain; none where there are few real cells.

    Args:
        cells: whole real cells.
        results: folder with the records of the ladder.
    """
    if len(cells) < FEWEST:
        return []
    priors = [features(one.measured.prior if one.measured else None) for one in cells]
    found = []
    for heat, run in itertools.product(HEATS, LEANING):
        known = later(results, AMONG, heat)
        on_ladder = [one.test[run] - one.test[USUAL] for one in known]
        on_real = [one.test[run] - one.test[USUAL] for one in (cell.scores(heat) for cell in cells)]
        for name in STATISTICS:
            ladder = correlation([one.features for one in known], on_ladder, name)
            real = correlation(priors, on_real, name)
            if ladder is not None and real is not None:
                found.append(Sign(statistic=name, run=run, heat=heat, ladder=ladder, real=real))
    return found


def correlation(
    known: Sequence[Mapping[str, float]], gains: Sequence[float], name: str, *, seed: int = 0
) -> Correlation | None:
    """Rank correlation of a statistic with a gain, over the cells that have the statistic.

    Args:
        known: of each cell, features by name.
        gains: of each cell, points.
        name: of the feature.
        seed: of the bootstrap.

    Returns:
        None where the cells are few, or the feature or the gain is the same on all of them.
    """
    pairs = np.array(
        [(one[name], gain) for one, gain in zip(known, gains, strict=True) if name in one]
    )
    if len(pairs) < FEWEST or (np.ptp(pairs, axis=0) == 0).any():
        return None
    drawn = np.random.default_rng(seed).integers(len(pairs), size=(DRAWS, len(pairs)))
    draws = rank_correlations(pairs[drawn])
    low, high = np.quantile(draws[~np.isnan(draws)], [0.025, 0.975])
    return float(rank_correlations(pairs[None])[0]), float(low), float(high)
