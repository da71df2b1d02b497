"""A plan that was carried out, as the page shows it: its decision from the records, and its tables."""

from __future__ import annotations

from pathlib import Path

from harness.compare.decide import Part
from harness.compare.plan_decision import PlanDecision, decision_of
from harness.records.metrics import in_unit
from harness.records.runs import Results
from harness.report.tables import Table, interval, signed
from harness.statistics.paired import probability
from harness.study.afterwards import afterwards_of
from harness.study.from_records import Evidence
from harness.study.run_race import parts_of
from harness.study.run_study import Confirmed


def carried_out(evidence: Evidence, results: Path, margin: float | None) -> PlanDecision | None:
    """What a plan has come to; None of a study of arms, and where no fine-tune is finished.

    Args:
        evidence: of the records.
        results: folder in which they lie, beside the checkpoints.
        margin: difference that does not matter; None: one point for shares.

    Raises:
        InputError: runs that were scored on different documents or by different metrics.
    """
    study = evidence.study
    if not study.steps or study.base().id not in evidence.done:
        return None
    found = Confirmed(
        verdict=None, study=study, runs=evidence.runs, complete=not evidence.left(),
        parts=parts_of(study, Results(results)),
        afterwards=afterwards_of(study, evidence.runs, Results(results).afterwards()),
    )  # fmt: skip
    return decision_of(found, results, margin=margin)


def plan_tables(found: PlanDecision) -> tuple[Table, ...]:
    """The arms on the documents that chose and on those that did not."""
    decision = found.decision
    parts = (decision.chosen_on, decision.test)
    return tuple(_table(found, part) for part in parts if part is not None)


def _table(found: PlanDecision, part: Part) -> Table:
    """Every run, the best first, and what the best of those that chose is ahead of some of them by."""
    decision = found.decision
    texts, best = decision.labels, decision.labels[decision.best]
    rows = {row.baseline: row for row in part.rows}
    lines = []
    for one in part.standings:
        row = rows.get(one.arm)
        lines.append(
            (
                texts[one.arm],
                "kept" if one.arm == decision.keep and found.fine_tune else "",
                in_unit(one.mean, decision.unit),
                in_unit(one.standard_error, decision.unit),
                *(
                    ("", "", "", "")
                    if row is None
                    else (
                        signed(row.difference.estimate, row.unit),
                        interval(row.difference.interval, row.unit),
                        probability(row.adjusted_p),
                        row.verdict,
                    )
                ),
            )
        )
    what = "chose" if part.name == decision.chosen_on.name else "did not choose"
    return Table(
        columns=(
            "arm",
            "",
            "score",
            "standard error",
            "the best less it",
            "95 % interval",
            "p",
            "it is",
        ),
        groups=(("", tuple(lines)),),
        caption=f"{part.documents:,} {part.name} documents, which {what}; scores in {decision.unit} at the "
        f"temperature of use. The best on those that chose is {best}.",
    )


def plan_curve(found: PlanDecision) -> tuple[Table, ...]:
    """Scores on test documents by temperature; nothing where answers have one temperature, or none."""
    heats = sorted({heat for curve in found.curve.values() for heat in curve})
    if len(heats) < 2:
        return ()
    labels, unit = found.decision.labels, found.decision.unit
    rows = tuple(
        (labels[arm], *(in_unit(curve[t], unit) if t in curve else "" for t in heats))
        for arm, curve in found.curve.items()
    )
    return (
        Table(
            columns=("arm", *(f"{heat:g}" for heat in heats)),
            groups=(("", rows),),
            caption="Score on test documents by decoding temperature.",
        ),
    )
