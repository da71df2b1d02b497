"""Figures hold what they were given: positions, intervals, colours, sizes, and text as it is."""

import io
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from advisor.errors import InputError
from advisor.objectives.table import OBJECTIVES
from harness import plots
from harness.plots import Curve, Estimate, Gain, arm_style
from harness.plots.spending import spending
from harness.plots.style import BLUE, VERMILLION, objective_of
from harness.records.arm import Arm, arm_of
from harness.records.arm import labels as distinct
from harness.statistics.across_tasks import Aggregate
from harness.statistics.paired import Difference, MeanSquares, task_weights
from harness.study.contrasts import Row

HOSTILE = r"$\frac{</svg><script>alert(1)</script>"


def estimate(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    interval = None if low is None or high is None else (low, high)
    return Estimate(value=value, interval=interval, seeds=3, documents=200)


def lines_at(axes: Axes, colour: str) -> list[tuple[list[float], list[float]]]:
    """x and y of every line of a colour, the legend's apart."""
    found = [line for line in axes.lines if to_hex(line.get_color()) == colour.lower()]
    return [
        (list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))) for line in found
    ]


def legend_labels(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def title(axes: Axes) -> str:
    return axes.get_title(loc="left")


def labels(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def contrast(colour: str, ground: str) -> float:
    """Of WCAG 2, from 1 to 21."""
    bright = []
    for shade in (colour, ground):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(shade)
        ]
        bright.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(bright) + 0.05) / (min(bright) + 0.05)


def test_every_objective_has_its_own_look_that_stands_out_on_both_pages() -> None:
    styles = {name: arm_style(name) for name in (*OBJECTIVES, "base")}
    looks = {(s.colour, s.marker, s.dash) for s in styles.values()}
    assert len(looks) == len(OBJECTIVES) + 1
    for page in ("#ffffff", "#0d1117"):
        assert min(contrast(style.colour, page) for style in styles.values()) >= 3
        assert contrast(plots.style.INK, page) >= 4


def test_colours_are_fixed() -> None:
    assert arm_style("nll").colour == "#0072B2"
    assert arm_style("neg_p").colour == arm_style("dft").colour == "#D55E00"
    assert arm_style("threshold").colour == "#009E73"
    assert arm_style("cadft(1)").colour == "#CC79A7"
    common = [arm_style(name) for name in ("nll", "neg_p", "threshold", "cadft", "p_pow")]
    assert len({style.marker for style in common}) == len({style.dash for style in common}) == 5


def test_a_variant_has_the_colour_of_its_family_with_another_line() -> None:
    for family, default, variants in (
        ("threshold", "threshold(0.2)", ("threshold(0.5)", "threshold(10%)")),
        ("nll", "nll", ("nll, lr/10", "nll @ 0.001")),
    ):
        assert arm_style(default) == arm_style(family)
        for variant in variants:
            style = arm_style(variant)
            assert style.colour == arm_style(family).colour
            assert style.dash != arm_style(family).dash
            assert not style.filled
    assert arm_style("some-model") == arm_style("some-model") != arm_style("another-model")


def test_stages_have_the_colour_of_the_last_one_and_a_look_of_their_own() -> None:
    neg_p, cadft = "nll>neg_p(at=0.5)", "nll>cadft(1, at=0.5)"
    for label, last in ((neg_p, "neg_p"), (cadft, "cadft"), ("neg_p>nll(at=0.5)", "nll")):
        style = arm_style(label)
        assert style.colour == arm_style(last).colour and not style.filled
        assert (style.marker, style.dash) != (arm_style(last).marker, arm_style(last).dash)
    assert arm_style("p_anneal").colour == arm_style("p_pow").colour
    earlier, later = (arm_style(f"nll>neg_p(at={at})") for at in (0.25, 0.75))
    assert len({(s.marker, s.dash) for s in (earlier, arm_style(neg_p), later)}) == 3
    for text in (cadft, f"{cadft}, lr/10", f"{cadft} @ 0.001", f"{cadft} at temperature 0.5"):
        found = objective_of(text)
        assert found is not None and found.label == cadft
    assert objective_of("nll>x") is None


def test_an_estimate_is_the_mean_with_an_interval_over_documents() -> None:
    scores = np.array([1.0, 0, 0, 1, 1, 1, 0, 1])
    found = Estimate.of(scores)
    half = 100 * 2.364624 * scores.std(ddof=1) / math.sqrt(8)  # t(7) at 97.5 %
    assert found.value == 62.5
    assert found.interval == pytest.approx((62.5 - half, 100.0), rel=1e-5)  # cut at 100
    assert (found.seeds, found.documents) == (1, 8)
    assert Estimate.of([[1.0], [0.0]]).interval is None
    assert Estimate.of([[3.0, 5.0, 7.0]], scale=1).value == 5


