"""The figures of a study: which data go into which plot of `harness.plots`, and what a reader should see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from advisor.errors import InputError
from harness import plots
from harness.compare import Comparison
from harness.plots import Curve, Estimate, Gain
from harness.plots.style import objective_of
from harness.published import read_published
from harness.ranks import Aggregate, aggregate
from harness.records import Run
from harness.studies import Evidence
from harness.study import BASE, NLL, Arm, arm_scores, part_values
from harness.verdict import Verdict

PUBLISHED = {"neg_p": "neg_p", "threshold": "threshold(0.2)"}
"""Columns of the table of published cells -> labels of the arms."""
CONTROL = Arm(objective=NLL, tenth=True).label
WIDTH, HEIGHT = 4.6, 3.1
"""Inches: text is then as large as the page's small print, in two columns or on a telephone."""
HERE, ELSEWHERE = "this study", "other studies"
"""Domains of points in the continuum plot, beside "published"."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A plot on the page."""

    svg: str
    """An element; the only text of the page that is not escaped, see `harness.plots.svg`."""
    caption: str
    """How to read it."""


def study_figures(
    evidence: Evidence, verdict: Verdict | None, elsewhere: Sequence[Gain], margin: float
) -> list[Figure]:
    """Every figure that the runs of a study allow; without a verdict, those that need none.

    Args:
        evidence: the study.
        verdict: of `settle`; None where nothing can be settled yet.
        elsewhere: points of the continuum that are not this study's.
        margin: points that do not matter.
    """
    settled = [] if verdict is None else _settled(evidence, verdict, margin)
    figures = [*settled, *_training(evidence), *_prior(evidence)]
    if verdict is not None and (own := gains(evidence, verdict, domain=HERE)):
        figures.append(continuum([*elsewhere, *own]))
    return figures


def _settled(evidence: Evidence, verdict: Verdict, margin: float) -> list[Figure]:
    """What takes a chosen learning rate per arm."""
    rows, scores = verdict.rows, task_scores(evidence)
    figures = [
        Figure(
            svg=_draw(plots.forest, rows, rows=len(rows), margin=margin),
            caption="Right of zero the arm is better. An interval inside the shaded margin is a difference "
            "that does not matter; one that leaves it and covers zero is not resolved.",
        ),
        Figure(
            svg=_draw(plots.benchmarks, scores, rows=sum(map(len, scores.values()))),
            caption="Test documents at the temperature of use. The line is the untouched model. The arms "
            "share documents, so overlapping intervals do not mean a tie.",
        ),
    ]
    if len(evidence.study.tasks) > 1:
        ranked = task_ranks(evidence)
        figures.append(
            Figure(
                svg=_draw(plots.ranks, ranked, rows=len(ranked)),
                caption="1 is best on every task. Intervals over few runs are narrow: they order, they do "
                "not decide.",
            )
        )
    if len(curves := temperature_curves(evidence, verdict)) and len(verdict.curve[NLL]) > 1:
        of_use = evidence.study.temperature
        figures.append(
            Figure(
                svg=_draw(plots.temperatures, curves, of_use=of_use),
                caption="Where NLL decoded more coolly reaches the winner, the gain is sharpening.",
            )
        )
    figures.append(
        Figure(
            svg=_draw(plots.learning_rates, rate_curves(evidence)),
            caption="Development documents, first seed: each objective keeps its best rate.",
        )
    )
    return figures


def _training(evidence: Evidence) -> list[Figure]:
    """NLL and mean p of the training tokens; before arms are chosen, of every run."""
    curves = training_curves(evidence)
    found = [
        name for name in ("nll", "mean_p") if any(name in step for c in curves for step in c.steps)
    ]
    captions = {
        "nll": "The same measure for every arm: losses of different objectives have scales of their own and "
        "cannot be compared. A lower NLL is not a better model; the scores decide.",
        "mean_p": "How probable the model finds the tokens it trains on.",
    }
    return [
        Figure(
            svg=_draw(plots.training_curves, curves, measure),
            caption=captions[measure],
        )
        for measure in found
    ]


def _prior(evidence: Evidence) -> list[Figure]:
    prior = evidence.prior
    if "histogram" not in prior or not evidence.study.objectives:
        return []
    return [
        Figure(
            svg=_draw(plots.histogram, prior, evidence.study.objectives),
            caption="How probable the untouched model finds the target tokens, and how much each objective "
            "counts a token of that probability.",
        )
    ]


def continuum(points: Sequence[Gain]) -> Figure:
    """Gain over NLL against mean p, of several studies."""
    return Figure(
        svg=_draw(plots.continuum, points),
        caption="Published cells are models of 1.5 to 8 billion parameters; tiny models need not lie "
        "among them.",
    )


