"""What a metric of lm-eval means for one document: its value, its unit, its name less the filter.

Pure, and the only place that knows which metrics lm-eval logs as log-likelihoods. Their corpus-wide figures
(perplexities) are no means over documents; the logarithms of these are, so that is what a document scores.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

from advisor.errors import printable

SHARE, POINTS = "share", "points"
"""Unit of scores between 0 and 1, and of what is shown of them."""
NO_FILTER = "none"
"""lm-eval's name of the filter that does nothing."""
LIKELIHOODS: Mapping[str, str] = {
    "perplexity": "nats",
    "word_perplexity": "nats per word",
    "byte_perplexity": "nats per byte",
    "bits_per_byte": "bits per byte",
}
"""Unit of a document's value by metric: minus its log-likelihood, per word or byte; lower is better."""
COPY = re.compile(r"#\d+$")
"""End of the ids of a document's second and later copies in records before they were one document."""

Rows = tuple[tuple[float, ...], ...]
"""[documents][repeats]."""


def split_name(name: str) -> tuple[str, str | None]:
    """Metric and filter of lm-eval's "exact_match,strict-match"; its filter "none" is None."""
    metric, comma, chosen = name.rpartition(",")
    return (metric, None if chosen == NO_FILTER else chosen) if comma else (name, None)


def document_value(metric: str, logged: Any) -> float | None:
    """A document's value of what lm-eval logs for it; None where that is no number of its own.

    A likelihood is logged as (log-likelihood, words or bytes), for `perplexity` as the log-likelihood alone;
    a single positive number is a perplexity, or bits, that the task has worked out itself. NaN is passed on.
    """
    if isinstance(logged, Sequence) and not isinstance(logged, str):
        if metric not in LIKELIHOODS or len(logged) != 2 or not all(map(_is_number, logged)):
            return None
        total, size = map(float, logged)
        return _per_unit(metric, total / size) if size else None
    if not _is_number(logged):
        return None
    if metric == "perplexity" and logged <= 0:
        return _per_unit(metric, float(logged))
    if metric.endswith("perplexity") and metric in LIKELIHOODS:
        return None if logged <= 0 else math.log(logged)
    return float(logged)


def _per_unit(metric: str, log_likelihood: float) -> float:
    """What is lost per word or byte, in nats or bits; 0.0 rather than -0.0."""
    return -log_likelihood / (math.log(2) if metric == "bits_per_byte" else 1.0) + 0.0


def _is_number(value: Any) -> bool:
    """Whether a value is a single number, of Python or numpy."""
    import numpy as np  # here, so that a folder of records is looked at without it

    return isinstance(value, Real | np.bool_)


def unit_of(metric: str, higher_is_better: bool, values: Iterable[float]) -> str:
    """The unit of a metric's values, by its name and by what they are.

    Between 0 and 1 they are shares, but for values in between where lower is better: those are distances,
    losses or errors, for which a point has no meaning. What is no share has the metric's own unit.
    """
    if metric in LIKELIHOODS:
        return LIKELIHOODS[metric]
    found = set(values)
    within = all(0 <= x <= 1 for x in found)
    return SHARE if within and (higher_is_better or found <= {0.0, 1.0}) else printable(metric)


def in_unit(value: float, unit: str, *, sign: bool = False) -> str:
    """A score or a difference for people: points to a tenth, anything else to a few significant digits."""
    if unit == POINTS:
        return f"{value:{'+' if sign else ''}.1f}"
    if abs(value) >= 1e4:
        return f"{value:{'+' if sign else ''},.0f}"
    return f"{value:+.3g}" if sign else f"{value:.4g}"


def one_each(
    documents: Sequence[str], values: Sequence[Sequence[float]]
) -> tuple[tuple[str, ...], Rows]:
    """Every document once, with the means over its copies, repeat by repeat; order of first occurrence.

    Args:
        documents: ids; copies have the same, or one that differs in a number at the end (`COPY`).
        values: [documents][repeats].
    """
    copies: dict[str, list[Sequence[float]]] = {}
    for name, row in zip(documents, values, strict=True):
        copies.setdefault(COPY.sub("", name), []).append(row)
    return tuple(copies), tuple(
        tuple(math.fsum(column) / len(rows) for column in zip(*rows, strict=True))
        for rows in copies.values()
    )


def from_first_records(metric: str, rows: Rows) -> tuple[Rows, bool, str]:
    """Values, direction and unit of a score from before records said them.

    Then only metrics of which more is better were recorded, and likelihoods as nats per byte, negative.
    """
    if metric in ("bits_per_byte", "byte_perplexity"):
        rows = tuple(tuple(_per_unit(metric, x) for x in row) for row in rows)
        return rows, False, LIKELIHOODS[metric]
    return rows, True, unit_of(metric, True, (x for row in rows for x in row))
