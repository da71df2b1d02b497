"""What the ledger says so far: samples for the fit, and the table of rules on cells that were held out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from harness.calibration.features import DEEP, PRIOR, features
from harness.calibration.fit import Sample
from harness.calibration.gains import TENTH, gains
from harness.calibration.grid import Cell
from harness.calibration.judge import (
    Maker,
    Marks,
    always,
    auc,
    chosen,
    cut,
    fitted,
    held_out,
    marks,
    race,
)
from harness.calibration.ledger import CellLine, RunLine
from harness.study import BASE, NLL

ARMS_AT_LEAST = 5
"""Arms beside NLL that a cell must have run to count."""
RULES: dict[str, Maker] = {
    "always nll": always(NLL),
    "always -p": always("neg_p"),
    "a race at an eighth of the cost": race(),
    "mean p, fitted cut-off": cut("mean_p"),
    "fit: mean p alone": fitted(("mean_p",)),
    "fit: forward passes": chosen(tuple(PRIOR)),
    "fit: and the deep probe": chosen((*PRIOR, *DEEP)),
}
"""What is compared. Every model of the ladder is a base model, whose tag would say -p always."""


def samples(
    cells: Sequence[Cell],
    measured: Mapping[str, CellLine],
    runs: Iterable[RunLine],
    temperature: float,
) -> list[Sample]:
    """The cells that have run, at one temperature."""
    places, runs = {cell.name: cell for cell in cells}, list(runs)
    races = _races(runs, temperature)
    found: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for gain in gains(runs, temperature):
        if gain.objective not in (NLL, BASE, TENTH):
            found[gain.cell][gain.objective] = gain.gain, gain.error
    return [
        Sample(
            cell=name,
            family=places[name].family,
            skill=places[name].skill,
            features=features(measured[name].prior, measured[name].deep),
            gains={arm: gain for arm, (gain, _) in arms.items()},
            errors={arm: error for arm, (_, error) in arms.items()},
            race=races.get(name, {}),
        )
        for name, arms in found.items()
        if name in places and name in measured and len(arms) >= ARMS_AT_LEAST
    ]


def _races(runs: Sequence[RunLine], temperature: float) -> dict[str, dict[str, float]]:
    """Cell -> arm -> development accuracy in its race."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for run in runs:
        if run.share < 1:
            right = run.right("development", temperature)
            found[run.cell][run.objective] = float(right.mean())
    return found


def judged_rules(found: Sequence[Sample]) -> dict[str, Marks]:
    """Every rule's marks on cells of skills and pretraining runs that it had not seen."""
    return {name: marks(held_out(found, make)) for name, make in RULES.items()}


def table(found: Sequence[Sample]) -> str:
    """The rules' marks as a Markdown table."""
    lines = [
        "| rule | balanced accuracy | side of the best arm | regret, points | undecided |",
        "|---|---|---|---|---|",
    ]
    for name, mark in judged_rules(found).items():
        lines.append(
            f"| {name} | {mark.balanced_accuracy} | {mark.top1} | {mark.regret} | {mark.undecided:.0%} |"
        )
    return "\n".join(lines)


def single_features(found: Sequence[Sample], arm: str = "neg_p") -> str:
    """Each feature's own area under the curve for an arm's decisive gains, as a Markdown table."""
    lines = ["| feature | AUC |", "|---|---|"]
    scored = {name: auc(found, name, arm) for name in (*PRIOR, *DEEP)}
    for name in sorted(scored, key=lambda name: -abs(scored[name] - 0.5)):
        lines.append(f"| {name} | {scored[name]:.2f} |")
    return "\n".join(lines)
