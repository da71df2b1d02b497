"""The figures of a study: which data go into which plot of `harness.plots`, and what a reader should see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from advisor.advice.recommend import Recommendation
from advisor.errors import InputError
from harness import plots
from harness.compare.compare import Comparison
from harness.compare.plan_decision import PlanDecision
from harness.plots import Curve, Estimate, Gain
from harness.plots.style import objective_of
from harness.records.arm import BASE, DEMONSTRATIONS, NLL, Arm, labels
from harness.records.published import read_published
from harness.records.runs import Run
from harness.statistics.across_tasks import Aggregate, aggregate
from harness.study.contrasts import Row, default_margin
from harness.study.forgetting import trades
from harness.study.from_records import Evidence
from harness.study.study import part_scores, sheet_of
from harness.study.verdict import Verdict

PUBLISHED = {"neg_p": "neg_p", "threshold": "threshold(0.2)"}
"""Columns of the table of published cells -> labels of the arms."""
ARM_OF_CELLS = "neg_p"
"""The objective of the points beside a recommendation: the one that most papers compare with NLL."""
WIDTH, HEIGHT = 4.6, 3.1
"""Inches: text is then as large as the page's small print, in two columns or on a telephone."""
DIRECTIONS = {
    True: "Right of zero the arm is better than the baseline.",
    False: "Left of zero the arm is better than the baseline: lower scores are better.",
}
HERE = "this study"
"""Domain of its points in the continuum plot, beside "published"."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A plot on the page."""

    svg: str
    """An element; the only text of the page that is not escaped, see `harness.plots.svg`."""
    caption: str
    """How to read it."""


def study_figures(
    evidence: Evidence,
    verdict: Verdict | None,
    published: Sequence[Gain] | None,
    margin: float | None,
) -> list[Figure]:
    """Every figure that the runs of a study allow; without a verdict, those that need none.

    Args:
        evidence: the study.
        verdict: of `settle`; None where nothing can be settled yet.
        published: points of the continuum beside this study's; None: the page draws it once, of all studies.
        margin: difference that does not matter; None: one point for shares, none for other units.
    """
    settled = [] if verdict is None else _settled(evidence, verdict, margin)
    figures = [*settled, *_training(evidence), *_prior(evidence)]
    if verdict is None or published is None:
        return figures
    own = gains(evidence, verdict, domain=HERE)
    return [*figures, continuum([*published, *own])] if own else figures


