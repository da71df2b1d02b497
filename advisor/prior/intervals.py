r"""Intervals for a mean over examples: for a sample of fixed size, and for one that is looked at as it grows.

The unit is the example, because the tokens of one example are not independent. A token average is the
ratio $R = \sum_i a_i / \sum_i b_i$ over examples ($b_i$ target tokens, $a_i$ their sum). In a sample of fixed
size its error is that of the residuals $e_i = a_i - R\,b_i$, divided by the mean of $b$.

Stopping as soon as a decision is clear inspects the interval again and again, which a fixed-sample
interval does not survive. Bets do (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
betting", JRSS B 2024, arXiv:2010.09686). Against every candidate mean $m$ stand two gamblers, one for each
side. The one who holds that the mean is larger than $m$ multiplies her capital by $1 + \lambda_i x_i$ at
example $i$,

$$ x_i = \frac{a_i - m\,b_i}{w(m)}, \qquad w(m) = m B, $$

where $w$ is the most that an example can lose her, so that $x_i \ge -1$, and the stake $\lambda_i \in [0, 1)$
rests on the examples before $i$ alone. Were $m$ the mean, her capital would be a martingale, and exceed
$2 / \alpha$ at *any* time with probability $\alpha / 2$ at most (Ville's inequality). The interval holds
every $m$ that has made neither gambler rich. Her stake is the one with which the capital grows fastest, as
far as the examples so far tell: the paper's aGRAPA, or Kelly's exact one for an outcome of two values where
that is larger.

What is assumed of lengths: $B$, the tokens of the longest example that can still come, is the longest seen,
but at most twice the root mean square of those seen, and never less than what the worst example seen asks
for. So the intervals hold where no example is much longer than the sample shows, or long ones are no more
often wholly deviant than it shows. A rare kind that is also many times longer than anything seen is beyond
what a sample can vouch for. tests/prior/test_intervals.py simulates the coverage, with lengths of a heavy
tail too.

The fixed-sample interval adds three imaginary examples, as long as those seen and wholly deviant, to the
variance: without them a rare kind of token that has not been seen yet would have variance 0 and an interval
of width 0. A gambler needs none: her capital grows by bounded steps, however alike the examples are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Interval = tuple[float, float]

IMAGINARY = 3
"""Examples added to the variance of a fixed sample that deviate as far as an example can."""
LONGEST = 2.0
"""How many root mean squares of the lengths seen an example to come may have."""
MOST = 0.97
"""The largest stake: one wholly deviant example leaves a thirtieth of the capital."""
FIRST = 0.25
"""Imaginary mean square of outcomes before the first example: the first stakes are small."""
POINTS, STAGES = 9, 4
"""Candidate means of a search, and searches, each between two neighbours of the one before: to 1/4096."""


def fixed_radius(examples: int, sd: float, alpha: float) -> float:
    """Half-width of the normal interval for a mean of `examples` observations, size chosen beforehand."""
    return NormalDist().inv_cdf(1 - alpha / 2) * sd / math.sqrt(examples)


def ratio_interval(
    numerator: Array, denominator: Array, *, alpha: float, anytime: bool
) -> Interval:
    """Interval for sum(numerator) / sum(denominator), a share or a mean in [0, 1].

    Args:
        numerator: [examples], sums over each example's tokens of a quantity in [0, 1], in the order in which
            the examples were drawn.
        denominator: [examples], numbers of tokens.
        alpha: one minus the coverage.
        anytime: whether it must hold at every sample size at once.
    """
    if anytime:
        return _by_bets(numerator, denominator, alpha=alpha, largest=1.0)
    examples = len(numerator)
    tokens = float(denominator.mean())
    ratio = float(numerator.sum() / denominator.sum())
    residuals = numerator - ratio * denominator
    square = float(np.square(denominator).mean())
    sd = math.sqrt((float(np.square(residuals).sum()) + IMAGINARY * square) / examples)
    radius = fixed_radius(examples, sd, alpha) / tokens
    return max(0.0, ratio - radius), min(1.0, ratio + radius)


def mean_interval(values: Array, *, alpha: float, anytime: bool, largest: float) -> Interval:
    """Interval for the mean of one value an example.

    Args:
        values: [examples], from 0 to `largest`; some may be a little below 0.
        alpha: one minus the coverage.
        anytime: whether it must hold at every sample size at once.
        largest: what a value can be at most, and the farthest that it can deviate.
    """
    if anytime:
        return _by_bets(values, np.ones(len(values)), alpha=alpha, largest=largest)
    examples = len(values)
    mean = float(values.mean())
    sd = math.sqrt((float(np.square(values - mean).sum()) + IMAGINARY * largest**2) / examples)
    radius = fixed_radius(examples, sd, alpha)
    return mean - radius, mean + radius


def _by_bets(a: Array, b: Array, *, alpha: float, largest: float) -> Interval:
    """The means at which neither gambler is rich; ends are rounded outwards, to 1/4096 of their side.

    Args:
        a: [examples], from 0 to `largest` times `b`.
        b: [examples], lengths.
        alpha: one minus the coverage.
        largest: of a / b.
    """
    longest = min(float(b.max()), LONGEST * math.sqrt(float(np.square(b).mean())))
    rich = math.log(2 / alpha)
    ratio = float(a.sum() / b.sum())

    def larger(means: Array) -> Array:
        return log_capital(a[:, None] - b[:, None] * means, means * longest)

    def smaller(means: Array) -> Array:
        return log_capital(b[:, None] * means - a[:, None], (largest - means) * longest)

    low = _last(larger, ratio, min(0.0, ratio), rich)
    return low, _last(smaller, ratio, max(largest, ratio), rich)


def _last(evidence: Callable[[Array], Array], start: float, stop: float, rich: float) -> float:
    """The first mean, on the way from `start`, beyond which all are excluded; `stop` where none is."""
    for _ in range(STAGES):
        means = np.linspace(start, stop, POINTS)
        poor = np.flatnonzero(evidence(means) < rich)
        last = int(poor[-1]) if len(poor) else 0
        if last == POINTS - 1:
            return stop
        start, stop = float(means[last]), float(means[last + 1])
    return stop


def log_capital(gains: Array, worst: Array) -> Array:
    """[means] log of the capital that one gambler makes of 1.

    Args:
        gains: [examples, means] what every example gains her at stake 1, in the order of drawing.
        worst: [means] the most that an example can lose her; where one lost more, that.
    """
    floor = np.maximum(np.maximum(worst, -gains.min(axis=0)), np.finfo(float).tiny)
    with np.errstate(over="ignore"):  # where nothing can be lost, anything gained makes her rich
        x = np.minimum(gains / floor, 1e12)
    capital: Array = np.log1p(_stakes(x) * x).sum(axis=0)
    return capital


def _stakes(x: Array) -> Array:
    """[examples, means] stakes from the examples before: what the capital would have grown fastest with.

    With $M_1$ and $M_2$ the mean and the mean square of the outcomes, $M_1 / M_2$ maximises the second-order
    expansion of the growth E log(1 + s x) (aGRAPA). Where outcomes are -1 and, rarely, something large, the
    maximum itself is at $M_1 (1 + M_1) / (M_2 + M_1)$, which is the larger of the two once $M_2 > 1$.
    """
    before = np.arange(1, len(x) + 1)[:, None]
    first = np.maximum(_sums_before(x) / before, 0.0)
    second = (FIRST + _sums_before(np.square(x))) / before
    kelly = first * np.maximum(1 / second, (1 + first) / (second + first))
    stakes: Array = np.minimum(kelly, MOST)
    return stakes


def _sums_before(x: Array) -> Array:
    """[examples, means] sums over the examples before each."""
    sums: Array = np.cumsum(x, axis=0) - x
    return sums
