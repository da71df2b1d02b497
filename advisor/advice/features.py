"""The statistics of a model and its data that the fit may read, each on a scale where a step means the same.

A shipped coefficient belongs to a name of this table, so what a name means must never change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

SMALLEST = 1e-4
"""Shares and probabilities are held away from 0 and 1 by this much."""


def logit(p: float) -> float:
    """Log-odds, held to +/- 9.2."""
    held = min(max(p, SMALLEST), 1 - SMALLEST)
    return math.log(held / (1 - held))


def expit(log_odds: float) -> float:
    """The inverse of `logit`."""
    return 1 / (1 + math.exp(-log_odds))


def _share(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda found: None if found.get(name) is None else logit(found[name])


def _plain(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda found: found.get(name)


PRIOR: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "mean_p": _share("mean_p"),
    "median_p": _share("median_p"),
    "geometric_mean_p": lambda found: logit(math.exp(found["mean_log_p"])),
    "share_p_below_0.1": _share("share_p_below_0.1"),
    "conflict_share": _share("conflict_share"),
    "ignorance_share": _share("ignorance_share"),
    "conflict_of_tail": lambda found: logit(
        found["conflict_share"] / max(found["conflict_share"] + found["ignorance_share"], SMALLEST)
    ),
    "entropy": _plain("entropy"),
    "top1": _share("top1"),
    "dispersion": _plain("dispersion"),
    "p_eos": _share("p_eos"),
    "cll": _plain("cll"),
    "log_examples": lambda found: math.log10(found["examples"]),
}
"""Of `Prior.to_dict()`."""
CONFOUNDED = ("log_examples",)
"""Measured, but not fitted: in the study skills that are new to a model mostly have more demonstrations."""
ANSWERED_AT = 1.0
"""Temperature at which the deep probe's answers are sampled, however the model will be decoded."""
DEEP: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "recovery": _plain("recovery"),
    "coherence": _plain("coherence"),
    "accuracy": lambda found: found["accuracy"] if found["temperature"] == ANSWERED_AT else None,
    "learned": lambda found: found["nll_before"] - found["nll_after"],
}
"""Of `Deep.to_dict()`."""


def features(
    prior: Mapping[str, Any] | None, deep: Mapping[str, Any] | None = None
) -> dict[str, float]:
    """The features that can be had; one that cannot is absent."""
    found: dict[str, float] = {}
    for table, source in ((PRIOR, prior), (DEEP, deep)):
        if source is None:
            continue
        for name, read in table.items():
            value = read(source) if _readable(name, source) else None
            if value is not None:
                found[name] = float(value)
    return found


def _readable(name: str, source: Mapping[str, Any]) -> bool:
    """Whether what a computed feature needs is there: published cells have the mean of p alone."""
    needs = {
        "geometric_mean_p": ("mean_log_p",),
        "conflict_of_tail": ("conflict_share", "ignorance_share"),
        "log_examples": ("examples",),
        "learned": ("nll_before", "nll_after"),
        "accuracy": ("accuracy", "temperature"),
    }.get(name, ())
    return all(source.get(need) is not None for need in needs)
