"""The tables of `docs/afterwards.md`: starts before and after GRPO, and coverage lost and gained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.experiments.afterwards.outcomes import Outcome
from harness.experiments.afterwards.plan import STARTS, TAIL
from harness.records.arm import BASE, NLL
from harness.statistics.paired import Difference, paired_difference
from harness.statistics.pass_at_k import LARGE_K, Coverage, coverage, pass_at_k

KS = (1, LARGE_K)
FEWEST = 10
"""Problems with .05 < pass@16 < .95 below which a cell's rho_16 says nothing."""
ORDER = (BASE, *(objective for objective, _ in STARTS))
Rows = tuple[Sequence[str], list[tuple[str, ...]]]
"""Heads of the columns, and rows of texts."""
Array = NDArray[np.float64]


def continued(outcomes: Sequence[Outcome]) -> dict[str, dict[str, list[Outcome]]]:
    """Cell -> objective -> what came of its seeds, in order; of starts that were continued."""
    found: dict[str, dict[str, list[Outcome]]] = {}
    for outcome in sorted(outcomes, key=lambda one: (ORDER.index(one.objective), one.seed)):
        if outcome.after:
            found.setdefault(outcome.cell, {}).setdefault(outcome.objective, []).append(outcome)
    return found


def points(runs: Sequence[Outcome], when: str, k: int) -> Array:
    """[seeds, problems] pass@k, points."""
    return np.array([100 * pass_at_k(run.values(when), k) for run in runs])


def starts_table(outcomes: Sequence[Outcome]) -> Rows:
    """Every start before and after GRPO, with what changed."""
    rows = []
    for cell, starts in continued(outcomes).items():
        for objective, runs in starts.items():
            cells = [f"`{cell}`", f"`{objective}`", str(len(runs))]
            for k in KS:
                before, after = (points(runs, when, k) for when in ("before", "after"))
                change = paired_difference(after, before)
                cells += [f"{before.mean():.1f}", f"{after.mean():.1f}", _interval(change)]
            rows.append(tuple(cells))
    heads = (head for k in KS for head in (f"pass@{k}", "after", "change"))
    return ("cell", "start", "seeds", *heads), rows


def against_table(outcomes: Sequence[Outcome]) -> Rows:
    """After GRPO, and before it, every start less that of NLL, on the seeds that both have."""
    rows = []
    for cell, starts in continued(outcomes).items():
        for objective in (name for name in starts if name != NLL and NLL in starts):
            cells = [f"`{cell}`", f"`{objective}`"]
            for k in KS:
                for when in ("before", "after"):
                    one, other = _common(starts[objective], starts[NLL])
                    found = paired_difference(points(one, when, k), points(other, when, k))
                    cells.append(_interval(found))
            rows.append(tuple(cells))
    heads = (head for k in KS for head in (f"pass@{k} before", "after"))
    return ("cell", "start less `nll`", *heads), rows


@dataclass(frozen=True, kw_only=True)
class Narrowed:
    """A cell on which plain fine-tuning and TailSFT were sampled."""

    cell: str
    base: float
    """pass@16, points, like the next two."""
    nll: float
    tail: float
    coverage: Coverage
    """Of plain fine-tuning."""
    gain: Difference
    """TailSFT's pass@16 less plain fine-tuning's, points."""

    @property
    def ratio(self) -> float | None:
        """rho_16; None where nothing is gained, or too few problems tell."""
        return self.coverage.ratio if self.coverage.items >= FEWEST else None


def narrowed(outcomes: Sequence[Outcome]) -> list[Narrowed]:
    """The cells that have all three; of several seeds the first."""
    found: dict[str, dict[str, Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda one: one.seed, reverse=True):
        found.setdefault(outcome.cell, {})[outcome.objective] = outcome
    cells = []
    for cell, runs in found.items():
        if not {BASE, NLL, TAIL} <= runs.keys():
            continue
        base, nll, tail = (points([runs[name]], "before", LARGE_K) for name in (BASE, NLL, TAIL))
        cells.append(
            Narrowed(
                cell=cell,
                base=float(base.mean()),
                nll=float(nll.mean()),
                tail=float(tail.mean()),
                coverage=coverage(runs[BASE].values("before"), runs[NLL].values("before")),
                gain=paired_difference(tail, nll),
            )
        )
    return sorted(cells, key=lambda one: -(one.ratio or 0.0))


def coverage_table(outcomes: Sequence[Outcome]) -> Rows:
    """rho_16 of every cell and what TailSFT gains there, the largest ratio first."""
    rows: list[tuple[str, ...]] = [
        (
            f"`{one.cell}`", f"{one.base:.1f}", f"{one.nll:.1f}", f"{one.tail:.1f}",
            str(one.coverage.items), f"{100 * one.coverage.lost:.1f}", f"{100 * one.coverage.gained:.1f}",
            "" if one.ratio is None else f"{one.ratio:.2f}", _interval(one.gain),
        )
        for one in narrowed(outcomes)
    ]  # fmt: skip
    heads = (
        "cell", "base", "`nll`", "`tailsft`", "problems between", "lost", "gained", "rho_16",
        "`tailsft` less `nll`",
    )  # fmt: skip
    return heads, rows


def verdict_table(outcomes: Sequence[Outcome]) -> Rows:
    """On how many cells TailSFT has the higher pass@16, by what rho_16 says."""
    rows: list[tuple[str, ...]] = []
    for name, fits in (
        ("above 1", lambda ratio: ratio is not None and ratio > 1),
        ("up to 1", lambda ratio: ratio is not None and ratio <= 1),
        (f"none, or of fewer than {FEWEST} problems", lambda ratio: ratio is None),
    ):
        cells = [one for one in narrowed(outcomes) if fits(one.ratio)]
        gains = [one.gain for one in cells]
        rows.append(
            (
                name, str(len(cells)), str(sum(gain.estimate > 0 for gain in gains)),
                str(sum(gain.interval[0] > 0 for gain in gains)),
                str(sum(gain.interval[1] < 0 for gain in gains)),
            )
        )  # fmt: skip
    heads = ("rho_16", "cells", "`tailsft` higher", "resolved higher", "resolved lower")
    return heads, rows


def afterwards_tables(outcomes: Sequence[Outcome]) -> Mapping[str, Rows]:
    """All of them, by name."""
    return {
        "afterwards": starts_table(outcomes),
        "afterwards-against": against_table(outcomes),
        "coverage": coverage_table(outcomes),
        "coverage-verdict": verdict_table(outcomes),
    }


def _common(
    one: Sequence[Outcome], other: Sequence[Outcome]
) -> tuple[list[Outcome], list[Outcome]]:
    """The runs of the seeds that both have."""
    seeds = {run.seed for run in one} & {run.seed for run in other}
    first, second = ([run for run in runs if run.seed in seeds] for runs in (one, other))
    return first, second


def _interval(found: Difference) -> str:
    estimate, low, high = (_signed(value) for value in (found.estimate, *found.interval))
    return f"{estimate} [{low}, {high}]"


def _signed(value: float) -> str:
    """With its sign, and no minus before a zero."""
    return f"{round(value, 1) + 0.0:+.1f}"
