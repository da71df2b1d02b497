"""The tables of `docs/real-models.md`, as rows of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from advisor.advice.plan import DEFAULT
from harness.experiments.calibration.ledger import RunLine
from harness.experiments.real.between import weighed
from harness.experiments.real.found import (
    APART,
    POINTS,
    FoundCell,
    Place,
    forecast_of,
    found_cells,
    guard_points,
    moved,
    place_of,
    scores_of,
    spearman,
)
from harness.experiments.real.real_plan import ARMS, HIGHER, LONGER_ARMS
from harness.experiments.real.signs import signs
from harness.experiments.replay.cells import RunKey
from harness.experiments.replay.policies import Plan
from harness.experiments.replay.ship import PLANS
from harness.records.arm import NLL
from harness.statistics.paired import Array

Rows = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Head and rows of a table."""
Way = Callable[[FoundCell, float], float]
"""A cell and a temperature to the points that a way to choose a run loses."""
HEATS = {"sampled": 1.0, "greedy": 0.0}
SIZES = (2, 3)
"""Runs of the plans that are chosen anew."""
FORECAST = {"neg_p": "neg_p", "cadft": "cadft(1)"}
"""Name in a forecast -> label of the run."""


def real_tables(results: Path) -> dict[str, Rows]:
    """Every table of the page, by name.

    Args:
        results: folder with `real/`.
    """
    cells = found_cells(results)
    return {
        "done": _done(cells),
        "scores": _scores(cells),
        "regret": _regret(cells),
        "higher": _higher(cells),
        "longer": _longer(cells),
        "seeds": _seeds(cells),
        "between": _between(cells, results),
        "frozen": _frozen(cells),
        "signs": _signs(cells, results),
        "forgetting": _forgetting(cells),
        "kl": _correlations(cells),
    }


def _done(cells: Sequence[FoundCell]) -> Rows:
    """Planned and done."""
    head = ("cell", "demonstrations", "mean p", "runs planned", "done", "minutes a run")
    rows = []
    for one in cells:
        runs = [*one.runs.values(), *one.adapters]
        minutes = f"{np.mean([run.seconds for run in runs]) / 60:.0f}" if runs else ""
        prior = "" if one.measured is None else f"{one.measured.prior['mean_p']:.2f}"
        rows.append(
            (f"`{one.cell.name}`", str(one.cell.rows), prior, str(len(one.planned)), str(one.done), minutes)
        )  # fmt: skip
    total = (str(sum(len(one.planned) for one in cells)), str(sum(one.done for one in cells)))
    return head, [*rows, (f"all {len(cells)}", "", "", *total, "")]


def _scores(cells: Sequence[FoundCell]) -> Rows:
    """Every run that has been made."""
    head = [
        "cell", "run", "rate", "sampled", "less nll, 95 %", "greedy", "less nll, 95 %", "guards", "text NLL",
        "KL",
    ]  # fmt: skip
    rows = []
    for one in cells:
        if one.base is not None:
            rows.append([f"`{one.cell.name}`", "`base`", "", *_points(one.base), *_moved(one.base)])
        for place, run in one.runs.items():
            rows.append(
                [f"`{one.cell.name}`", f"`{place[0]}`", f"{place[1]:g}", *_against(one, place), *_moved(run)]
            )  # fmt: skip
        for run in one.adapters:
            rate = f"{run.learning_rate:g}"
            rows.append(
                [f"`{one.cell.name}`", f"`{run.objective}`", rate, *_points(run), *_moved(run)]
            )
    return head, rows


def _points(run: RunLine) -> list[str]:
    found = []
    for heat in HEATS.values():
        found += [f"{POINTS * run.right('test', heat).mean():.1f}", ""]
    return found


def _against(one: FoundCell, place: Place) -> list[str]:
    """Points, and the difference from NLL at the high rate where that has been made."""
    found = []
    nll = any(objective == NLL for objective, _ in one.runs)
    for heat in HEATS.values():
        text = ""
        if nll and place != one.nll:
            difference = one.less_nll(place, heat)
            low, high = (POINTS * end for end in difference.interval)
            text = f"{POINTS * difference.estimate:+.1f} ({low:+.1f} to {high:+.1f})"
        found += [f"{one.points(place, heat):.1f}", text]
    return found


def _moved(run: RunLine) -> list[str]:
    """What it has moved from the untouched model."""
    text = run.forgetting.get("text_nll")
    kl = f"{run.forgetting['kl']:.2f}"
    return [f"{guard_points(run):.0f}", "" if text is None else f"{text:.2f}", kl]


