"""A plan and a verdict on the screen, and the verdict as plain data."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from advisor.errors import printable
from advisor.options import setting_words
from harness.cli.afterwards_table import show_afterwards
from harness.cli.display import arm_width, err, out
from harness.records.arm import DEMONSTRATIONS, Arm
from harness.records.metrics import in_unit
from harness.study.confirm import Plan
from harness.study.contrasts import FIGURES, Row
from harness.study.study import Study
from harness.study.verdict import Verdict

COLUMNS: dict[str, Literal["left", "right"]] = {
    "arm": "left",
    "score": "right",
    "against": "left",
    "its score": "right",
    "difference": "right",
    "95 % interval": "right",
    **dict.fromkeys(FIGURES, "right"),
    "verdict": "left",
}
LARGEST = 50.0
"""Points; a comparison that finds only larger differences finds none."""


def show_plan(study: Study, plan: Plan) -> None:
    """How many runs, how long, and what they can show; on stderr."""
    arms = ", ".join(study.objectives)
    found = "how small a difference is found is not known before, for scores that are no shares"
    if plan.detectable is not None:
        found = (
            f"differences of {plan.detectable:.1f} points and more are found with 80 % power"
            if plan.detectable < LARGEST
            else "too few seeds or documents to find any difference with 80 % power"
        )
    err.print(
        f"{plan.runs} runs at most ({plan.finished} done): the untouched model; {arms} at "
        f"{len(study.learning_rates)} learning rates, then {len(study.seeds)} seeds; nll also at a tenth\n"
        f"about {plan.seconds / 60:.0f} min; {plan.documents} test documents of {', '.join(study.tasks)}; "
        f"{found}",
        markup=False,
    )


def show(verdict: Verdict) -> None:
    """The verdict first, then every comparison."""
    out.print(Text(printable(verdict.headline), style="bold"))
    if verdict.incomplete:
        out.print("Start the same command again to go on where it stopped.")
    texts = verdict.labels
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, justify in COLUMNS.items():
        least = arm_width(texts.values()) if name == "arm" else None
        table.add_column(name, justify=justify, overflow="fold", min_width=least)
    for row in verdict.rows:
        gain, low, high = row.shown
        table.add_row(
            texts[row.arm],
            in_unit(row.score, row.unit),
            texts[row.baseline],
            in_unit(row.baseline_score, row.unit),
            gain,
            f"{low} to {high}",
            *(write(row) for write in FIGURES.values()),
            row.verdict,
        )
    out.print(table)
    if verdict.guards:
        out.print(guard_table(verdict.guards, texts))
    temperatures = sorted({t for curve in verdict.curve.values() for t in curve})
    curves = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    curves.add_column("score at temperature", overflow="fold")
    for t in temperatures:
        curves.add_column(f"{t:g}", justify="right")
    unit = verdict.rows[0].unit
    for arm, curve in verdict.curve.items():
        curves.add_row(texts[arm], *(in_unit(curve[t], unit) for t in temperatures))
    out.print(curves)
    for line in (verdict.remark, *verdict.out):
        if line:
            out.print(Text(printable(line)))
    show_afterwards(verdict.afterwards)


def training_of(study: Study, verdict: Verdict, words: str) -> str | None:
    """The command that trains the winner, of which a study of arms keeps no checkpoint; None: there is none.

    Args:
        study: whose settings the winner was trained with.
        verdict: of it.
        words: MODEL DATASET and the flags that say how they are read.
    """
    arm = verdict.winner
    # Targets that are no demonstrations a study makes itself.
    if arm.learning_rate is None or arm.targets != DEMONSTRATIONS:
        return None
    settings = {
        "objective": arm.objective,
        "learning_rate": f"{arm.learning_rate:g}",
        **study.training,
    }
    flags = [word for name, value in settings.items() for word in setting_words(name, value)]
    return f"advisor train {words} {shlex.join(flags)} --output_dir tuned"


def guard_table(rows: Sequence[Row], texts: Mapping[Arm, str]) -> Table:
    """What every arm scores on tasks that nothing was trained for, against the untouched model."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    columns: dict[str, Literal["left", "right"]] = {
        "not trained for": "left", "arm": "left", "score": "right", "untouched": "right",
        "difference": "right", "95 % interval": "right", "verdict": "left",
    }  # fmt: skip
    for name, justify in columns.items():
        table.add_column(name, justify=justify, overflow="fold")
    for row in rows:
        gain, low, high = row.shown
        table.add_row(
            Text(printable(row.task)),
            Text(printable(texts[row.arm])),
            in_unit(row.score, row.unit),
            in_unit(row.baseline_score, row.unit),
            gain,
            f"{low} to {high}",
            row.verdict,
        )
    return table


def as_json(study: Study, verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain data; arms are objects, and texts where they are keys."""
    return {
        "schema": 2,
        "complete": verdict.incomplete is None,
        "headline": verdict.headline,
        "winner": verdict.winner.label,
        "arm": dataclasses.asdict(verdict.winner),
        "fine_tune": verdict.fine_tune,
        "sharpening": verdict.sharpening,
        "incomplete": verdict.incomplete,
        "undecided": verdict.undecided,
        "model": study.model,
        "dataset": study.dataset,
        "tasks": list(study.tasks),
        "temperature": study.temperature,
        "rows": [row_as_json(row) for row in verdict.rows],
        "guards": [row_as_json(row) for row in verdict.guards],
        "curve": {
            verdict.labels[arm]: {str(t): value for t, value in curve.items()}
            for arm, curve in verdict.curve.items()
        },
        "open_rates": {arm.method: list(rates) for arm, rates in verdict.open_rates.items()},
        **({"afterwards": verdict.afterwards.to_dict()} if verdict.afterwards else {}),
    }


def row_as_json(row: Row) -> dict[str, Any]:
    """A comparison as plain data, less what its intervals are made of."""
    found = dataclasses.asdict(row)
    found["difference"].pop("squares")
    return found
