"""The statistics of a prior as a table of words, for the screen and for the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advisor.prior.prior import Prior


def measured(prior: Prior) -> str:
    """On how much the statistics rest, and how long they took."""
    sample = f"{prior.target_tokens:,} target tokens of {prior.examples:,} examples"
    return f"Prior over {sample}, {prior.seconds:.1f} s"


def probability(p: float) -> str:
    """Three decimals, or the power of ten of a smaller one."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def statistics(prior: Prior) -> list[tuple[str, str, str]]:
    """Name, value and remark of each statistic."""
    low, high = prior.mean_p_interval
    per_cent = "{:.1%}".format
    return [
        (
            "mean p of a target token",
            f"{prior.mean_p:.3f}",
            f"95 % interval {low:.3f} to {high:.3f}",
        ),
        ("median p", f"{prior.median_p:.3f}", ""),
        (
            "p < 0.1: conflict",
            per_cent(prior.conflict_share),
            "the model is sure of something else",
        ),
        ("p < 0.1: ignorance", per_cent(prior.ignorance_share), "the model is unsure"),
        ("p of the turn's end", "-" if prior.p_eos is None else probability(prior.p_eos), ""),
        (
            "spread between examples",
            f"{prior.dispersion:.3f}",
            "standard deviation of their mean p",
        ),
        ("mean log p, entropy", f"{prior.mean_log_p:.2f}, {prior.entropy:.2f}", "nats"),
    ]