def _regret(cells: Sequence[FoundCell]) -> Rows:
    """What ways to choose a run lose on the whole cells."""
    whole = [one for one in cells if one.whole]
    head = [
        "kept is the best of",
        "cells",
        "sampled",
        "greedy",
        f"cells {APART:g} points apart: sampled, greedy",
    ]
    ways: dict[str, Way] = {
        "the plan frozen before": lambda one, heat: one.regret(one.plan(heat), heat),
        "its first two runs": lambda one, heat: one.regret(one.plan(heat, runs=2), heat),
        "its first run": lambda one, heat: one.regret(one.plan(heat, runs=1), heat),
        **{f"`--plan {name}` as it is now": partial(_lost, plan) for name, plan in PLANS.items()},
        "nll, high": lambda one, heat: one.regret([one.nll], heat),
        "nll at all rates": lambda one, heat: one.regret(
            [x for x in one.runs if x[0] == NLL], heat
        ),
        "all": lambda one, heat: one.regret(list(one.runs), heat),
    }
    rows = []
    for name, way in ways.items():
        row, apart = [name, str(len(whole))], []
        for heat in HEATS.values():
            row.append(_mean([way(one, heat) for one in whole]))
            wide = [one for one in whole if one.spread(heat) >= APART]
            apart.append(f"{_mean([way(one, heat) for one in wide])} ({len(wide)})")
        rows.append([*row, ", ".join(apart)])
    return head, rows


def _lost(plan: Plan, one: FoundCell, heat: float) -> float:
    """What a plan loses on a cell."""
    scores = one.scores(heat)
    return scores.regret(plan.kept(scores)[0])


def _higher(cells: Sequence[FoundCell]) -> Rows:
    """CADFT at the high rate beside the low one, and what the plan keeps with the one or the other."""
    made = [one for one in cells if one.whole and one.higher is not None]
    low: RunKey = (HIGHER[0], "low")
    nll: RunKey = (NLL, "high")
    plan = PLANS[DEFAULT]
    turned = replace(plan, runs=tuple(HIGHER if run == low else run for run in plan.runs))
    head = ["cell", *(f"{how}: {run}" for how in HEATS for run in ("low", "high", "nll"))]
    head += [f"{how}: kept, {rate}" for how in HEATS for rate in ("low", "high")]
    points = np.array([
        [scores.test[run] for scores in both for run in (low, HIGHER, nll)]
        + [scores.test[way.kept(scores)[0]] for scores in both for way in (plan, turned)]
        for one in made
        for both in ([one.scores_with_higher(heat) for heat in HEATS.values()],)
    ]).reshape(len(made), len(head) - 1)  # fmt: skip
    rows = [[f"`{one.cell.name}`", *_shown(row)] for one, row in zip(made, points, strict=True)]
    return head, [*rows, [f"mean of {len(made)}", *_shown(points.mean(axis=0))]] if made else rows


def _longer(cells: Sequence[FoundCell]) -> Rows:
    """One epoch beside four: what runs score, and what the default plan loses against the best of them."""
    made = [one for one in cells if len(one.longer) == len(LONGER_ARMS)]
    named = [f"`{name}` {word}" for name, word in LONGER_ARMS]
    head = ["cell", "decoding", *named, "the default plan loses"]
    rows = []
    for how, heat in HEATS.items():
        points = {
            f"`{one.cell.name}`": [
                _with_regret(runs, heat)
                for runs in ({arm: one.runs[place_of(arm)] for arm in LONGER_ARMS}, one.longer)
            ]
            for one in made
        }
        if made:
            points[f"mean of {len(made)}"] = np.mean(list(points.values()), axis=0).tolist()
        rows += [
            [name, how, *(f"{one:.1f} → {four:.1f}" for one, four in zip(*pair, strict=True))]
            for name, pair in points.items()
        ]
    return head, rows


def _with_regret(runs: Mapping[RunKey, RunLine], heat: float) -> list[float]:
    """Test points of each run, then what the default plan loses against the best of them."""
    scores = scores_of(runs, heat)
    return [*scores.test.values(), scores.regret(PLANS[DEFAULT].kept(scores)[0])]


def _seeds(cells: Sequence[FoundCell]) -> Rows:
    """By run: what it scores with either seed, where it has two, and how far apart they are."""
    head = ["run", "cells with two seeds"]
    head += [f"{how}: {what}" for how in HEATS for what in ("first", "second", "apart", "at most")]
    pairs = {
        place: np.array([
            [[POINTS * run.right("test", heat).mean() for run in (one.runs[place], one.again[place])]
             for heat in HEATS.values()]
            for one in cells if place in one.again
        ]).reshape(-1, len(HEATS), 2)
        for place in map(place_of, ARMS)
    }  # fmt: skip
    named = {f"`{name}` at {rate:g}": found for (name, rate), found in pairs.items() if len(found)}
    if named:
        named["all"] = np.concatenate(list(named.values()))
    rows = []
    for name, found in named.items():
        apart = np.abs(found[..., 0] - found[..., 1])
        each = [
            [*found[:, heat].mean(0), apart[:, heat].mean(), apart[:, heat].max()]
            for heat in range(len(HEATS))
        ]
        rows.append([name, str(len(found)), *(f"{value:.1f}" for row in each for value in row)])
    return head, rows


def _shown(points: Array) -> list[str]:
    return [f"{value:.1f}" for value in points]


