"""What the page on what predicts the winner says of learning rate and decoding, and what it does not show."""

from collections.abc import Sequence
from statistics import median
from typing import TypeVar

from predictors_evidence import HEATS, PARAMETERS, Evidence, capital, points, side, table

from advisor.advice.forecast import BOUND
from harness.experiments.calibration.checks import GREEDY, DecodingCheck, RateCheck
from harness.experiments.calibration.findings import ERROR, KINDS, LEANING, mean
from harness.plots.style import count

Check = TypeVar("Check", RateCheck, DecodingCheck)


def of_rates(evidence: Evidence) -> str:
    """Whether it is the learning rate."""
    head = ["decoding", "demonstrations", "cells", "lower rate better", "-p over NLL",
            "-p over the better", "decisive wins, before and after"]  # fmt: skip
    lines = [
        [HEATS[heat], name, *_rate_row(group)]
        for heat in HEATS
        for name, group in _kinds(evidence.rates[heat])
    ]
    said = "\n".join(
        f"- {capital(HEATS[heat])}: {_rate_said(evidence.rates[heat])}" for heat in HEATS
    )
    return f"""\
## Is it the learning rate?

NLL was also run at a tenth of every rate. Below, -p is held against NLL at the grid's rates, and against the
better of that and NLL at a tenth, chosen on the development problems; points, mean over cells. Cells that -p
won are chosen by their gain over NLL, which flatters it.

{said}

{table(head, lines)}"""


def _rate_row(group: Sequence[RateCheck]) -> list[str]:
    before, after = sum(c.case.sign == 1 for c in group), sum(c.sign == 1 for c in group)
    return [
        str(len(group)),
        str(sum(check.lower for check in group)),
        points(mean([check.gain for check in group])),
        points(mean([check.left for check in group])),
        f"{before}, {after}",
    ]


def _rate_said(checks: Sequence[RateCheck]) -> str:
    won = [check for check in checks if check.case.sign == 1]
    if not won:
        return "-p won no cell decisively."
    left = mean([check.left for check in won])
    stay = sum(check.sign == 1 for check in won)
    verdict = {
        1: "a smaller rate does not explain all of it",
        -1: "a smaller rate explains more than all of it",
        0: "whether a smaller rate explains all of it is not resolved",
    }[side(left)]
    gained, cells = mean([check.gain for check in won]), count([len(won)], "cell")
    return (
        f"on the {cells} where -p beat NLL decisively, by {points(gained)} points, {points(left)} are left "
        f"against the better of both, decisively on {stay}: {verdict}."
    )


def of_decoding(evidence: Evidence) -> str:
    """Whether it is the decoding."""
    checks = evidence.decoding
    head = ["demonstrations", "cells", "-p sampled less NLL sampled", "NLL greedy less -p sampled",
            "-p greedy less NLL greedy"]  # fmt: skip
    lines = [
        [
            name,
            str(len(group)),
            *(
                points(mean([getattr(c, part) for c in group]))
                for part in ("sampled", "decoded", "greedy")
            ),
        ]
        for name, group in _kinds(checks)
    ]
    return f"""\
## Is it the decoding?

An objective that leans on the prior sharpens the distribution, and so does a lower temperature. These are the
cells where -p beat NLL decisively at temperature 1, each arm and decoding with its own best rate, on the same
test problems; points, mean over cells. The cells are chosen by the first column, which flatters it.

{_decoding_said(checks)}

{table(head, lines)}"""


def _decoding_said(checks: Sequence[DecodingCheck]) -> str:
    if not checks:
        return "There is no such cell."
    verdict = {
        1: "decoding NLL greedily gives more than -p gives to sampling",
        -1: "decoding NLL greedily gives less than -p gives to sampling",
        0: "which of the two gives more is not resolved",
    }[side(mean([check.decoded for check in checks]))]
    ahead = sum(check.decoded >= 0 for check in checks)
    better = sum(check.greedy > 2 * check.greedy_error for check in checks)
    worse = sum(check.greedy < -2 * check.greedy_error for check in checks)
    cells = count([len(checks)], "cell")
    return (
        f"On {ahead} of {cells} NLL decoded greedily is as accurate as -p sampled, or more; on the mean, "
        f"{verdict}. With both decoded greedily -p is decisively better on {better} and worse on {worse}."
    )


def limits(evidence: Evidence) -> str:
    """What it does not show."""
    greedy = evidence.cases[GREEDY]
    size = median(abs(case.sample.gains[LEANING]) for case in greedy)
    sizes = " and ".join(sorted(PARAMETERS.values()))
    even = sum(case.sign == 0 for case in greedy)
    wrong = count([sum(case.kind == ERROR for case in greedy)], "cell")
    return f"""\
## What this does not show

- One family of models, {sizes} parameters, letters for tokens, tasks whose answers a program
  checks. Values of p, and any cut-off on them, are not those of a model with a vocabulary of words.
- Cells of one pretraining run or one skill resemble each other, and there are few of either; the intervals
  over cells (noise, learning rate, decoding) do not count that.
- Greedy, half of the gains are within {size:.1f} points of nothing; {even} of {len(greedy)} are not decisive.
- Systematic error: {wrong}. A wrong rule and a new convention differ in what is right, which no statistic
  without trusted answers can see.
- Only NLL was run at a tenth of the rates. Temperatures between 0 and 1 were not decoded.
- Problems of reasoning-gym, figlet among them, are not in it: the models read lower-case letters and digits.
- An AUC tells of one statistic and of decisive cells alone, not of a rule that was tried on new ones.
- The scale of the fit (roots of gains) and the bound of {BOUND:g} points were settled on the first 85 cells;
  what was not looked at before are the fresh cells."""


def _kinds(checks: Sequence[Check]) -> list[tuple[str, list[Check]]]:
    """Those of every kind of demonstrations that has any, then all."""
    groups = [(kind, [check for check in checks if check.case.kind == kind]) for kind in KINDS]
    return [(kind, group) for kind, group in (*groups, ("all", list(checks))) if group]
