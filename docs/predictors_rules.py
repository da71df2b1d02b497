"""What the page on what predicts the winner, and the README, say of rules on cells they have not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from predictors_evidence import DECODED, Evidence, table

from advisor.forecast import BOUND, Calibration
from harness.calibration.study import SHIPPED_RULE

SHORT = ("balanced accuracy", "side of the best arm", "regret, points", "undecided")
GOALS = {"sampled": 0.9, "greedy": 0.8}
"""Balanced accuracy that was aimed at."""
UNDECIDED = 0.25
"""Share of undecided cells that was aimed at."""


def held_out(evidence: Evidence) -> str:
    """How rules do on skills and pretraining runs that were left out."""
    found = evidence.held_out
    sections = "\n\n".join(_decoded(found[how], how) for how in DECODED)
    return f"""\
## Rules on cells they have not seen

A rule is judged on a cell after all cells of its skill and all of its pretraining run were taken out of
what it learns from; 95 % intervals resample skills and pretraining runs. Balanced accuracy: of the sign of
decisive gains over NLL, all arms, wins and losses weighted equally. Side of the best arm: NLL, or leaning on
the prior. Regret: points lost against the best arm of the cell, an undecided cell being trained with NLL. A
fit is undecided where the side it takes is expected to lose more than {BOUND:g} points. Every model here is
a base model, so that a rule by the tag base or instruct says -p always. Features that are chosen are chosen
again for every cell that is left out; agreement and recovery had done best on 64 cells of an earlier study,
and are what `advisor recommend --depth deep` reads.

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
    lines = ["What was aimed at, and what the fit on agreement and recovery reaches:", ""]
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
    lines = []
    for cell in located:
        said = [_forecast(replace(found, cells=others), cell) for others in _without(found, cell)]
        heat = "T = 1" if cell.decoding == "sampled" else "greedy"
        name = f"{cell.name}, {heat}"
        lines.append([name, f"{cell.mean_p:.2f}", f"{cell.gains['neg_p']:+.1f}", *said])
    head = ("cell", "mean p", "-p over NLL", "ladder alone", "and other data sets")
    return f"""\
## Published cells from mean p alone

The forecast of -p over NLL, points, with its 95 % interval, for cells of which nothing but mean p is known:
from the ladder's line on mean p alone, and corrected by the published cells of other data sets. "?":
undecided, more than {BOUND:g} points could be lost. {_spread(found)}

{table(head, lines)}

{len(cells) - len(located)} more published comparisons have no mean p. They are in `results/published.csv`
and decide nothing but that no instruct model is told to lean: {_lost(cells)}"""


def _without(found: Calibration, cell: Any) -> tuple[list[Any], list[Any]]:
    """No published cells; those of other data sets."""
    dataset = cell.name.partition(", ")[2]
    ladder = [c for c in found.cells if c.domain == "ladder"]
    others = [c for c in found.cells if c.domain == "published" and not c.name.endswith(dataset)]
    return ladder, [*ladder, *others]


def _forecast(found: Calibration, cell: Any) -> str:
    heat = 1.0 if cell.decoding == "sampled" else 0.0
    said = found.forecast(
        {"mean_p": cell.mean_p}, None, temperature=heat, parameters=cell.parameters
    )
    low, high = said.intervals["neg_p"]
    doubt = "" if said.decided else " ?"
    return f"{said.gains['neg_p']:+.0f} [{low:+.0f}, {high:+.0f}]{doubt}"


def _spread(found: Calibration) -> str:
    if found.spread == 0:
        return (
            "Published gains scatter about the ladder's line\nno more than the ladder's own, so that its "
            "interval, wide as it is, is not widened for them."
        )
    return (
        f"Published gains scatter about the ladder's line\nwith a standard deviation of {found.spread:.1f} "
        "roots of a point beyond the ladder's own, which widens the interval."
    )


def _lost(cells: Sequence[Any]) -> str:
    kinds = []
    for kind in ("instruct", "base"):
        bare = [cell for cell in cells if not cell.features and cell.kind == kind]
        lost = sum(cell.gains["neg_p"] < 0 for cell in bare)
        kinds.append(f"{lost} of {len(bare)} on {kind} models")
    return f"-p or DFT lost from\nNLL in {kinds[0]} and in {kinds[1]}."


def readme_table(held_out: Mapping[str, Any]) -> str:
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
    return table(("rule", *head), lines)
