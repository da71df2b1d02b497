"""What the page on what predicts the winner, and the README, say of rules on cells they have not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from predictors_evidence import DECODED, Evidence, table, wrapped

from advisor.advice.calibration import Calibration, Cell
from advisor.advice.forecast import BOUND
from harness.experiments.calibration.study import SHIPPED_RULE

SHORT = ("balanced accuracy", "side of the best arm", "regret, points", "undecided")
GOALS = {"sampled": 0.9, "greedy": 0.8}
"""Balanced accuracy that was aimed at."""
UNDECIDED = 0.25
"""Share of undecided cells that was aimed at."""


def held_out(evidence: Evidence) -> str:
    """How rules do on skills and pretraining runs that were left out; nothing before they are judged."""
    found = evidence.held_out
    if not found:
        return ""
    sections = "\n\n".join(_decoded(found[how], how) for how in DECODED)
    return f"""\
## Rules on cells they have not seen

A rule is judged on a cell after all cells of its skill, and of all models that read its model's pretraining
text, were taken out of what it learns from; 95 % intervals resample skills and pretraining runs. Balanced
accuracy: of the sign of decisive gains over NLL, all arms, wins and losses weighted equally. Side of the best
arm: NLL, or leaning on the prior; on many cells the two differ by less than can be told. Regret: points lost
against the best arm of the cell, an undecided cell being trained with NLL. A fit is undecided where the side
it takes is expected to lose more than {BOUND:g} points. Every model here is a base model, so that a rule by
the tag base or instruct says -p always. Features that are chosen are chosen again for every cell that is left
out. What `advisor recommend --depth deep` reads, agreement and recovery, had done best on 64 cells of an
earlier study; where either is missing it falls back on forward passes.

{sections}

{_goals(found)}"""


def _decoded(found: Mapping[str, Any], how: str) -> str:
    lost, won = next(iter(found["rules"].values()))["pairs"]
    return (
        f"{DECODED[how]}: {found['cells']} cells, {found['skills']} skills, {found['pretraining_runs']} "
        f"pretraining runs; {won} decisive wins over NLL and {lost} losses.\n\n{_marks(found['rules'])}"
    )


def _marks(rules: Mapping[str, Any]) -> str:
    return table(("rule", *SHORT), ([name, *_cells(mark)] for name, mark in rules.items()))


def _cells(mark: Mapping[str, Any]) -> list[str]:
    return [
        _interval(mark["balanced_accuracy"], 2),
        _interval(mark["top1"], 2),
        _interval(mark["regret"], 1),
        f"{mark['undecided']:.0%}",
    ]


def _interval(found: Mapping[str, float], digits: int) -> str:
    e, low, high = (f"{found[name]:.{digits}f}" for name in ("estimate", "low", "high"))
    return f"{e} [{low}, {high}]"


def _goals(found: Mapping[str, Any]) -> str:
    """Which goals the nested fit reaches; those that were set before the study."""
    lines = ["What was aimed at, and what is reached with the deep probe:", ""]
    for how, goal in GOALS.items():
        rules = found[how]["rules"]
        mark, race = rules[SHIPPED_RULE], rules["a race at an eighth of the cost"]
        fixed = min(rules[name]["regret"]["estimate"] for name in ("always nll", "always -p"))
        bound = fixed / 2 if how == "sampled" else fixed
        regret, accuracy = mark["regret"]["estimate"], mark["balanced_accuracy"]
        lines.append(
            f"- {DECODED[how]}: balanced accuracy {accuracy['estimate']:.2f} of {goal:.2f} "
            f"({_reached(accuracy['estimate'] >= goal and accuracy['low'] > 0.5)}); "
            f"regret {regret:.1f} of {bound:.1f} points ({_reached(regret <= bound)}), "
            f"a race {race['regret']['estimate']:.1f}; undecided {mark['undecided']:.0%} of {UNDECIDED:.0%} "
            f"({_reached(mark['undecided'] <= UNDECIDED)})."
        )
    return "\n".join(lines)


def _reached(yes: bool) -> str:
    return "reached" if yes else "missed"


def fresh(evidence: Evidence) -> str:
    """How the frozen calibration does on cells made for it afterwards; nothing before they are run."""
    if evidence.fresh is None:
        return ""
    sections = "\n\n".join(_decoded(evidence.fresh[how], how) for how in DECODED)
    return f"""\
## Fresh cells

Twelve cells listed in `results/calibration/fresh.csv`, of pretraining runs and three skills that the grid
does not have, trained after the calibration was frozen. Rules learn from the whole grid. Known skills answer
the same test problems as in the grid. The intervals resample few skills and runs and are wide.

{sections}"""


def published(evidence: Evidence) -> str:
    """What mean p alone says of published cells that were left out."""
    found = evidence.calibration
    cells = [cell for cell in found.cells if cell.domain == "published"]
    located = [cell for cell in cells if cell.features]
    ladder = replace(found, cells=[cell for cell in found.cells if cell.domain == "ladder"])
    lines = []
    for cell in located:
        heat = "T = 1" if cell.decoding == "sampled" else "greedy"
        gain = f"{cell.gains['neg_p']:+.1f}"
        lines.append([f"{cell.name}, {heat}", f"{cell.mean_p:.2f}", gain, _forecast(ladder, cell)])
    head = ("cell", "mean p", "-p over NLL", "forecast")
    return f"""\