def _between(cells: Sequence[FoundCell], results: Path) -> Rows:
    """What plans lose that were chosen with more or less weight on the other real cells."""
    whole = [one for one in cells if one.whole]
    rows = [
        [str(size), f"{found.weight:g}", ", ".join(f"`{name}` {word}" for name, word in found.plan),
         f"{found.sampled:.1f}", f"{found.greedy:.1f}"]
        for size in SIZES
        for found in weighed(whole, results, size)
    ]  # fmt: skip
    return ("runs", "weight of the real cells", "chosen most often", "sampled", "greedy"), rows


def _mean(regrets: Sequence[float]) -> str:
    return f"{np.mean(regrets):.1f}" if regrets else "none yet"


def _frozen(cells: Sequence[FoundCell]) -> Rows:
    """What was forecast and promised, against what came."""
    head = [
        "cell", "decoding", "arm", "gain over nll, forecast", "measured, 95 %", "sign", "within",
        "plan promised", "plan lost",
    ]  # fmt: skip
    rows = []
    for one in cells:
        if not one.whole or one.measured is None:
            continue
        for how, heat in HEATS.items():
            advice = one.measured.forecast[f"{heat:g}"]
            lost = f"{one.regret(one.plan(heat), heat):.1f}"
            for name, label in FORECAST.items():
                told = forecast_of(one, name, heat)
                place = next((at for at in one.runs if at[0] == label), None)
                if told is None or place is None:
                    continue
                found = one.less_nll(place, heat)
                gain = POINTS * found.estimate
                low, high = (POINTS * end for end in found.interval)
                bottom, top = told["interval"]
                rows.append(
                    [
                        f"`{one.cell.name}`", how, f"`{label}`",
                        f"{told['predicted_gain']:+.0f} [{bottom:+.0f}, {top:+.0f}]",
                        f"{gain:+.1f} ({low:+.1f} to {high:+.1f})",
                        _sign(told["predicted_gain"], (low, high)),
                        "yes" if bottom <= gain <= top else "no",
                        f"{advice['regret']:.1f}", lost,
                    ]
                )  # fmt: skip
    return head, rows


def _signs(cells: Sequence[FoundCell], results: Path) -> Rows:
    """Rank correlations of statistics with gains, a column for each gain."""
    found = signs([one for one in cells if one.whole], results)
    columns = list(dict.fromkeys((one.run, one.heat) for one in found))
    texts = {
        (one.statistic, one.run, one.heat):
            f"{one.ladder[0]:+.2f}; {one.real[0]:+.2f} [{one.real[1]:+.2f}, {one.real[2]:+.2f}]"
        for one in found
    }  # fmt: skip
    names = dict.fromkeys(one.statistic for one in found)
    rows = [[name, *(texts.get((name, *column), "") for column in columns)] for name in names]
    hows = {heat: how for how, heat in HEATS.items()}
    return ["statistic", *(f"`{run[0]}` {hows[heat]}" for run, heat in columns)], rows


def _sign(forecast: float, interval: tuple[float, float]) -> str:
    """Whether a forecast has the sign of what was measured, where that has one."""
    low, high = interval
    if low <= 0 <= high:
        return "tie"
    return "right" if (forecast > 0) == (low > 0) else "wrong"


def _forgetting(cells: Sequence[FoundCell]) -> Rows:
    """By run, means over the whole cells, against the untouched model."""
    whole = [one for one in cells if one.whole and one.base is not None]
    head = [
        "run",
        "rate",
        "cells",
        "guards, points",
        "text NLL, nats",
        "KL, nats",
        "sampled, points",
        "greedy, points",
    ]
    rows = []
    for place in dict.fromkeys(place for one in whole for place in one.runs):
        having = [one for one in whole if place in one.runs]
        found = [
            each for one in having
            for each in moved([FoundCell(**{**vars(one), "runs": {place: one.runs[place]}, "adapters": ()})])
        ]  # fmt: skip
        texts = [each.text for each in found if each.text is not None]
        rows.append(
            [
                f"`{place[0]}`", f"{place[1]:g}", str(len(having)),
                f"{-np.mean([each.lost for each in found]):+.1f}",
                f"{np.mean(texts):+.3f}" if texts else "",
                f"{np.mean([each.kl for each in found]):.2f}",
                *(f"{np.mean([one.points(place, heat) for one in having]):.1f}" for heat in HEATS.values()),
            ]
        )  # fmt: skip
    return head, rows


def _correlations(cells: Sequence[FoundCell]) -> Rows:
    """Whether the divergence on the new task tells what is forgotten."""
    found = list(moved(cells))
    head = ["the divergence on the new task with", "runs", "cells", "rank correlation, 95 %"]
    names = {
        "lost": "points lost on the guards",
        "text": "rise of the NLL of text",
    }
    rows = []
    for of, name in names.items():
        said = spearman(found, of)
        text = (
            "too few cells" if said is None else f"{said[0]:+.2f} [{said[1]:+.2f}, {said[2]:+.2f}]"
        )
        rows.append([name, str(len(found)), str(len({one.cell for one in found})), text])
    return head, rows
