"""Tables of the calibration study about cells, as rows of text: which statistics tell, noise, both checks."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import TypeVar

from scipy.stats import spearmanr

from advisor.advice.published_rule import STRONG, WEAK
from harness.experiments.calibration.checks import SAMPLED, DecodingCheck, RateCheck
from harness.experiments.calibration.evidence import ARMS, HEATS, NAMES, SWEEPS, Evidence
from harness.experiments.calibration.figures import ordered
from harness.experiments.calibration.findings import (
    FEWEST,
    KINDS,
    LEANING,
    NEW,
    Case,
    Predictor,
    Step,
    mean,
)
from harness.experiments.calibration.judge import Interval
from harness.experiments.calibration.ledger import RunLine
from harness.plots.style import count
from harness.records.arm import BASE

Check = TypeVar("Check", RateCheck, DecodingCheck)
Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Heads and rows."""
PARAMETERS = {"m64": "0.15M", "m128": "0.8M"}
"""Of the sizes of the grid."""


def cell_tables(evidence: Evidence) -> dict[str, Table]:
    """Every table about cells, by name."""
    return {name: write(evidence) for name, write in TABLES.items()}


def _study(evidence: Evidence) -> Table:
    """The size of the study."""
    found = evidence.cases[SAMPLED]
    cells = [case.cell for case in found]
    new = {case.cell.skill for case in found if case.kind == NEW}
    tuned = [run for run in evidence.runs if run.objective != BASE and run.share == 1]
    errors = (
        f"{median(case.sample.errors[LEANING] for case in evidence.cases[heat]):.1f} {name}"
        for heat, name in HEATS.items()
    )
    rows = (
        ("cells planned, complete", f"{len(evidence.planned)}, {len(cells)}"),
        ("left out for want of time", _missing(evidence)),
        ("pretraining runs", str(len({cell.family for cell in cells}))),
        ("checkpoints of them", str(len({(cell.family, cell.step) for cell in cells}))),
        (
            "parameters",
            " and ".join(PARAMETERS[s] for s in sorted({c.size for c in cells}, reverse=True)),
        ),
        ("skills, of them new or known in part", f"{len({c.skill for c in cells})}, {len(new)}"),
        ("fine-tunes", f"{len(tuned):,}"),
        ("arms", ", ".join(f"`{arm}`" for arm in sorted({run.objective for run in tuned}))),
        ("learning rates of an arm", _rates(tuned)),
        ("seeds of a run", str(len({run.seed for run in tuned}))),
        (
            "development, test problems",
            f"{_problems(tuned, 'development')}, {_problems(tuned, 'test')}",
        ),
        ("standard error of one cell's gain of -p, median, points", ", ".join(errors)),
    )
    return (("", ""), rows)


def _missing(evidence: Evidence) -> str:
    ran = {case.cell.name for case in evidence.cases[SAMPLED]}
    left = Counter(cell.family for cell in evidence.planned if cell.name not in ran)
    return ", ".join(f"{number} of {family}" for family, number in sorted(left.items())) or "none"


def _rates(runs: Sequence[RunLine]) -> str:
    """How many learning rates -p has on a cell."""
    tried: dict[str, set[float | None]] = defaultdict(set)
    for run in runs:
        if run.objective == LEANING:
            tried[run.cell].add(run.learning_rate)
    return _number(len(rates) for rates in tried.values())


def _problems(runs: Sequence[RunLine], part: str) -> str:
    return _number(len(run.right(part, SAMPLED)) for run in runs)


def _number(found: Iterable[int]) -> str:
    """One number, or from which to which."""
    return count(found, "").strip(" s")


