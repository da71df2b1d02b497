"""The tables of `docs/plans.md` and of the README: what plans and rules lose on the measured cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from advisor.advice.plan import DEFAULT
from advisor.advice.replayed import Decoding
from harness.experiments.calibration import study
from harness.experiments.calibration.grid import read_grid
from harness.experiments.calibration.judge import held_out
from harness.experiments.calibration.ledger import read
from harness.experiments.replay.cells import (
    RATE_WORDS,
    SETS,
    TENTH,
    Replayed,
    RunKey,
    calibrated,
    either,
    later,
    staged,
)
from harness.experiments.replay.ended_early import ended_table
from harness.experiments.replay.policies import Lost, Plan, Policy, chosen_elsewhere, lost, race
from harness.experiments.replay.ship import (
    CADFT,
    COMMON,
    HEATS,
    MIDDLE,
    NEWER,
    OLD,
    PLANS,
    SMOOTH,
    THRESHOLD,
)
from harness.records.arm import NLL

Rows = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Head and rows of a table."""
Cells = Mapping[Decoding, Sequence[Replayed]]
"""By how answers are had."""
_PAIR: tuple[RunKey, ...] = ((NLL, "high"), (CADFT, "low"))
EARLIER: dict[str, Plan] = {
    "nll, high": Plan(runs=_PAIR[:1]),
    "cadft, low": Plan(runs=_PAIR[1:]),
    "nll, high and low": Plan(runs=((NLL, "high"), (NLL, "low"))),
    "nll high, cadft low": Plan(runs=_PAIR),
    "the same, threshold low below 95": Plan(runs=_PAIR, more=((THRESHOLD, "low"),)),
    "nll high and low, cadft low": Plan(runs=(*_PAIR, (NLL, "low"))),
    "nll, -p, cadft at both rates": Plan(
        runs=tuple((name, rate) for name in (NLL, "neg_p", CADFT) for rate in RATE_WORDS)
    ),
    "nll, high, low and a tenth": Plan(runs=((NLL, "high"), (NLL, "low"), TENTH)),
    "all": Plan(runs=OLD),
}
"""Of the calibration's runs."""
_OTHERS: tuple[RunKey, ...] = ((MIDDLE, "high"), (CADFT, "low"))
LATER: dict[str, Plan] = {
    "nll, high": EARLIER["nll, high"],
    "nll>neg_p(at=0.5), high": Plan(runs=(("nll>neg_p(at=0.5)", "high"),)),
    f"{MIDDLE}, high": Plan(runs=((MIDDLE, "high"),)),
    "**p_anneal, high** (`--plan one`)": PLANS["one"],
    "nll high, cadft low": EARLIER["nll high, cadft low"],
    f"nll high, {MIDDLE} high": Plan(runs=((NLL, "high"), (MIDDLE, "high"))),
    f"{MIDDLE} high, cadft low": Plan(runs=_OTHERS),
    "**p_anneal high, cadft low** (`--plan two`)": PLANS["two"],
    f"{MIDDLE} high, cadft low, nll high below 95": replace(PLANS["three"], runs=_OTHERS),
    "**p_anneal high, cadft low, nll high below 95** (`--plan three`)": PLANS["three"],
    f"**the same, and {MIDDLE} high** (`--plan four`)": PLANS["four"],
    "**the same, and nll low and neg_p low** (`--plan six`)": PLANS["six"],
    "all": Plan(runs=NEWER),
}
"""Of the runs of the study of staged objectives."""
EITHER = "either"
"""Column of the regret over objective and decoding together."""
TOGETHER: dict[str, Plan] = {
    name: plan for name, plan in LATER.items() if set(plan.runs) | set(plan.more) <= set(COMMON)
} | {"all": Plan(runs=COMMON)}
"""Of the runs that both studies have."""
CHOSEN = ((1, False), (2, False), (2, True))
"""Runs of the plans that are chosen on other cells, and whether there is one more below 95."""
RACE_RUNS = 1 + len({name for name, _ in OLD}) / 8
"""Cost of a race of every objective at an eighth, and the winner in full."""


def replay_tables(results: Path) -> dict[str, Rows]:
    """Every table of the page.

    Args:
        results: folder with `calibration/` and `staged/`.
    """
    earlier: Cells = {how: calibrated(results, OLD, heat) for how, heat in HEATS.items()}
    newer: Cells = {how: staged(results, NEWER, heat) for how, heat in HEATS.items()}
    both: Cells = {how: later(results, COMMON, heat) for how, heat in HEATS.items()}
    found: dict[str, Marks] = {name: _planned(earlier, plan) for name, plan in EARLIER.items()}
    found["the forecast alone, at both rates"] = _forecast(results, earlier)
    found["a race of all at an eighth"] = {
        how: (_with_runs(grid, RACE_RUNS), _with_runs(fresh, RACE_RUNS))
        for how, (grid, fresh) in _both(earlier, race).items()
    }
    return {
        "earlier": _rows({**found, **_elsewhere(earlier, OLD)}),
        "later": _rows(
            {
                **{name: _planned(newer, plan) for name, plan in LATER.items()},
                **_elsewhere(newer, NEWER),
            }
        ),
        "together": _rows(
            {
                **{name: _planned(both, plan) for name, plan in TOGETHER.items()},
                **_elsewhere(both, COMMON),
            }
        ),
        "counts": _counts(earlier, newer, both),
        "rates": _rates(earlier, newer),
        "ended": ended_table(newer),
    }


