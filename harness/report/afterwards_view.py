"""What continuing the arms of a study has come to, as the page shows it."""

from __future__ import annotations

from harness.report.tables import Table, interval, signed
from harness.study.afterwards import KS, Afterwards


def afterwards_tables(found: Afterwards | None) -> tuple[Table, ...]:
    """pass@1 and pass@16 of every start before and after GRPO; nothing where nothing was continued."""
    if found is None or not found.rows:
        return ()
    texts = found.labels
    rows = tuple(
        (
            texts[row.arm],
            str(len(row.seeds)),
            *(
                cell
                for k in KS
                for cell in (
                    f"{row.before[k]:.1f}",
                    f"{row.after[k]:.1f}",
                    signed(row.change[k].estimate),
                    interval(row.change[k].interval),
                )
            ),
        )
        for row in found.rows
    )
    heads = (name for k in KS for name in (f"pass@{k}", "after", "change", "95 % interval"))
    return (
        Table(
            columns=("start", "seeds", *heads),
            groups=(("", rows),),
            caption=f"Before and after {found.steps} steps of GRPO: points on {found.rows[0].documents:,} "
            "test documents, pass@k without bias from several sampled answers, the change paired over "
            "documents and seeds.",
        ),
    )