def test_an_estimate_over_tasks_takes_no_difference_between_tasks_for_an_error() -> None:
    """Breaks where tasks of other levels or sizes widen it, or where it leaves what is possible."""
    tasks = [np.arange(100) < 90.0, np.arange(100) < 10.0]
    found = Estimate.of(np.concatenate(tasks), sizes=(100, 100))
    error = math.sqrt(2 * 0.9 * 0.1 / 99) / 2
    assert found.interval is not None and found.value == 50
    assert found.interval[1] - 50 == pytest.approx(100 * error * 1.972, rel=1e-3)  # t(198)
    sizes = (60, 4)
    small = np.concatenate([np.arange(60) < 59, np.arange(4) < 3]) * task_weights(sizes)
    cut = Estimate.of(small, sizes=sizes)
    assert cut.interval is not None and cut.interval[1] == 100


def test_benchmarks_show_scores_intervals_and_the_base_as_a_line() -> None:
    _, axes = plots.make_figure(rows=4)
    scores = {
        "sums": {"base": estimate(20, 15, 25), "nll": estimate(40, 35, 45)},
        "maps": {"nll": estimate(50), "neg_p": estimate(60, 58, 63), "base": estimate(30)},
    }
    assert plots.benchmarks(axes, scores) is axes
    (interval, (first, (y, *_)), (second, _)) = lines_at(axes, arm_style("nll").colour)
    assert interval == ([35, 45], [y, y])
    assert (first, second) == ([40], [50])
    assert -0.45 < y < 0.45
    assert lines_at(axes, arm_style("neg_p").colour)[0][0] == [58, 63]
    base = lines_at(axes, arm_style("base").colour)
    assert base == [([20, 20], [-0.45, 0.45]), ([30, 30], [0.55, 1.45])]
    assert labels(axes) == ["sums", "maps"]
    assert legend_labels(axes) == ["nll", "neg_p", "base, untouched"]
    assert "200 documents, 3 seeds" in title(axes)


def test_ranks_are_ordered_with_their_intervals() -> None:
    def one(rank: float, interval: tuple[float, float] | None) -> Aggregate:
        return Aggregate(
            iqm=0.5, mean_rank=rank, mean_rank_interval=interval, improvement=0.5, runs=3, tasks=6,
        )  # fmt: skip

    _, axes = plots.make_figure(rows=2)
    plots.ranks(axes, {"nll": one(1.75, (1.5, 2.0)), "neg_p": one(1.25, None)})
    assert labels(axes) == ["neg_p", "nll"]
    assert lines_at(axes, arm_style("nll").colour) == [([1.5, 2.0], [1, 1]), ([1.75], [1])]
    assert lines_at(axes, arm_style("neg_p").colour) == [([1.25], [0])]
    assert "6 tasks, 3 seeds" in title(axes)


def test_ways_of_spending_lie_at_their_cost_and_regret() -> None:
    _, axes = plots.make_figure()
    spending(axes, {"plans": {"$two$": (2.0, 3.0)}}, [(1.5, 2.5), (2.5, 1.5)], cells=49)
    assert lines_at(axes, BLUE) == [([1.5, 2.5], [2.5, 1.5])]
    assert lines_at(axes, VERMILLION) == [([2.0], [3.0])]
    assert [text.get_text() for text in axes.texts] == ["$two$"]
    assert legend_labels(axes) == ["the race", "plans"]
    assert not any(text.get_parse_math() for text in axes.texts)
    assert "49 cells" in title(axes)


def test_runs_are_drawn_as_far_as_they_went() -> None:
    _, axes = plots.make_figure()
    curves = {
        "nll": {1 / 8: estimate(10), 1 / 4: estimate(20)},
        "neg_p": {1 / 8: estimate(15), 1 / 4: estimate(30), 1.0: estimate(60)},
    }
    plots.along_training(axes, curves)
    assert lines_at(axes, arm_style("nll").colour) == [([1 / 8, 1 / 4], [10, 20])]
    assert lines_at(axes, arm_style("neg_p").colour) == [([1 / 8, 1 / 4, 1], [15, 30, 60])]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1/8", "1/4", "1"]
    assert "1 run of 2 to the end" in title(axes)