## Published cells from mean p alone

{_introduction(found)}

{table(head, lines)}

{_signs(located, ladder)}

{_without_prior([cell for cell in cells if not cell.features])}"""


def _introduction(found: Calibration) -> str:
    same, other = found.kinship.dataset, found.kinship.other
    return wrapped(
        "The forecast of -p over NLL, points, with its 95 % interval, for cells of which nothing but mean p "
        "is known, from the ladder's line on mean p. "
        f'"?": undecided, more than {BOUND:g} points could be lost. '
        f"{_spread(found)} What the fit misses correlates at {same:.2f} with what it misses on the same "
        f"skill of another model, and at {other:.2f} on other skills of about the same mean p: so much may "
        "one cell correct another's forecast."
    )


def _spread(found: Calibration) -> str:
    if found.spread == 0:
        return (
            "Published gains scatter about that line no more than the ladder's own, so that its interval, "
            "wide as it is, is not widened for them."
        )
    return (
        f"Published gains scatter about that line with a standard deviation of {found.spread:.1f} roots of a "
        "point beyond the ladder's own, which widens the interval."
    )


def _signs(cells: Sequence[Cell], ladder: Calibration) -> str:
    """How the forecasts of published cells come out."""
    said = {cell.name: ladder.forecast(cell) for cell in cells}
    ends = [cell for cell in cells if not 0.1 < (cell.mean_p or 0) < 0.7]
    ties = [cell for cell in cells if cell not in ends]
    right = sum((said[c.name].gains["neg_p"] > 0) == (c.gains["neg_p"] > 0) for c in ends)
    told = sum(not said[c.name].decided or abs(said[c.name].gains["neg_p"]) < BOUND for c in ties)
    return wrapped(
        f"The sign is right on {right} of {len(ends)} strong and weak cells. That is little: in what was "
        "published strong goes with sampled answers and weak with greedy ones, so that the decoding alone "
        f"may give the sign. Of the {len(ties)} near-ties {told} are undecided or forecast within {BOUND:g} "
        f"points of nothing, {len(ties) - told} are taken for losses that were not had."
    )


KINDS = {"instruct": "instruct models", "base": "base models", "unknown": "models of unknown kind"}


def _without_prior(cells: Sequence[Cell]) -> str:
    lost = [
        f"{sum(cell.gains['neg_p'] < 0 for cell in some)} of {len(some)} on {name}"
        for kind, name in KINDS.items()
        if (some := [cell for cell in cells if cell.kind == kind])
    ]
    return wrapped(
        f"{len(cells)} more published comparisons have no mean p. They are in `results/published.csv` and "
        "decide nothing but that no instruct model is told to lean: -p or DFT lost from NLL in "
        f"{' and in '.join(lost)}."
    )


def _forecast(ladder: Calibration, cell: Cell) -> str:
    said = ladder.forecast(cell)
    low, high = said.intervals["neg_p"]
    doubt = "" if said.decided else " ?"
    return f"{said.gains['neg_p']:+.0f} [{low:+.0f}, {high:+.0f}]{doubt}"


def readme_table(held_out: Mapping[str, Any], fresh: Mapping[str, Any] | None) -> str:
    """The marks of the rules, shorter, for the README."""
    names = list(held_out["sampled"]["rules"])
    lines = [
        [
            name,
            *(
                cell
                for how in DECODED
                for mark in [held_out[how]["rules"][name]]
                for cell in (
                    f"{mark['balanced_accuracy']['estimate']:.2f}",
                    _interval(mark["regret"], 1),
                    f"{mark['undecided']:.0%}",
                )
            ),
        ]
        for name in names
    ]
    head = [
        f"{label}: {figure}"
        for label in ("T = 1", "greedy")
        for figure in ("accuracy", "regret", "undecided")
    ]
    return "\n\n".join([table(("rule", *head), lines), *([_fresh_words(fresh)] if fresh else [])])


def _fresh_words(fresh: Mapping[str, Any]) -> str:
    """How the frozen calibration did on the fresh cells, beside the fixed rules and the race."""
    said = []
    for how in DECODED:
        rules = fresh[how]["rules"]
        mark, regrets = (
            rules[SHIPPED_RULE],
            {name: m["regret"]["estimate"] for name, m in rules.items()},
        )
        said.append(
            f"{DECODED[how].lower()}: accuracy {_interval(mark['balanced_accuracy'], 2)}, regret "
            f"{_interval(mark['regret'], 1)} (always nll {regrets['always nll']:.1f}, always -p "
            f"{regrets['always -p']:.1f}, a race {regrets['a race at an eighth of the cost']:.1f}), "
            f"undecided {mark['undecided']:.0%}"
        )
    return wrapped(
        f"On {fresh['sampled']['cells']} fresh cells, of pretraining runs and for half of them of skills "
        "that the records do not have, trained after the calibration was frozen, with the deep probe: "
        f"{'; '.join(said)}."
    )