def comparison_figure(comparison: Comparison, margin: float) -> Figure:
    """The differences of `advisor compare`."""
    rows = comparison.rows
    return Figure(
        svg=_draw(plots.forest, rows, rows=len(rows), margin=margin, levels=comparison.levels),
        caption="Right of zero the arm is better than the baseline.",
    )


def _draw(
    function: Callable[..., Axes], *data: Any, rows: int | None = None, **settings: Any
) -> str:
    figure, axes = plots.make_figure(rows=rows, width=WIDTH, height=HEIGHT)
    function(axes, *data, **settings)
    return plots.svg(figure)


def task_scores(evidence: Evidence) -> dict[str, dict[str, Estimate]]:
    """Task -> arm -> score on test documents at the temperature of use."""
    return {
        task: {
            arm.label: Estimate.of([_test(evidence, run)[task] for run in _runs(evidence, arm)])
            for arm in evidence.arms()
        }
        for task in evidence.study.tasks
    }


def task_ranks(evidence: Evidence) -> dict[str, Aggregate]:
    """Every arm over all tasks, from a fixed state of the bootstrap."""
    scores = {
        arm.label: [
            [_test(evidence, run)[task].mean() for task in evidence.study.tasks]
            for run in _runs(evidence, arm)
        ]
        for arm in evidence.arms()
    }
    return aggregate(scores, NLL, np.random.default_rng(0))


def temperature_curves(evidence: Evidence, verdict: Verdict) -> dict[str, dict[float, Estimate]]:
    """Base, NLL and the best other arm -> temperature -> score on test documents."""
    others = [row for row in verdict.rows if row.baseline == NLL and row.arm != CONTROL]
    best = max(others, key=lambda row: row.score).arm if others else NLL
    wanted = {BASE, NLL, best, verdict.winner}
    done, study = evidence.done, evidence.study
    return {
        arm.label: {
            t: Estimate.of(arm_scores(study, arm, done, evidence.seeds(arm), t))
            for t in verdict.curve[arm.label]
        }
        for arm in evidence.arms()
        if arm.label in wanted
    }


def rate_curves(evidence: Evidence) -> dict[str, dict[float, Estimate]]:
    """Objective -> learning rate -> score on development documents, of the first seed."""
    study = evidence.study
    tried = [run for run in evidence.runs if run.spec.seed == study.seeds[0]]
    curves: dict[str, dict[float, Estimate]] = {}
    for name in study.objectives:
        rates = {run.spec.learning_rate: run for run in tried if run.spec.objective == name}
        curves[name] = {
            rate: Estimate.of(np.concatenate(list(part_values(study, run, "development").values())))
            for rate, run in sorted(rates.items())
            if rate is not None
        }
    return curves


def training_curves(evidence: Evidence) -> list[Curve]:
    """The step logs of the chosen arms on all seeds; before arms are chosen, of every run."""
    if evidence.obstacle() is None:
        pairs = [(arm.label, run) for arm in evidence.arms() for run in _runs(evidence, arm)]
    else:
        pairs = [(run.spec.objective, run) for run in evidence.runs]
    return [Curve(arm=arm, seed=run.spec.seed, steps=run.steps) for arm, run in pairs if run.steps]


def gains(evidence: Evidence, verdict: Verdict, *, domain: str | None = None) -> list[Gain]:
    """What each objective gained over NLL at the mean p of the study; none where that was not measured.

    Arms that train on other targets than the demonstrations, whose mean p it is, are left out.
    """
    prior = evidence.prior
    if "mean_p" not in prior:
        return []
    return [
        Gain(
            arm=row.arm,
            mean_p=prior["mean_p"],
            mean_p_interval=tuple(prior["mean_p_interval"]) if "mean_p_interval" in prior else None,
            gain=row.difference.estimate,
            interval=row.difference.interval,
            domain=domain or evidence.runs[0].domain,
            documents=row.difference.documents,
            seeds=row.difference.seeds,
        )
        for row in verdict.rows
        if row.baseline == NLL
        and row.arm != CONTROL
        and "@" not in row.arm
        and objective_of(row.arm) is not None
    ]


def published_gains(path: Path) -> list[Gain]:
    """The cells of a table of published results.

    Raises:
        InputError: unreadable, or a column is missing or holds no number.
    """
    try:
        return [
            Gain(
                arm=arm,
                mean_p=float(c["mean_p"]),
                gain=float(c[name]) - float(c["nll"]),
                domain="published",
            )
            for c in read_published(path)
            for name, arm in PUBLISHED.items()
            if c[name] and c["mean_p"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a table of published results ({error}): mend or move it"
        ) from None


def _runs(evidence: Evidence, arm: Arm) -> list[Run]:
    done = evidence.done
    return [done[evidence.study.spec(arm, seed).id] for seed in evidence.seeds(arm)]


def _test(evidence: Evidence, run: Run) -> dict[str, Any]:
    return part_values(evidence.study, run, "test")