def test_learning_rates_are_logarithmic_one_line_per_objective() -> None:
    _, axes = plots.make_figure()
    curves = {
        "nll": {1e-3: estimate(60, 50, 70), 1e-4: estimate(40)},
        "neg_p": {1e-4: estimate(30)},
    }
    plots.learning_rates(axes, curves)
    assert axes.get_xscale() == "log"
    assert lines_at(axes, arm_style("nll").colour) == [
        ([1e-4, 1e-3], [40, 60]),
        ([1e-3, 1e-3], [50, 70]),
    ]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.0001", "0.001"]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left < 1e-4 < 1e-3 < right
    assert bottom < 30 < 70 < top < 100


def test_temperatures_have_bands_and_the_temperature_of_use() -> None:
    _, axes = plots.make_figure()
    curve = {1.0: estimate(50, 45, 55), 0.0: estimate(90, 88, 92), 0.5: estimate(70)}
    plots.temperatures(axes, {"base": {0.0: estimate(10)}, "nll": curve}, of_use=1.0)
    assert lines_at(axes, arm_style("nll").colour) == [([0, 0.5, 1], [90, 70, 50])]
    band = {
        tuple(map(float, point))
        for found in axes.collections
        for path in found.get_paths()
        for point in path.vertices
    }
    assert {(0.0, 88.0), (0.0, 92.0), (1.0, 45.0), (1.0, 55.0)} <= band
    assert not any(x == 0.5 for x, _ in band)
    assert ([1.0, 1.0], [0, 1]) in lines_at(axes, plots.style.INK)


def test_training_curves_are_one_line_per_run_and_pass_over_gaps() -> None:
    _, axes = plots.make_figure()
    steps = [{"step": 5, "nll": 2.0}, {"step": 10, "nll": None}, {"step": 15, "nll": 1.0}]
    curves = [
        Curve(arm="nll", seed=0, steps=steps),
        Curve(arm="nll", seed=1, steps=steps[:1]),
        Curve(arm="neg_p", seed=1, steps=[{"step": 5, "mean_p": 0.5}]),
    ]
    plots.training_curves(axes, curves, "nll")
    assert lines_at(axes, arm_style("nll").colour) == [([5, 15], [2, 1]), ([5], [2])]
    assert lines_at(axes, arm_style("neg_p").colour) == []
    assert legend_labels(axes) == ["nll"]
    assert "2 runs, 2 seeds" in title(axes)


def row(
    arm: str, baseline: str, value: float, interval: tuple[float, float], **changes: Any
) -> Row:
    seeds, documents = changes.pop("seeds", 2), changes.pop("documents", 300)
    found = Difference(
        estimate=value, interval=interval, interval_90=interval, standard_error=1, document_error=1,
        p_value=0.5, degrees_of_freedom=9, seeds=seeds, documents=documents,
        squares=MeanSquares(documents=1, seeds=0, residual=0, count=documents, runs=seeds, freedom=9),
    )  # fmt: skip
    settings: dict[str, Any] = {
        "task": "sums", "temperature": 1.0, "score": 50, "baseline_score": 40, "adjusted_p": 0.01,
        "verdict": "better", "dropped": False,
    }  # fmt: skip
    return Row(
        arm=arm_of(arm), baseline=arm_of(baseline), difference=found, **{**settings, **changes}
    )


def texts(rows: list[Row]) -> dict[Arm, str]:
    return distinct(arm for found in rows for arm in (found.arm, found.baseline))


def margin_span(axes: Axes) -> tuple[float, float]:
    (span,) = axes.patches
    box = span.get_extents().transformed(axes.transData.inverted())
    return box.x0, box.x1


def test_forest_of_a_confirmation() -> None:
    _, axes = plots.make_figure(rows=3)
    rows = [
        row("neg_p", "nll", 10, (5, 15)),
        row("cadft(1)", "nll", -3, (-8, 2), dropped=True),
        row("nll", "base", 0.25, (-1, 1)),
    ]
    plots.forest(axes, rows, texts(rows), margin=2.5)
    assert lines_at(axes, arm_style("neg_p").colour) == [([5, 15], [1, 1]), ([10], [1])]
    assert lines_at(axes, arm_style("cadft").colour)[0] == ([-8, 2], [2, 2])
    assert lines_at(axes, arm_style("nll").colour)[1] == ([0.25], [4])
    assert margin_span(axes) == pytest.approx((-2.5, 2.5))
    written = [text.get_text() for text in axes.texts]
    assert written == [
        "less nll", "+10.0 better", "\N{MINUS SIGN}3.0 better, dropped", "less base", "+0.2 better",
    ]  # fmt: skip
    assert "sums, temperature 1, 300 documents, 2 seeds" in title(axes)
    assert "less than 2.5 either way does not matter" in title(axes)
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first row on top


