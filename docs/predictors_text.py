"""What the page on what predicts the winner says of cells, statistics, mean p and noise.

Words are chosen by the numbers: a sentence says what an interval allows, whichever way it falls.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from predictors_evidence import (
    ARMS,
    GLOSSARY,
    HEATS,
    NAMES,
    PARAMETERS,
    SWEEPS,
    Evidence,
    capital,
    points,
    table,
)
from scipy.stats import spearmanr

from advisor.advice.published_rule import STRONG, WEAK
from harness.experiments.calibration.checks import GREEDY, SAMPLED
from harness.experiments.calibration.figures import ordered
from harness.experiments.calibration.findings import FEWEST, LEANING, NEW, Case, Predictor, Step
from harness.experiments.calibration.grid import SOME
from harness.experiments.calibration.ledger import RunLine
from harness.plots.style import count
from harness.records.arm import BASE, NLL


def _missing(evidence: Evidence) -> str:
    """Which cells did not run: the models of the later pretraining runs were there last."""
    ran = {case.cell.name for case in evidence.cases[SAMPLED]}
    left = Counter(cell.family for cell in evidence.planned if cell.name not in ran)
    some = ", ".join(f"{number} of {family}" for family, number in sorted(left.items()))
    return f" (left out for want of time: {some})" if left else ""


def done(evidence: Evidence) -> str:
    """What was done."""
    found = evidence.cases[SAMPLED]
    cells = [case.cell for case in found]
    new = {case.cell.skill for case in found if case.kind == NEW}
    tuned = [run for run in evidence.runs if run.objective != BASE and run.share == 1]
    arms = [f"`{arm}`" for arm in sorted({run.objective for run in tuned} - {NLL})]
    sizes = [PARAMETERS.get(size, size) for size in sorted({c.size for c in cells}, reverse=True)]
    errors = {
        heat: median(case.sample.errors[LEANING] for case in evidence.cases[heat]) for heat in HEATS
    }
    checkpoints = count([len({(cell.family, cell.step) for cell in cells})], "checkpoint")
    families = count([len({cell.family for cell in cells})], "pretraining run")
    return f"""\
# What predicts the winner

Written by `docs/generate.py` from `results/calibration/`: every result is computed from the records.

## What was done

{len(cells)} cells of {len(evidence.planned)} planned are complete{_missing(evidence)}:
each is one of {checkpoints} of {families}
with demonstrations of one of {len({c.skill for c in cells})} skills, {len(new)} of them new to the model or
known in part, and {len(tuned):,} fine-tunes were made on them.
The arms are NLL and {", ".join(arms)}, each at {_rates(tuned)}, NLL at a tenth of each too.
Every arm keeps the rate that is best on {_problems(tuned, "development")}, chosen for each decoding; what is
compared are {_problems(tuned, "test")}, which share none with them or with the demonstrations, decoded
greedily and sampled at temperature 1.
There {_seeds(tuned)}; the standard error of one cell's gain of -p over NLL, which leaves out what another
seed would change, has a median of {errors[SAMPLED]:.1f} points at temperature 1 and
{errors[GREEDY]:.1f} greedy, and a gain beyond two of them is called decisive.
The models have {" and ".join(sizes)} parameters and read characters: nothing here proves that any of it
carries over to models of billions."""


def alone(evidence: Evidence) -> str:
    """Each statistic's own power."""
    columns = [{row.name: row for row in evidence.predictors[heat]} for heat in HEATS]
    lines = []
    for row in ordered(evidence.predictors[SAMPLED]):
        cells = (cell for column in columns for cell in _alone(column[row.name]))
        lines.append([NAMES.get(row.name, row.name), *cells])
    head = ["statistic"]
    for heat in HEATS.values():
        head += [f"{heat}: AUC", "-p wins where it is", "won, lost"]
    told = "\n".join(f"- {_told(evidence, heat)}" for heat in HEATS)
    return f"""\
## Each statistic alone

![AUC of every statistic](predictors-alone.svg)

The AUC of a statistic is the chance that it is higher on a cell where -p won decisively than on one where it
lost. Intervals are 95 %, from resampling skills and pretraining runs; of {len(lines)} statistics without any
power, about one in twenty would still exclude .5.

{told}

{_design(evidence.cases[SAMPLED])}

{table(head, lines)}

{GLOSSARY}"""


def _design(found: Sequence[Case]) -> str:
    """That the number of demonstrations goes with the novelty of the skill by plan."""
    new = [case.cell.rows for case in found if case.kind == NEW]
    old = [case.cell.rows for case in found if case.kind != NEW]
    if not new or not old:
        return (
            "There are cells of one sort of skill alone, so that nothing tells new from known ones."
        )
    return (
        f"The number of demonstrations goes with the skill by plan (median {median(new):,.0f} of new or "
        f"graded skills, {median(old):,.0f} of known ones): what it tells here is which kind a skill is."
    )


def _alone(row: Predictor) -> tuple[str, str, str]:
    if math.isnan(row.auc.estimate):
        return "", "", f"{row.won}, {row.lost}"
    high = "high" if row.auc.estimate > 0.5 else "low" if row.auc.estimate < 0.5 else "either"
    interval = "" if math.isnan(row.auc.low) else f" [{row.auc.low:.2f}, {row.auc.high:.2f}]"
    return f"{row.auc.estimate:.2f}{interval}", high, f"{row.won}, {row.lost}"


