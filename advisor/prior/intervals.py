r"""Intervals for a mean over examples: for a sample of fixed size, and for one that is looked at as it grows.

The unit is the example, because the tokens of one example are not independent. A token average is the
ratio $R = \sum_i a_i / \sum_i b_i$ over examples ($b_i$ target tokens, $a_i$ their sum); its error is that of
the residuals $e_i = a_i - R\,b_i$, divided by the mean of $b$.

Stopping as soon as a decision is clear inspects the interval again and again, which a fixed-sample
interval does not survive. The asymptotic confidence sequence does: with probability $1 - \alpha$ it
covers at *every* sample size,

$$ \hat\mu_t \pm \hat\sigma_t
   \sqrt{ \frac{2 (t\rho^2 + 1)}{t^2 \rho^2} \log\frac{\sqrt{t\rho^2 + 1}}{\alpha} }. $$

Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic
confidence sequences", Annals of Statistics 2024, arXiv:2103.06476, Theorem 2.2.

Both add three imaginary examples, as long as those seen and wholly deviant, to the variance: without them a
rare kind of token that has not been seen yet would have variance 0 and an interval of width 0. Three is
the smallest number for which the sequence covers kinds found in one example of 100 and of 300 as well
(simulated in tests/test_sequential.py; with one it covers 90 % where it promises 95). A rare kind that is
also many times longer than anything seen is beyond what a sample can vouch for.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]

IMAGINARY = 3
"""Examples added to the variance that deviate as far as an example can."""
TIGHTEST_AT = 512
"""The number of examples at which the confidence sequence is narrowest relative to its best."""


def anytime_radius(examples: int, sd: float, alpha: float) -> float:
    """Half-width of the confidence sequence for a mean after `examples` observations of deviation `sd`."""
    rho2 = (2 * math.log(1 / alpha) + math.log(1 + 2 * math.log(1 / alpha))) / TIGHTEST_AT
    scale = examples * rho2 + 1
    return sd * math.sqrt(2 * scale / (examples**2 * rho2) * math.log(math.sqrt(scale) / alpha))


def fixed_radius(examples: int, sd: float, alpha: float) -> float:
    """Half-width of the normal interval for a mean of `examples` observations, size chosen beforehand."""
    return NormalDist().inv_cdf(1 - alpha / 2) * sd / math.sqrt(examples)


def ratio_interval(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64], *, alpha: float, anytime: bool
) -> Interval:
    """Interval for sum(numerator) / sum(denominator), a share or a mean in [0, 1].

    Args:
        numerator: [examples], sums over each example's tokens of a quantity in [0, 1].
        denominator: [examples], numbers of tokens.
        alpha: one minus the coverage.
        anytime: whether it must hold at every sample size at once.
    """
    examples = len(numerator)
    tokens = float(denominator.mean())
    ratio = float(numerator.sum() / denominator.sum())
    residuals = numerator - ratio * denominator
    square = float(np.square(denominator).mean())
    sd = math.sqrt((float(np.square(residuals).sum()) + IMAGINARY * square) / examples)
    radius = (anytime_radius if anytime else fixed_radius)(examples, sd, alpha) / tokens
    return max(0.0, ratio - radius), min(1.0, ratio + radius)


def mean_interval(
    values: NDArray[np.float64], *, alpha: float, anytime: bool, largest: float
) -> Interval:
    """Interval for the mean of one value an example; `largest` is the farthest a value can deviate."""
    examples = len(values)
    mean = float(values.mean())
    sd = math.sqrt((float(np.square(values - mean).sum()) + IMAGINARY * largest**2) / examples)
    radius = (anytime_radius if anytime else fixed_radius)(examples, sd, alpha)
    return mean - radius, mean + radius