def _won(evidence: Evidence) -> Table:
    """How often -p won, what was lost where, and which statistics tell."""
    rows = []
    for heat, name in HEATS.items():
        found = evidence.cases[heat]
        won, lost = ([case for case in found if case.sign == sign] for sign in (1, -1))
        new = sum(case.kind == NEW for case in lost)
        size = median(abs(case.sample.gains[LEANING]) for case in found)
        telling = [row.name for row in ordered(evidence.predictors[heat]) if row.tells]
        names = ", ".join(NAMES.get(n, n) for n in telling) or "none"
        rows.append((name, *map(str, (len(found), len(won), len(lost), new)), f"{size:.1f}", names))
    head = ("decoding", "cells", "-p won", "-p lost", "of these new or graded skills",
            "median gain or loss, points", "statistics whose interval excludes .5")  # fmt: skip
    return (head, rows)


def _demonstrations(evidence: Evidence) -> Table:
    """How many demonstrations the kinds of skills have by plan."""
    found = evidence.cases[SAMPLED]
    kinds = {
        "new or graded": [case.cell.rows for case in found if case.kind == NEW],
        "known": [case.cell.rows for case in found if case.kind != NEW],
    }
    rows = [(kind, f"{median(sizes):,.0f}") for kind, sizes in kinds.items() if sizes]
    return (("skills", "demonstrations, median"), rows)


def _alone(evidence: Evidence) -> Table:
    """Each statistic's own power."""
    columns = [{row.name: row for row in evidence.predictors[heat]} for heat in HEATS]
    rows = [
        (NAMES.get(row.name, row.name), *(x for column in columns for x in _area(column[row.name])))
        for row in ordered(evidence.predictors[SAMPLED])
    ]
    heads = ((f"{heat}: AUC", "-p wins where it is", "won, lost") for heat in HEATS.values())
    return (("statistic", *(x for head in heads for x in head)), rows)


def _area(row: Predictor) -> tuple[str, str, str]:
    if math.isnan(row.auc.estimate):
        return "", "", f"{row.won}, {row.lost}"
    high = "high" if row.auc.estimate > 0.5 else "low" if row.auc.estimate < 0.5 else "either"
    interval = "" if math.isnan(row.auc.low) else f" [{row.auc.low:.2f}, {row.auc.high:.2f}]"
    return f"{row.auc.estimate:.2f}{interval}", high, f"{row.won}, {row.lost}"


def _correlation(evidence: Evidence) -> Table:
    """Rank correlation of mean p with the gain."""
    rows = []
    for heat, name in HEATS.items():
        found = evidence.cases[heat]
        rows.append((name, _ranked(found), _ranked([c for c in found if c.kind != NEW])))
    return (("decoding", "all cells", "known skills alone"), rows)


def _ranked(found: Sequence[Case]) -> str:
    p, gains = [c.mean_p for c in found], [c.sample.gains[LEANING] for c in found]
    if len(set(p)) < FEWEST or len(set(gains)) < FEWEST:
        return "unknown"
    return f"{spearmanr(p, gains).statistic:+.2f}"


def _by_mean_p(evidence: Evidence) -> Table:
    """Wins and losses in the regimes."""
    edges = (
        (f"below {WEAK:g}", 0.0, WEAK),
        (f"{WEAK:g} to {STRONG:g}", WEAK, STRONG),
        (f"{STRONG:g} and more", STRONG, math.inf),
    )
    rows = []
    for name, low, high in edges:
        signs = (
            [case.sign for case in evidence.cases[heat] if low <= case.mean_p < high]
            for heat in HEATS
        )
        rows.append([name, *(f"{len(x)}, {x.count(1)}, {x.count(-1)}" for x in signs)])
    return (("mean p", *(f"{heat}: cells, -p won, lost" for heat in HEATS.values())), rows)


def _noise(evidence: Evidence) -> Table:
    """The sweeps over noise."""
    head = ["noise", "rate", "cells"]
    head += [f"{heat}: {arm}" for heat in HEATS.values() for arm in ARMS.values()]
    rows = [
        [SWEEPS[kind].lower(), f"{step.rate:g}", str(step.cells), *_steps(found, step.rate)]
        for kind, found in evidence.sweeps.items()
        for step in found[SAMPLED]
    ]
    return (head, rows)