def _told(evidence: Evidence, heat: float) -> str:
    found = evidence.cases[heat]
    lost = [case.kind for case in found if case.sign == -1]
    won = sum(case.sign == 1 for case in found)
    telling = [NAMES.get(r.name, r.name) for r in ordered(evidence.predictors[heat]) if r.tells]
    rest = len(evidence.predictors[heat]) - len(telling)
    which = f"{', '.join(telling)}, and not for the other {rest}" if telling else "none of them"
    new = lost.count(NEW)
    mostly = "; so the AUC mostly tells new skills from known ones" if new > 0.8 * len(lost) else ""
    return (
        f"{capital(HEATS[heat])}: -p won {won} of {len(found)} cells and lost {len(lost)}, of which "
        f"{new} are of new or graded skills{mostly}. The interval excludes .5 for {which}."
    )


def by_mean_p(evidence: Evidence) -> str:
    """The continuum."""
    edges = (
        (f"below {WEAK:g}", 0.0, WEAK),
        (f"{WEAK:g} to {STRONG:g}", WEAK, STRONG),
        (f"{STRONG:g} and more", STRONG, math.inf),
    )
    lines = []
    for name, low, high in edges:
        between = {h: [c for c in evidence.cases[h] if low <= c.mean_p < high] for h in HEATS}
        lines.append([name, *(_score(between[heat]) for heat in HEATS)])
    known = {heat: [c for c in found if c.kind != NEW] for heat, found in evidence.cases.items()}
    ranked = {heat: (_ranked(evidence.cases[heat]), _ranked(known[heat])) for heat in HEATS}
    published = {heat: len(evidence.published[heat]) for heat in HEATS}
    head = ["mean p", *(f"{heat}: cells, -p won, lost" for heat in HEATS.values())]
    return f"""\
## The gain by mean p

![Gain of -p over NLL by mean p](predictors-continuum.svg)

The rank correlation of mean p with the gain of -p over NLL is {ranked[SAMPLED][0]} at temperature 1 and
{ranked[GREEDY][0]} greedy; over known skills alone it is {ranked[SAMPLED][1]} and {ranked[GREEDY][1]}.
Hollow: published cells (`results/published.csv`), single runs of models of billions of parameters,
{published[SAMPLED]} sampled and {published[GREEDY]} decoded greedily.

{table(head, lines)}

The borders are those between the regimes of `advisor/advice/published_rule.py`."""


def _ranked(found: Sequence[Case]) -> str:
    p, gains = [c.mean_p for c in found], [c.sample.gains[LEANING] for c in found]
    if len(set(p)) < FEWEST or len(set(gains)) < FEWEST:
        return "unknown"
    return f"{spearmanr(p, gains).statistic:+.2f}"


def _score(cases: Sequence[Case]) -> str:
    signs = [case.sign for case in cases]
    return f"{len(signs)}, {signs.count(1)}, {signs.count(-1)}"


def sweeps(evidence: Evidence) -> str:
    """The sweeps over noise."""
    head = ["noise", "rate", "cells"]
    head += [f"{heat}: {arm}" for heat in HEATS.values() for arm in ARMS.values()]
    lines = [
        [SWEEPS[kind].lower(), f"{step.rate:g}", str(step.cells), *_steps(found, step.rate)]
        for kind, found in evidence.sweeps.items()
        for step in found[SAMPLED]
    ]
    ends = "\n".join(
        f"- {SWEEPS[kind]}: {_ends(found)}."
        for kind, found in evidence.sweeps.items()
        if found[SAMPLED]
    )
    return f"""\
## Noise

![Gain over NLL by the rate of noise](predictors-sweeps.svg)

Mean gains over NLL, points, on known skills with {SOME} demonstrations, with 95 % intervals from resampling
cells (none for fewer than {FEWEST}; with few they are too narrow). Random noise is a slip that goes on, a
wrong answer, an answer without steps or a filler, in equal parts; systematic error is one wrong rule. Rate 0
is clean, for systematic error that of skills for which a wrong rule exists. The cells of two rates are not of
the same checkpoints and skills, so that rates are not compared in pairs.

{ends}

{table(head, lines)}"""


def _steps(found: Mapping[float, Sequence[Step]], rate: float) -> list[str]:
    steps = {heat: {step.rate: step for step in found[heat]} for heat in HEATS}
    return [
        points(steps[heat][rate].gains[arm]) if rate in steps[heat] else ""
        for heat in HEATS
        for arm in ARMS
    ]


def _ends(found: Mapping[float, Sequence[Step]]) -> str:
    parts = []
    for heat, name in HEATS.items():
        first, last = (
            f"{points(step.gains[LEANING])} at rate {step.rate:g}"
            for step in (found[heat][0], found[heat][-1])
        )
        parts.append(f"{name}, -p gains {first} and {last}")
    return "; ".join(parts)


def _rates(runs: Sequence[RunLine]) -> str:
    """How many learning rates -p has on a cell."""
    tried: dict[str, set[float | None]] = defaultdict(set)
    for run in runs:
        if run.objective == LEANING:
            tried[run.cell].add(run.learning_rate)
    return count((len(rates) for rates in tried.values()), "learning rate")


def _problems(runs: Sequence[RunLine], part: str) -> str:
    return count((len(run.right(part, SAMPLED)) for run in runs), f"{part} problem")


def _seeds(runs: Iterable[RunLine]) -> str:
    seeds = len({run.seed for run in runs})
    return "is one seed of every run" if seeds == 1 else f"are up to {seeds} seeds of every run"
