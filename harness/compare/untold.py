"""Why a plan ended early, and what to do, in words: the task cannot tell its runs apart."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records.runs import Run
from harness.statistics.power import minimum_detectable, spread
from harness.statistics.telling import Ending
from harness.study.forgetting import UNTOUCHED
from harness.study.study import Study, all_sizes, all_values, ending_of

CANNOT = "The task cannot tell runs apart"
REMEDIES: dict[Ending, str] = {
    "ceiling": "Score on a harder task (--tasks) or with a finer metric (--metric, --scorer).",
    "few": "Score more documents: give more rows, a higher --limit, or --tasks.",
    "floor": (
        "Score on an easier task (--tasks), or with a metric that counts parts of an answer (--metric, "
        "--scorer)."
    ),
    "noise": (
        "Score on another task or on more documents (--tasks), or with a scorer of your own (--scorer); for "
        'where nothing can be scored `advisor recommend` names one run ("no scores").'
    ),
}
"""What to do, a sentence each."""


def untold(study: Study, runs: Sequence[Run]) -> str | None:
    """Why the task cannot tell the runs of a plan apart, and what to do; None where it can."""
    why = ending_of(study, runs)
    return None if why is None else f"{CANNOT}: {_reason(why, study, runs)}. {REMEDIES[why]}"


def _reason(why: Ending, study: Study, runs: Sequence[Run]) -> str:
    """The end of a sentence, less its full stop."""
    done = {run.spec.id: run for run in runs}
    base = all_values(study, done[study.base().id])
    tuned = {
        spec.arm.method: all_values(study, done[spec.id])
        for spec in study.of_steps()
        if spec.id in done
    }
    sizes = all_sizes(study, done[study.base().id])
    alike = f" of {len(sizes)} tasks that count alike" if len(sizes) > 1 else ""
    where = f"on {base.size:,} documents{alike}"
    own = f"{UNTOUCHED} scores {100 * base.mean():.1f} of 100 points {where}"
    if why == "ceiling":
        return f"{own}, so that at most {100 * (1 - base.mean()):.1f} are to be gained"
    if why == "few":
        return f"{own}, and a run that had all of them right would not be told from it"
    names = ", ".join(tuned)
    means = [100 * values.mean() for values in (base, *tuned.values())]
    both = f"{where} {UNTOUCHED} and {'the run' if len(tuned) == 1 else f'{len(tuned)} runs'} ({names})"
    if why == "floor":
        return f"{both} score {max(means):.1f} of 100 points at most"
    hidden = max(
        minimum_detectable(base.size, 1, spread(values, base, sizes=sizes))
        for values in tuned.values()
    )
    return (
        f"{both} score between {min(means):.1f} and {max(means):.1f} points, which is within noise; "
        f"differences below {100 * hidden:.0f} points are hidden by it"
    )