def _steps(found: Mapping[float, Sequence[Step]], rate: float) -> list[str]:
    steps = {heat: {step.rate: step for step in found[heat]} for heat in HEATS}
    return [
        _points(steps[heat][rate].gains[arm]) if rate in steps[heat] else ""
        for heat in HEATS
        for arm in ARMS
    ]


def _learning_rate_won(evidence: Evidence) -> Table:
    """What is left of the decisive wins of -p against the better of both rates of NLL."""
    rows = []
    for heat, name in HEATS.items():
        won = [check for check in evidence.rates[heat] if check.case.sign == 1]
        gains = (_points(mean([getattr(c, part) for c in won])) for part in ("gain", "left"))
        stay = sum(check.sign == 1 for check in won)
        rows.append((name, str(len(won)), *gains, str(stay)))
    head = ("decoding", "cells that -p won", "-p over NLL", "-p over the better of both",
            "still decisive")  # fmt: skip
    return (head, rows)


def _learning_rate(evidence: Evidence) -> Table:
    """The same by the kind of demonstrations, on all cells."""
    head = ("decoding", "demonstrations", "cells", "lower rate better", "-p over NLL",
            "-p over the better", "decisive wins, before and after")  # fmt: skip
    rows = [
        (HEATS[heat], name, *_rate_row(group))
        for heat in HEATS
        for name, group in _kinds(evidence.rates[heat])
    ]
    return (head, rows)


def _rate_row(group: Sequence[RateCheck]) -> list[str]:
    before, after = sum(c.case.sign == 1 for c in group), sum(c.sign == 1 for c in group)
    return [
        str(len(group)),
        str(sum(check.lower for check in group)),
        *(_points(mean([getattr(c, part) for c in group])) for part in ("gain", "left")),
        f"{before}, {after}",
    ]


def _decoding(evidence: Evidence) -> Table:
    """-p against NLL decoded greedily, where -p won sampled."""
    head = ("demonstrations", "cells", "-p sampled less NLL sampled", "NLL greedy less -p sampled",
            "cells where that is 0 or more", "-p greedy less NLL greedy",
            "decisively better, worse")  # fmt: skip
    return (head, [(name, *_decoding_row(group)) for name, group in _kinds(evidence.decoding)])


def _decoding_row(group: Sequence[DecodingCheck]) -> list[str]:
    means = [
        _points(mean([getattr(c, part) for c in group]))
        for part in ("sampled", "decoded", "greedy")
    ]
    ahead = sum(check.decoded >= 0 for check in group)
    better = sum(check.greedy > 2 * check.greedy_error for check in group)
    worse = sum(check.greedy < -2 * check.greedy_error for check in group)
    return [str(len(group)), means[0], means[1], str(ahead), means[2], f"{better}, {worse}"]


def _points(found: Interval) -> str:
    """A difference in points with its interval; empty where there is none."""
    interval = "" if math.isnan(found.low) else f" [{found.low:+.1f}, {found.high:+.1f}]"
    return "" if math.isnan(found.estimate) else f"{found.estimate:+.1f}{interval}"


def _kinds(checks: Sequence[Check]) -> list[tuple[str, list[Check]]]:
    """Those of every kind of demonstrations that has any, then all."""
    groups: list[tuple[str, list[Check]]] = [
        (kind, [check for check in checks if check.case.kind == kind]) for kind in KINDS
    ]
    groups.append(("all", list(checks)))
    return [(kind, group) for kind, group in groups if group]


TABLES: dict[str, Callable[[Evidence], Table]] = {
    "study": _study,
    "won": _won,
    "demonstrations": _demonstrations,
    "alone": _alone,
    "correlation": _correlation,
    "by-mean-p": _by_mean_p,
    "noise": _noise,
    "learning-rate-won": _learning_rate_won,
    "learning-rate": _learning_rate,
    "decoding": _decoding,
}
