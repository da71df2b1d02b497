"""The learning rates of a plan: a high one by the size of the model and what of it is trained, and a third.

Most objectives learn what is new to a model at the high rate. Those that lean on the prior from the start
(-p, CADFT, thresholds) lose less at the low one. Pure; standard library only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Word = Literal["high", "low", "tenth"]
"""How a plan names a learning rate."""
Trained = Literal["full", "lora", "qlora"]
"""What of a model is trained: all of it, an adapter, an adapter on a model of 4 bits."""
SHARES: dict[Word, float] = {"high": 1.0, "low": 1 / 3, "tenth": 0.1}
"""Of the high rate."""
QUANTISED = 2e-4
"""The most for an adapter on a model of 4 bits: QLoRA, arXiv:2305.14314, Table 9 (7 to 13 billion)."""


@dataclass(frozen=True, kw_only=True)
class HighRate:
    """The high rates of one range of sizes."""

    below: float
    """Parameters; the range begins where the one before it ends."""
    full: float
    """Where all parameters are trained."""
    lora: float
    """Where an adapter is."""
    source: str
    """Of `full`. An adapter's is up to ten times as high, as in "LoRA Without Regret" (Schulman, 2025)."""


HIGH_RATES = (
    HighRate(below=5e5, full=3e-3, lora=3e-3, source="our cells of 0.15M parameters"),
    HighRate(below=2e6, full=1e-3, lora=1e-3, source="our cells of 0.8M parameters"),
    HighRate(below=2e7, full=5e-4, lora=1e-3, source="our cells of 5M parameters"),
    HighRate(below=1e9, full=1e-4, lora=1e-3, source="our cells of SmolLM2-135M-Instruct"),
    HighRate(
        below=1e10,
        full=5e-5,
        lora=5e-4,
        source="arXiv:2508.05629, best of 1e-5 to 2e-4 for NLL and DFT",
    ),
    HighRate(below=2e10, full=2e-5, lora=5e-4, source="arXiv:2510.00526, 14B"),
    HighRate(below=math.inf, full=1e-5, lora=2e-4, source="arXiv:2510.00526, 32B"),
)
"""By size, ascending."""


def learning_rate(parameters: float, word: Word, trained: Trained = "full") -> float:
    """The learning rate that a word stands for, to one significant digit.

    Args:
        parameters: of the whole model.
        word: "high", "low" (a third of it) or "tenth".
        trained: all of the model, or an adapter.
    """
    row = next(one for one in HIGH_RATES if parameters < one.below)
    high = row.full if trained == "full" else row.lora
    if trained == "qlora":
        high = min(high, QUANTISED)
    return float(f"{high * SHARES[word]:.0e}")
