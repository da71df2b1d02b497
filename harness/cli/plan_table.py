"""A plan that is carried out, on the screen: what will be run, and what it has come to."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from advisor.errors import printable
from harness.cli.afterwards_table import show_afterwards
from harness.cli.decide_table import render
from harness.cli.display import arm_width, err, out
from harness.cli.verdict_table import guard_table, show_plan
from harness.compare.plan_decision import PlanDecision
from harness.records.arm import labels
from harness.records.metrics import in_unit
from harness.study.confirm import Plan
from harness.study.study import Study
from harness.study.study_options import RACE


def show_planned(study: Study, plan: Plan) -> None:
    """What will be run, of a plan or of a study of arms; on stderr."""
    (_show_steps if study.steps else show_plan)(study, plan)


def _show_steps(study: Study, plan: Plan) -> None:
    """Which runs, how long, and what chooses."""
    texts = [
        f"{step.method} at {step.learning_rate:g}"
        + (f" if the best so far scores below {step.below:g}" if step.below is not None else "")
        for step in study.steps
    ]
    at_most = "at most " if study.needed() or study.plan == RACE else ""
    err.print(
        f"{at_most}{plan.runs - 1} fine-tunes ({max(0, plan.finished - 1)} done): {'; '.join(texts)}\n"
        f"{at_most}about {plan.seconds / 60:.0f} min; the development documents of {', '.join(study.tasks)} "
        f"choose, {plan.documents} test documents say what the kept checkpoint scores",
        markup=False,
    )


def show(found: PlanDecision) -> None:
    """What to do, every run, and on the last line where the best checkpoint lies."""
    if not found.complete:
        out.print("Not complete: start the same command again to go on where it stopped.")
    render(found.decision, out)
    if found.guards:
        out.print(guard_table(found.guards, labels([row.arm for row in found.guards])))
    if found.forgets:
        out.print(Text(printable(found.forgets)))
    for failure in found.left_out:
        out.print(Text(printable(failure.line)))
    if any(len(curve) > 1 for curve in found.curve.values()):
        out.print(_curves(found))
    show_afterwards(found.afterwards)
    out.print(Text(printable(found.place)))


def _curves(found: PlanDecision) -> Table:
    """Test scores at every temperature."""
    heats = sorted({heat for curve in found.curve.values() for heat in curve})
    texts, unit = {arm: found.decision.labels[arm] for arm in found.curve}, found.decision.unit
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    least = arm_width(texts.values())
    table.add_column("test score at temperature", overflow="fold", min_width=least)
    for heat in heats:
        table.add_column(f"{heat:g}", justify="right")
    for arm, curve in found.curve.items():
        cells = (in_unit(curve[heat], unit) if heat in curve else "" for heat in heats)
        table.add_row(Text(printable(texts[arm])), *cells)
    return table