def _settled(evidence: Evidence, verdict: Verdict, margin: float | None) -> list[Figure]:
    """What takes a chosen learning rate per arm."""
    rows, scores = verdict.rows, task_scores(evidence)
    unit, heat = rows[0].unit, verdict.curve[next(iter(verdict.curve))]
    figures = [
        _forest(
            rows,
            verdict.labels,
            margin,
            " An interval inside the shaded margin is a difference that does not matter; one that leaves "
            "it and covers zero is not resolved.",
        ),
        Figure(
            svg=_draw(plots.benchmarks, scores, rows=sum(map(len, scores.values())), unit=unit),
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
    if len(heat) > 1:
        curves, of_use = temperature_curves(evidence, verdict), evidence.study.temperature
        figures.append(
            Figure(
                svg=_draw(plots.temperatures, curves, of_use=of_use, unit=unit),
                caption="If plain NLL at a lower temperature scores as well as the winner, lowering the "
                "temperature does the same.",
            )
        )
    figures.append(
        Figure(
            svg=_draw(plots.learning_rates, rate_curves(evidence), unit=unit),
            caption="Development documents, first seed: each objective keeps its best rate.",
        )
    )
    return figures


def plan_figures(evidence: Evidence, found: PlanDecision | None) -> list[Figure]:
    """Scores of a plan's runs by temperature and along the training, and what a race believed of them."""
    if found is None:
        return []
    return [*_by_temperature(evidence, found), *_along_training(found), *_believed(evidence, found)]


def trade_figures(evidence: Evidence, margin: float | None) -> list[Figure]:
    """What every arm gains and what it forgets, a figure for each guard; nothing without guards."""
    found = trades(evidence, margin=margin)
    if not found:
        return []
    texts = labels([one.gain.arm for one in found])
    figures = []
    for guard in evidence.study.guards:
        own = [one for one in found if one.guard.task == guard]
        points = [
            plots.Traded(
                arm=texts[one.gain.arm],
                gain=one.gain.gain,
                gain_interval=one.gain.gain_interval,
                kept=one.guard.gain,
                kept_interval=one.guard.gain_interval,
                documents=one.guard.difference.documents,
            )
            for one in own
        ]
        if own:
            unit, guard_unit = own[0].gain.unit, own[0].guard.unit
            figures.append(
                Figure(
                    svg=_draw(plots.trade, points, guard=guard, unit=unit, guard_unit=guard_unit),
                    caption="Both against the untouched model, which is where the lines cross. Left of the "
                    "upright line an arm has forgotten; nothing was trained for the guard.",
                )
            )
    return figures


def _along_training(found: PlanDecision) -> list[Figure]:
    """Nothing of runs that were scored at their ends alone."""
    documents = found.decision.chosen_on.documents

    def one(score: float) -> Estimate:
        return Estimate(value=score, interval=None, seeds=1, documents=documents)

    curves = {
        text: {share: one(score) for share, score in curve.items()}
        for text, curve in found.progress().items()
    }
    if not curves:
        return []
    return [
        Figure(
            svg=_draw(plots.along_training, curves, unit=found.decision.unit),
            caption="Development documents, one answer to each before the end. A race leaves a run where "
            "going on was not worth its price; an early score is no verdict.",
        )
    ]


def _believed(evidence: Evidence, found: PlanDecision) -> list[Figure]:
    """Of a race, what each run was expected to score, piece by piece."""
    if not found.standings:
        return []
    study = evidence.study
    specs = [study.run_of(step) for step in study.steps]
    texts = labels([spec.arm for spec in specs])
    expected = {
        texts[spec.arm]: [standing.points.get(spec.id, nan) for standing in found.standings]
        for spec in specs
    }
    regrets = [standing.regret for standing in found.standings]
    return [
        Figure(
            svg=_draw(plots.believed, expected, regrets, unit=found.decision.unit),
            caption="What the race expected each run to score at its end, before every piece that it bought "
            "and after the last. It stopped when no piece was worth its price.",
        )
    ]


def _by_temperature(evidence: Evidence, found: PlanDecision) -> list[Figure]:
    if all(len(curve) < 2 for curve in found.curve.values()):
        return []
    curves = {
        found.decision.labels[arm]: {
            t: _estimate(evidence, arm.trained, temperature=t) for t in curve
        }
        for arm, curve in found.curve.items()
    }
    of_use = evidence.study.temperature
    return [
        Figure(
            svg=_draw(plots.temperatures, curves, of_use=of_use, unit=found.decision.unit),
            caption="Test documents. If a run scores more at a lower temperature, lowering it costs nothing.",
        )
    ]


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
    return [_histogram(prior, evidence.study.objectives)]


def _histogram(prior: Mapping[str, Any], objectives: Sequence[str]) -> Figure:
    return Figure(
        svg=_draw(plots.histogram, prior, objectives),
        caption="How probable the untouched model finds the target tokens, and how much each objective "
        "counts a token of that probability.",
    )


def continuum(points: Sequence[Gain]) -> Figure:
    """Gain over NLL against mean p, of several studies."""
    return Figure(
        svg=_draw(plots.continuum, points),
        caption="Published cells are models of 1.5 to 8 billion parameters; tiny models need not lie "
        "among them.",
    )


def advice_figures(found: Recommendation) -> list[Figure]:
    """Where a pair stands among measured and published ones, and its prior under the plan's objectives."""
    prior = found.prior
    # Told apart as a whole: measured pairs may share a name.
    near = [cell for cell in found.nearest if cell not in found.published]
    points = [
        Gain(
            arm=ARM_OF_CELLS, mean_p=cell.mean_p, gain=cell.gains[ARM_OF_CELLS], domain=cell.domain
        )
        for cell in (*found.published, *near)
        if cell.mean_p is not None and ARM_OF_CELLS in cell.gains
    ]
    here = (prior.mean_p, prior.mean_p_interval)
    figures = [
        Figure(
            svg=_draw(plots.continuum, points, here=here),
            caption="The upright line is this pair, with its 95 % interval. The points are pairs on which "
            "-p, the objective that leans on the prior, was compared with nll: published ones, and measured "
            "ones that are like this pair.",
        )
    ]
    if not any(prior.histogram):
        return figures
    objectives = list(dict.fromkeys(run.objective for run in found.plan.runs))
    return [*figures, _histogram(prior.to_dict(), objectives)]


def comparison_figures(comparison: Comparison, margin: float | None) -> list[Figure]:
    """The differences of `advisor compare`, a figure for each unit and direction."""
    kinds = dict.fromkeys((row.unit, row.higher_is_better) for row in comparison.rows)
    return [
        _forest(rows, comparison.labels, margin)
        for unit, higher in kinds
        if (rows := [r for r in comparison.rows if (r.unit, r.higher_is_better) == (unit, higher)])
    ]


def _forest(
    rows: Sequence[Row], texts: Mapping[Arm, str], margin: float | None, hint: str = ""
) -> Figure:
    """Differences of one unit and direction, the first row's; `hint` follows what the sides mean."""
    unit = rows[0].unit
    return Figure(
        svg=_draw(
            plots.forest,
            rows,
            texts,
            rows=len(rows),
            margin=default_margin(margin, unit),
            unit=unit,
        ),
        caption=DIRECTIONS[rows[0].higher_is_better] + hint,
    )


def _draw(
    function: Callable[..., Axes], *data: Any, rows: int | None = None, **settings: Any
) -> str:
    figure, axes = plots.make_figure(rows=rows, width=WIDTH, height=HEIGHT)
    function(axes, *data, **settings)
    return plots.svg(figure)


def task_scores(evidence: Evidence) -> dict[str, dict[str, Estimate]]:
    """Task -> arm -> score on test documents at the temperature of use."""
    arms = evidence.arms()
    return {
        task: {text: _estimate(evidence, arm, task=task) for arm, text in labels(arms).items()}
        for task in evidence.study.tasks
    }


def _estimate(
    evidence: Evidence, arm: Arm, *, task: str | None = None, temperature: float | None = None
) -> Estimate:
    """Mean test score of an arm, in its unit."""
    board = evidence.board([arm], task=task, temperature=temperature)
    sheets = list(board.runs[arm].values())
    return Estimate.of([sheet.values for sheet in sheets], sizes=sheets[0].sizes, scale=board.scale)


def task_ranks(evidence: Evidence) -> dict[str, Aggregate]:
    """Every arm over all tasks, from a fixed state of the bootstrap."""
    arms, tasks = evidence.arms(), evidence.study.tasks
    boards = [evidence.board(arms, task=task) for task in tasks]
    sign = [1.0 if board.higher_is_better else -1.0 for board in boards]
    scores = {
        text: [
            [s * board.runs[arm][seed].values.mean() for s, board in zip(sign, boards, strict=True)]
            for seed in boards[0].runs[arm]
        ]
        for arm, text in labels(arms).items()
    }
    return aggregate(scores, NLL, np.random.default_rng(0))


def temperature_curves(evidence: Evidence, verdict: Verdict) -> dict[str, dict[float, Estimate]]:
    """Base, NLL and the best other arm -> temperature -> score on test documents."""
    others = [row for row in verdict.against(NLL) if not row.arm.control]
    wanted = {verdict.winner} | {arm for arm in verdict.curve if arm.method in (BASE, NLL)}
    wanted -= {arm for arm in wanted if arm.control}
    if others:
        wanted.add(max(others, key=lambda row: row.gain).arm)
    return {
        text: {t: _estimate(evidence, arm, temperature=t) for t in verdict.curve[arm]}
        for arm, text in labels(evidence.arms()).items()
        if arm in wanted
    }


def rate_curves(evidence: Evidence) -> dict[str, dict[float, Estimate]]:
    """Objective -> learning rate -> score on development documents, of the first seed."""
    study, scale = evidence.study, evidence.board([]).scale
    curves: dict[str, dict[float, Estimate]] = {}
    for spec in study.grid():
        run, rate = evidence.done.get(spec.id), spec.arm.learning_rate
        own = curves.setdefault(spec.arm.method, {})
        if run is not None and rate is not None:
            scores = part_scores(study, run, "development")
            if scores:
                sheet = sheet_of(list(scores.values()))
                own[rate] = Estimate.of(sheet.values, sizes=sheet.sizes, scale=scale)
    return {method: dict(sorted(curve.items())) for method, curve in curves.items()}


def training_curves(evidence: Evidence) -> list[Curve]:
    """The step logs of the chosen arms on all seeds; before arms are chosen, of every run."""
    if evidence.obstacle() is None:
        texts = labels(evidence.arms()).items()
        pairs = [(text, run) for arm, text in texts for run in _runs(evidence, arm)]
    else:
        pairs = [(run.spec.arm.label, run) for run in evidence.runs]
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
            arm=row.arm.label,
            mean_p=prior["mean_p"],
            mean_p_interval=tuple(prior["mean_p_interval"]) if "mean_p_interval" in prior else None,
            gain=row.gain,
            interval=row.gain_interval,
            domain=domain or evidence.runs[0].domain,
            documents=row.difference.documents,
            seeds=row.difference.seeds,
        )
        for row in verdict.against(NLL)
        if row.arm.targets == DEMONSTRATIONS
        and not row.arm.control
        and row.unit == "points"
        and objective_of(row.arm.objective) is not None
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
