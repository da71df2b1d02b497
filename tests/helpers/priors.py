"""Priors with the numbers that a test asks for."""

from dataclasses import replace
from typing import Any

from advisor.prior.prior import Prior


def prior_of(mean_p: float, *, width: float = 0.01, **changes: Any) -> Prior:
    """A prior of a 7B base model with a tail of improbable tokens, as tight as asked."""
    model = {"name": "org/m-7B", "parameters": 7_000_000_000, "kind": "base"}
    fields = {
        "conflict_share": 0.05, "ignorance_share": 0.02, "dispersion": 0.05, "p_eos": 0.9,
        "model": model, "dataset": {"name": "d.jsonl", "rows": 50_000, "max_length": 2048},
        "examples": 500, "target_tokens": 50_000, "truncated": 0, "dropped": 0, "anytime": True,
        "mean_p_interval": (mean_p - width, mean_p + width), "median_p": mean_p, "mean_log_p": -1.0,
        "entropy": 1.0, "top1": mean_p, "p_template": None, "cll": 0.0, "example_quantiles": {},
        "histogram": [], "joint_histogram": [], "seed": 0, "seconds": 1.0, **changes,
    }  # fmt: skip
    read = ("conflict_share", "ignorance_share", "dispersion", "p_eos", "p_template")
    bounds = {name: (fields[name], fields[name]) for name in read if fields[name] is not None}
    return Prior(
        mean_p=mean_p, bounds={"mean_p": (mean_p - width, mean_p + width), **bounds}, **fields
    )


def with_model(prior: Prior, **changes: Any) -> Prior:
    return replace(prior, model={**prior.model, **changes})