def test_forest_of_a_comparison_names_tasks_and_takes_sizes_from_the_rows() -> None:
    _, axes = plots.make_figure(rows=2)
    rows = [
        row("neg_p", "nll", value, (value - 1, value + 1), task=task, temperature=0.0, seeds=seeds,
            documents=documents, verdict="not resolved")
        for task, value, seeds, documents in (("sums", 4.0, 1, 100), ("maps", -4.0, 4, 1000))
    ]  # fmt: skip
    plots.forest(axes, rows, texts(rows))
    written = [text.get_text() for text in axes.texts]
    assert written[::2] == ["less nll, sums, temperature 0", "less nll, maps, temperature 0"]
    assert lines_at(axes, arm_style("neg_p").colour)[3] == ([-4], [3])
    assert "100 to 1,000 documents, 1 to 4 seeds" in title(axes)


def test_a_forest_in_another_unit_says_so_and_shades_no_margin() -> None:
    _, axes = plots.make_figure(rows=1)
    rows = [row("neg_p", "nll", -0.5, (-0.8, -0.2), unit="nats per word", higher_is_better=False)]
    plots.forest(axes, rows, texts(rows), margin=None, unit="nats per word")
    assert axes.get_xlabel() == "difference, nats per word"
    close = [replace(rows[0], difference=replace(rows[0].difference, estimate=-0.0321))]
    plots.forest(axes, close, texts(close), margin=None, unit="nats per word")
    assert [text.get_text() for text in axes.texts][-1] == "\N{MINUS SIGN}0.0321 better"
    assert not axes.patches and "does not matter" not in title(axes)


def test_arms_called_alike_are_told_apart_in_a_forest() -> None:
    _, axes = plots.make_figure(rows=2)
    rows = [
        replace(row("neg_p", "nll", 1, (0, 2)), arm=arm_of("neg_p", learning_rate=rate))
        for rate in (1e-3, 1e-4)
    ]
    plots.forest(axes, rows, texts(rows))
    ticks = [label.get_text() for label in axes.get_yticklabels()]
    assert ticks == ["neg_p @ 0.001", "neg_p @ 0.0001"]


def test_continuum_places_points_in_the_shaded_regimes() -> None:
    _, axes = plots.make_figure()
    points = [
        Gain(arm="neg_p", mean_p=0.8, gain=15, domain="published"),
        Gain(
            arm="nll, lr/10", mean_p=0.1, gain=-5, domain="ladder", mean_p_interval=(0.05, 0.15),
            interval=(-9, -1), documents=300, seeds=3,
        ),
    ]  # fmt: skip
    plots.continuum(axes, points)
    spans = [
        p.get_extents().transformed(axes.transData.inverted()).intervalx.tolist()
        for p in axes.patches
    ]
    weak, strong = (0.07 + 0.50) / 2, (0.59 + 0.76) / 2
    assert np.allclose(spans, [(0, weak), (weak, strong), (strong, 1)])
    assert lines_at(axes, arm_style("neg_p").colour) == [([0.8], [15])]
    assert lines_at(axes, arm_style("nll").colour) == [
        ([0.1, 0.1], [-9, -1]),
        ([0.05, 0.15], [-5, -5]),
        ([0.1], [-5]),
    ]
    markers = {line.get_marker() for line in axes.lines if len(line.get_xdata()) == 1}
    assert markers == {"D", "o"}
    assert legend_labels(axes) == ["neg_p", "nll, lr/10", "published", "ladder"]
    assert "published cells are single runs" in title(axes)


def test_histogram_draws_shares_and_the_weights_that_p_decides() -> None:
    figure, axes = plots.make_figure()
    prior = {"histogram": [30] + [0] * 18 + [90], "target_tokens": 120, "examples": 7}
    arms = [
        "base",
        "nll",
        "nll, lr/10",
        "neg_p",
        "threshold(0.2)",
        "threshold(20%)",
        "nll>neg_p(at=0.5)",
        "p_anneal(0, 1, 0, 1)",
        "nll>threshold(20%, at=0.5)",
        "cadft(1)",
        "x",
    ]
    plots.histogram(axes, prior, arms)
    (steps,) = axes.patches
    assert steps.get_data().values.tolist() == [25] + [0] * 18 + [75]
    assert steps.get_data().edges[[0, 1, -1]].tolist() == [0, 0.05, 1]
    nll, neg_p, threshold, quantile = figure.axes[1].lines
    p = np.asarray(nll.get_xdata())
    assert np.allclose(nll.get_ydata(), 1)
    assert np.allclose(neg_p.get_ydata(), p)
    assert np.array_equal(threshold.get_ydata(), (p >= 0.2).astype(float))
    below_20_percent = 0.05 * 20 / 25  # the first bin, up to 0.05, holds 25 %
    assert np.array_equal(quantile.get_ydata(), (p >= below_20_percent).astype(float))
    assert "120 target tokens, 7 examples" in title(axes)
    assert title(axes).endswith("cadft(1), x")