def short_table(results: Path) -> Rows:
    """Seven rows for the README."""
    both: Cells = {how: later(results, COMMON, heat) for how, heat in HEATS.items()}
    plans = {
        "nll alone": LATER["nll, high"],
        "nll, and cadft at a third of the rate": LATER["nll high, cadft low"],
        **{
            f"`--plan {name}`" + (", the default" if name == DEFAULT else ""): plan
            for name, plan in PLANS.items()
        },
    }
    return _rows({name: _both(both, plan.kept) for name, plan in plans.items()})


Marks = Mapping[str, "Pair"]
"""What is lost, by how answers are had, or either way."""
Pair = tuple[Lost | None, Lost | None]
"""What is lost on the grid and on the fresh cells; None where there are none."""


def _parts(cells: Sequence[Replayed]) -> tuple[list[Replayed], list[Replayed]]:
    return [c for c in cells if not c.fresh], [c for c in cells if c.fresh]


def _planned(cells: Cells, plan: Plan) -> Marks:
    """What a plan loses at each way of decoding, and where it may choose that too."""
    grid, fresh = _parts(either(cells["sampled"], cells["greedy"]))
    chosen = plan.either_way()
    together = lost(grid, chosen.kept), lost(fresh, chosen.kept) if fresh else None
    return {**_both(cells, plan.kept), EITHER: together}


def _both(cells: Cells, policy: Policy) -> dict[str, Pair]:
    found: dict[str, Pair] = {}
    for how, some in cells.items():
        grid, fresh = (lost(part, policy) if part else None for part in _parts(some))
        found[how] = grid, fresh
    return found


def _with_runs(found: Lost | None, runs: float) -> Lost | None:
    return None if found is None else replace(found, runs=runs)


def _forecast(results: Path, cells: Cells) -> dict[str, Pair]:
    """The forecast that saw neither the skill nor the text of a cell; NLL where it is not decided."""
    folder = results / "calibration"
    samples = study.both(read_grid(folder / "grid.csv"), *read(folder))
    found: dict[str, Pair] = {}
    for how, some in cells.items():
        judged = held_out(samples[how], study.RULES[study.SHIPPED_RULE])
        said = {one.sample.cell: one.advice.arm for one in judged}
        known = [cell for cell in _parts(some)[0] if cell.cell.name in said]
        found[how] = (
            lost(
                known,
                lambda cell, said=said: (  # type: ignore[misc]
                    cell.kept([(said[cell.cell.name], rate) for rate in RATE_WORDS]),
                    len(RATE_WORDS),
                ),
            ),
            None,
        )
    return found


def _elsewhere(cells: Cells, among: Sequence[RunKey]) -> dict[str, Marks]:
    """The best plans of a size, chosen on cells of other skills and pretraining texts."""
    grids = {how: _parts(some)[0] for how, some in cells.items()}
    found: dict[str, Marks] = {}
    for size, more in CHOSEN:
        marks = chosen_elsewhere(list(grids.values()), size, among, more=more)
        runs = "run" if size == 1 else "runs"
        third = " and a third below 95" if more else ""
        name = f"the best {size} {runs}{third} of other skills and texts"
        found[name] = {how: (mark, None) for how, mark in zip(grids, marks, strict=True)}
    return found


def _rows(found: Mapping[str, Marks]) -> Rows:
    head = ["kept is the best of"]
    for how in HEATS:
        head += [f"{how}: runs", "regret [fresh]", "90 %", "over 5 [fresh]", "worst"]
    together = any(EITHER in marks for marks in found.values())
    head += [f"{EITHER}: regret [fresh]"] if together else []
    return head, [
        [
            name,
            *(text for how in HEATS for text in _cells(*marks[how])),
            *([_cells(*marks.get(EITHER, (None, None)))[1]] if together else []),
        ]
        for name, marks in found.items()
    ]


def _cells(grid: Lost | None, fresh: Lost | None) -> list[str]:
    if grid is None:
        return [""] * 5
    return [
        f"{grid.runs:.3g}",
        f"{grid.mean:.1f}" + (f" [{fresh.mean:.1f}]" if fresh else ""),
        f"{grid.nine_tenths:.0f}",
        f"{grid.over:.0%}" + (f" [{fresh.over:.0%}]" if fresh else ""),
        f"{grid.worst:.0f}",
    ]


def _counts(earlier: Cells, newer: Cells, both: Cells) -> Rows:
    """How many cells each table rests on."""
    head = ("records", "runs of a cell", *(f"{name} cells" for name in SETS))
    rows = []
    for name, cells, runs in (
        ("calibration", earlier, OLD),
        ("staged objectives", newer, NEWER),
        ("staged objectives and races", both, COMMON),
    ):
        grid, fresh = _parts(cells["sampled"])
        rows.append((name, str(len(runs)), str(len(grid)), str(len(fresh))))
    return head, rows


def _rates(earlier: Cells, newer: Cells) -> Rows:
    """What an objective loses on average at one rate, against the better of its two on the test problems."""
    head = ("objective", *(f"{how}: {rate}" for how in HEATS for rate in RATE_WORDS))
    rows = []
    for cells, names in (
        (earlier, dict.fromkeys(name for name, _ in OLD)),
        (newer, (SMOOTH, MIDDLE)),
    ):
        for name in names:
            losses = [
                fmean(max(cell.test[name, word] for word in RATE_WORDS) - cell.test[name, rate]
                      for cell in cells[how])
                for how in HEATS
                for rate in RATE_WORDS
            ]  # fmt: skip
            rows.append((f"`{name}`", *(f"{loss:.1f}" for loss in losses)))
    return head, rows
