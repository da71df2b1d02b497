"""What the page on predictors shows: areas under the curve, sweeps, both checks, and the tables of them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from sklearn.metrics import roc_auc_score

from advisor.errors import InputError
from harness.experiments.calibration import checks, figures, findings
from harness.experiments.calibration.cell_tables import cell_tables
from harness.experiments.calibration.evidence import gather
from harness.experiments.calibration.findings import ERROR, KINDS, RANDOM, Case, Predictor, Step
from harness.experiments.calibration.fit import Sample
from harness.experiments.calibration.grid import Cell, write_grid
from harness.experiments.calibration.judge import Interval
from harness.experiments.calibration.ledger import CellLine, RunLine, append, pack
from harness.experiments.calibration.study_figures import STUDY
from harness.plots import make_figure, svg

CELL = Cell(size="m64", seed=0, step=4000, skill="add", noise="mix", rate=0.4, rows=480)
RATES = {"m64": (1e-3, 3e-3)}
ARMS = ("neg_p", "p_pow(10)", "threshold(0.2)", "cadft(1)", "idft(1, 0.1, 2)")
DEVELOPMENT, TEST = 20, 50
Accuracies = tuple[float, float, float, float]
"""Development and test at temperature 0, development and test at temperature 1."""


def case(
    gain: float, *, error: float = 1.0, mean_p: float = 0.5, cadft: float = 0.0, **changes: Any
) -> Case:
    cell = dataclasses.replace(CELL, **changes)
    sample = Sample(
        cell=cell.name,
        family=cell.family,
        skill=cell.skill,
        text=str(cell.seed),
        features={"mean_p": mean_p},
        gains={"neg_p": gain, "cadft(1)": cadft},
        errors={"neg_p": error, "cadft(1)": error},
    )
    return Case(cell=cell, kind=findings.kind_of(cell), mean_p=mean_p, sample=sample)


def run(cell: Cell, arm: str, rate: float | None, accuracies: Accuracies) -> RunLine:
    """Answers of which the first ones are right."""
    sizes = (DEVELOPMENT, TEST) * 2
    answers = {
        place: pack([number < round(share * size) for number in range(size)])
        for place, share, size in zip(
            ("development@0", "test@0", "development@1", "test@1"), accuracies, sizes, strict=True
        )
    }
    return RunLine(cell=cell.name, objective=arm, learning_rate=rate, seed=0, answers=answers)


def runs(
    cell: Cell, *, nll: Accuracies, tenth: Accuracies, leaning: Accuracies, base: float = 0.1
) -> list[RunLine]:
    """Every arm at every rate, the higher rate always the worse."""
    worse = (0.0, 0.0, 0.0, 0.0)
    low, high = RATES["m64"]
    found = [run(cell, "base", None, (base, 0.9, base, 0.9))]
    for arm in ARMS:
        found += [run(cell, arm, low, leaning), run(cell, arm, high, worse)]
    found += [run(cell, "nll", low, nll), run(cell, "nll", high, worse)]
    return [*found, run(cell, "nll", low / 10, tenth), run(cell, "nll", high / 10, worse)]


def measured(cell: Cell, mean_p: float) -> CellLine:
    prior = {"mean_p": mean_p, "examples": cell.rows}
    return CellLine(cell=cell.name, prior=prior, deep=None, fingerprints={}, environment={})


def test_every_manner_of_the_grid_has_a_kind() -> None:
    kinds = {
        ("add", "none"): "clean",
        ("add", "mix"): "random noise",
        ("add", "systematic"): "systematic error",
        ("add", "bare"): "other manner",
        ("add", "notation"): "other manner",
        ("nov", "none"): "new or graded skill",
        ("op50", "mix"): "new or graded skill",
    }
    for (skill, noise), kind in kinds.items():
        found = findings.kind_of(dataclasses.replace(CELL, skill=skill, noise=noise))
        assert found == kind and found in KINDS


def test_a_weighted_area_is_the_area_of_repeated_cells() -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 5, size=12).astype(float)  # ties among them
    signs = np.array([1, -1, 0] * 4)
    weights = rng.integers(0, 4, size=(30, 12)).astype(float)
    found = findings.weighted_auc(values, signs, weights)
    for row, area in zip(weights.astype(int), found, strict=True):
        counted = np.repeat(np.arange(12), row * (signs != 0))
        truth = signs[counted] > 0
        expected = roc_auc_score(truth, values[counted]) if len(set(truth)) == 2 else math.nan
        assert area == pytest.approx(expected, nan_ok=True)
    assert len(np.unique(found)) > 20


def test_weight_on_one_sign_alone_gives_no_area() -> None:
    values, signs = np.array([0.1, 0.9]), np.array([1, -1])
    found = findings.weighted_auc(values, signs, np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
    assert np.isnan(found).tolist() == [True, True, False] and found[2] == 0


def test_a_statistic_that_tells_has_an_interval_that_excludes_a_half() -> None:
    skills = ("add", "chain", "lin", "unit", "rev", "sort")
    found = [
        case(gain, mean_p=mean_p + 0.01 * seed, skill=skill, seed=seed)
        for seed in (0, 1, 2)
        for turn, skill in enumerate(skills)
        for gain, mean_p in [((8.0, 0.8), (-8.0, 0.2), (1.5, 0.5))[turn % 3]]
    ]
    rows = {row.name: row for row in findings.predictors(found, resamples=300)}
    assert rows["mean_p"].auc == Interval(estimate=1.0, low=1.0, high=1.0)
    assert (rows["mean_p"].won, rows["mean_p"].lost) == (6, 6) and rows["mean_p"].tells
    missing = rows["recovery"]
    assert math.isnan(missing.auc.estimate) and (missing.won, missing.lost) == (0, 0)
    assert not missing.tells
    turned = [
        dataclasses.replace(
            c, sample=dataclasses.replace(c.sample, features={"mean_p": i % 2 - 0.1 * c.cell.seed})
        )
        for i, c in enumerate(found)
    ]
    (blind,) = (r for r in findings.predictors(turned, resamples=300) if r.name == "mean_p")
    assert blind.auc.low < 0.5 < blind.auc.high and not blind.tells


def test_a_sweep_is_the_mean_of_the_known_skills_with_one_number_of_demonstrations() -> None:
    found = [
        case(1, noise="none", rate=0.0, cadft=5),
        case(4, noise="none", rate=0.0, skill="rev"),  # has no wrong annotator
        case(7, noise="none", rate=0.0, skill="chain"),
        case(10, rate=0.4), case(30, rate=0.4, skill="kv"),
        case(90, rate=0.4, rows=96), case(90, rate=0.4, skill="nov"),
        case(90, noise="filler", rate=1.0), case(-20, noise="systematic", rate=0.3),
    ]  # fmt: skip
    noisy = findings.sweep(found, RANDOM, ("neg_p", "cadft(1)"))
    assert [(s.rate, s.cells, s.gains["neg_p"].estimate) for s in noisy] == [
        (0, 3, 4),
        (0.4, 2, 20),
    ]
    assert noisy[0].gains["cadft(1)"].estimate == pytest.approx(5 / 3)
    wrong = findings.sweep(found, ERROR, ("neg_p",))
    assert [(s.rate, s.cells, s.gains["neg_p"].estimate) for s in wrong] == [
        (0, 2, 4),
        (0.3, 1, -20),
    ]


def test_a_mean_of_few_cells_has_no_interval_and_of_more_that_of_the_bootstrap() -> None:
    assert math.isnan(findings.mean([1.0, 2.0]).low) and findings.mean([1.0, 2.0]).estimate == 1.5
    values = np.random.default_rng(0).normal(3, 2, size=400)
    found, error = findings.mean(values.tolist()), values.std() / 20
    assert found.estimate == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.03)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.03)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_better_of_both_rates_is_chosen_on_development_problems(temperature: float) -> None:
    other = (0.5, 0.5)  # of the temperature that is not asked for
    of = lambda *pair: (*pair, *other) if temperature == 0 else (*other, *pair)  # noqa: E731
    low = dataclasses.replace(CELL, skill="lin")
    ledger = [
        # A tenth is better in development and worse in the test: it is taken.
        *runs(CELL, nll=of(0.5, 0.6), tenth=of(0.7, 0.2), leaning=of(0.5, 0.8)),
        # The other way round, and a tie in development: it is not.
        *runs(low, nll=of(0.5, 0.2), tenth=of(0.5, 0.6), leaning=of(0.5, 0.8)),
    ]
    cells = [CELL, low]
    found = findings.cases(cells, {c.name: measured(c, 0.5) for c in cells}, ledger, temperature)
    first, second = checks.rate_checks(found, checks.by_arm(ledger), temperature)
    assert first.lower and not second.lower
    assert (first.gain, first.left) == pytest.approx((20, 60))
    assert (second.gain, second.left) == pytest.approx((60, 60))
    # 30 of 50 differ by one: the error of their mean.
    assert first.left_error == pytest.approx(
        100 * np.repeat([1.0, 0], [30, 20]).std(ddof=1) / 50**0.5
    )
    assert first.sign == 1


def test_the_decodings_are_compared_where_the_leaning_arm_wins_sampled() -> None:
    lost = dataclasses.replace(CELL, skill="lin")
    ledger = [
        *runs(CELL, nll=(0.5, 0.9, 0.5, 0.2), tenth=(0, 0, 0, 0), leaning=(0.5, 0.8, 0.5, 0.6)),
        *runs(lost, nll=(0.5, 0.2, 0.5, 0.5), tenth=(0, 0, 0, 0), leaning=(0.5, 0.9, 0.5, 0.5)),
    ]
    cells = [CELL, lost]
    found = findings.cases(cells, {c.name: measured(c, 0.5) for c in cells}, ledger, 1.0)
    (only,) = checks.decoding_checks(found, checks.by_arm(ledger))
    assert only.case.cell == CELL
    assert (only.sampled, only.decoded, only.greedy) == pytest.approx((40, 30, -10))


def test_base_accuracy_is_that_of_the_development_problems() -> None:
    ledger = runs(CELL, nll=(0, 0, 0, 0), tenth=(0, 0, 0, 0), leaning=(1, 1, 1, 1), base=0.25)
    (found,) = findings.cases([CELL], {CELL.name: measured(CELL, 0.7)}, ledger, 1.0)
    assert found.sample.features[findings.BASE_ACCURACY] == 0.25
    assert (found.mean_p, found.sign) == (0.7, 1)


def predictor(name: str, area: float) -> Predictor:
    interval = Interval(estimate=area, low=area - 0.1, high=area + 0.1)
    return Predictor(name=name, auc=interval, won=4, lost=3)


def test_a_low_area_tells_as_much_as_a_high_one() -> None:
    assert [predictor("cll", area).tells for area in (0.3, 0.45, 0.55, 0.7)] == [
        True,
        False,
        False,
        True,
    ]


def test_dots_stand_at_their_areas_the_farthest_from_a_half_on_top() -> None:
    axes = make_figure()[1]
    rows = [predictor("mean_p", 0.6), predictor("recovery", 0.1), predictor("cll", math.nan)]
    figures.predictor_dots(axes, {1.0: rows}, {"mean_p": "mean p"})
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["recovery", "mean p", "cll"]
    dots = {
        tuple(np.round([line.get_xdata()[0], line.get_ydata()[0]], 6))
        for line in axes.lines
        if len(line.get_xdata()) == 1
    }
    assert dots == {(0.1, 0.0), (0.6, 1.0)}
    assert "4 won, 3 lost" in axes.get_title(loc="left")


def test_gains_stand_over_mean_p_in_the_colour_of_their_kind() -> None:
    axes = make_figure()[1]
    found = [case(-20.0, error=3.0, mean_p=0.3, skill="nov"), case(15.0, mean_p=0.9)]
    hollow = [figures.Published(mean_p=0.8, gain=4.0)]
    figures.gains_by_mean_p(axes, found, hollow, 1.0)
    dots = {
        (line.get_xdata()[0], line.get_ydata()[0]): to_hex(line.get_color())
        for line in axes.lines
        if len(line.get_xdata()) == 1
    }
    colours = [figures.KIND_LOOKS[c.kind][0].lower() for c in found]
    assert dots == {(0.3, -20): colours[0], (0.9, 15): colours[1], (0.8, 4): figures.INK}
    assert [-26.0, -14.0] in [list(line.get_ydata()) for line in axes.lines]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [*KINDS, "published"]


def test_a_sweep_is_drawn_through_its_means_with_an_interval_where_there_is_one() -> None:
    axes = make_figure()[1]
    steps = [
        Step(rate=0.0, gains={"neg_p": Interval(estimate=1, low=0, high=2)}, cells=3),
        Step(rate=0.4, gains={"neg_p": Interval(estimate=9, low=math.nan, high=math.nan)}, cells=2),
    ]
    figures.sweep_lines(axes, {0.0: steps}, {"neg_p": "-p"}, title="Noise")
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines[1:]]
    assert drawn == [([0.0, 0.4], [1, 9]), ([0.0, 0.0], [0, 2])]
    assert "2 to 3 cells a rate" in axes.get_title(loc="left")


def results(folder: Path, accuracies: Mapping[Cell, Mapping[str, Accuracies]]) -> Path:
    """A folder as the page reads it."""
    calibration = folder / "calibration"
    write_grid([*accuracies, dataclasses.replace(CELL, skill="kv")], calibration / "grid.csv")
    for number, (cell, arms) in enumerate(accuracies.items()):
        append(calibration / "ledger.jsonl", measured(cell, 0.1 * (number + 1)))
        for line in runs(cell, **arms):
            append(calibration / "ledger.jsonl", line)
    (folder / "published.csv").write_text(
        "mean_p,temperature,nll,neg_p\n0.8,1.0,6.5,10.5\n0.5,0.0,38,36\n", encoding="utf-8"
    )
    return folder


def shown(folder: Path) -> dict[str, list[Sequence[str]]]:
    """Every table about cells, as the page shows it, by name: its rows."""
    return {name: list(rows) for name, (_, rows) in cell_tables(gather(folder)).items()}


def test_the_tables_say_what_the_records_hold(tmp_path: Path) -> None:
    none = (0.0, 0.0, 0.0, 0.0)
    won = {"nll": (0.5, 0.6, 0.5, 0.2), "tenth": none, "leaning": (0.5, 0.6, 0.5, 0.9)}
    lost = {"nll": (0.5, 0.9, 0.5, 0.9), "tenth": none, "leaning": (0.5, 0.1, 0.5, 0.1)}
    skills = ("add", "chain", "lin", "unit")
    table = {dataclasses.replace(CELL, skill=skill): won for skill in skills}
    table |= {dataclasses.replace(CELL, skill="nov", noise="none", rate=0.0, rows=1920): lost}
    found = shown(results(tmp_path, table))
    study = {name: text for name, text in found["study"]}
    assert study["cells planned, complete"] == "6, 5"
    assert study["skills, of them new or known in part"] == "5, 1"
    assert study["fine-tunes"] == "70"  # 5 cells of 5 arms and NLL with its control, 2 rates each
    assert study["development, test problems"] == "20, 50"
    assert study["learning rates of an arm"] == "2" and study["seeds of a run"] == "1"
    assert found["won"][0][:5] == ("T = 1", "5", "4", "1", "1")
    assert found["won"][1][:3] == ("greedy", "5", "0")
    plus = "+70.0 [+70.0, +70.0]"
    assert any(row[:4] == ["random noise", "0.4", "4", plus] for row in found["noise"])
    assert found["learning-rate-won"][0] == ("T = 1", "4", plus, plus, "4")
    assert found["learning-rate-won"][1] == ("greedy", "0", "", "", "0")
    row = ("random noise", "4", plus, "-30.0 [-30.0, -30.0]", "0", "+0.0 [+0.0, +0.0]", "0, 0")
    assert row in found["decoding"]
    assert found["demonstrations"] == [("new or graded", "1,920"), ("known", "480")]
    assert "nan" not in str(found)


def test_the_tables_show_what_a_smaller_rate_and_greedy_decoding_explain(tmp_path: Path) -> None:
    arms = {
        "nll": (0.5, 0.9, 0.5, 0.2),
        "tenth": (0.6, 0.9, 0.6, 0.9),
        "leaning": (0.5, 0.6, 0.5, 0.6),
    }
    skills = ("add", "chain", "lin", "unit")
    table = {dataclasses.replace(CELL, skill=skill): arms for skill in skills}
    found = shown(results(tmp_path, table))
    assert found["learning-rate-won"][0][3] == "-30.0 [-30.0, -30.0]"  # more than all of it
    assert found["decoding"][-1][:5] == (
        "all",
        "4",
        "+40.0 [+40.0, +40.0]",
        "+30.0 [+30.0, +30.0]",
        "4",
    )
    assert [row[-1] for row in found["won"]] == ["none", "none"]
    assert found["demonstrations"] == [("known", "480")]


def test_a_study_without_a_cell_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cell with all arms"):
        gather(results(tmp_path, {}))


def test_the_figures_are_the_same_every_time(tmp_path: Path) -> None:
    arms = {name: (0.5, 0.9, 0.5, 0.2) for name in ("nll", "tenth", "leaning")}
    folder = results(tmp_path / "results", {CELL: arms})

    def drawn() -> list[str]:
        return [svg(draw(gather(folder), folder)) for draw in STUDY.values()]

    first = drawn()
    assert first == drawn()
    assert len(first) == 3