def hostile_figure() -> Figure:
    figure, axes = plots.make_figure()
    plots.benchmarks(
        axes, {HOSTILE: {HOSTILE: estimate(1), "_hidden\x00": estimate(2), "$x_1$": estimate(3)}}
    )
    return figure


def test_hostile_text_is_drawn_literally_and_escaped() -> None:
    text = plots.svg(hostile_figure())
    assert "<script" not in text
    found = [e.text for e in ElementTree.fromstring(text).iter() if e.tag.endswith("text")]
    assert "$x_1$" in found
    assert found.count(plots.shorten(HOSTILE, 24)) == 2
    assert HOSTILE.startswith(plots.shorten(HOSTILE, 24)[:-1])
    assert r"_hidden\x00" in found


def test_long_labels_are_shortened() -> None:
    assert plots.shorten("a" * 40, 10) == "a" * 9 + "…"
    assert plots.shorten("two\n lines") == "two lines"
    assert plots.shorten("\x1b[31m\u202e") == "\\x1b[31m\\u202e"


def small_figure(value: float = 1.0) -> Figure:
    figure, axes = plots.make_figure()
    plots.temperatures(axes, {"nll": {0.0: estimate(value, 0, 3), 1.0: estimate(2, 1, 3)}})
    return figure


def test_svg_is_deterministic_and_takes_the_colour_of_the_page() -> None:
    figure = small_figure()
    text = plots.svg(figure)
    assert text == plots.svg(figure) == plots.svg(small_figure())
    assert text.startswith("<svg ")
    assert "currentColor" in text
    assert plots.style.INK not in text
    assert "<style" not in text
    assert "metadata" not in text
    assert 'aria-label="Score by decoding temperature: 200 documents' in text


def test_ids_resolve_and_do_not_clash_in_a_page() -> None:
    ids = []
    for figure in (small_figure(), small_figure(1.5)):
        root = ElementTree.fromstring(plots.svg(figure))
        own = [value for e in root.iter() if (value := e.get("id"))]
        used = {e.get("href", "#")[1:] for e in root.iter() if e.tag.endswith("use")}
        used |= {clip[5:-1] for e in root.iter() if (clip := e.get("clip-path"))}
        assert used
        assert used <= set(own)
        ids += own
    assert len(ids) == len(set(ids))


def test_save_writes_both_files_and_nothing_else(tmp_path: Path) -> None:
    vector, bitmap = plots.save(small_figure(), tmp_path / "new" / "fig.1")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["fig.1.png", "fig.1.svg"]
    assert plots.style.INK in vector.read_text(encoding="utf-8")
    pixels = imread(io.BytesIO(bitmap.read_bytes()))
    assert pixels[0, 0, 3] == 0  # transparent
    again = plots.save(small_figure(), tmp_path / "fig")
    assert again[1].read_bytes() == bitmap.read_bytes()


def test_save_refuses_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken cannot be written"):
        plots.save(small_figure(), tmp_path / "taken" / "fig")


def test_a_glyph_that_the_font_lacks_does_not_warn(tmp_path: Path) -> None:
    figure, axes = plots.make_figure()
    plots.ranks(axes, {})
    axes.set_xlabel("日本")
    assert "日本" in plots.svg(figure)
    plots.save(figure, tmp_path / "fig")


def test_nothing_to_draw_is_no_error() -> None:
    for draw in (
        lambda axes: plots.benchmarks(axes, {}),
        lambda axes: plots.along_training(axes, {"nll": {}}),
        lambda axes: plots.learning_rates(axes, {"nll": {}}),
        lambda axes: plots.temperatures(axes, {"nll": {}}),
        lambda axes: plots.training_curves(axes, [], "nll"),
        lambda axes: plots.forest(axes, [], {}),
        lambda axes: plots.continuum(axes, []),
    ):
        figure, axes = plots.make_figure()
        assert draw(axes) is axes
        figure.draw_without_rendering()
