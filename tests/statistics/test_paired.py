"""Paired differences, verdicts and racing: simulated coverage and error rates, and direct computation."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from advisor.errors import InputError
from harness.statistics.paired import (
    holm,
    holm_levels,
    paired_difference,
    survivors,
    task_weights,
    verdict,
)
from tests.helpers.simulated import binary, continuous, covered, differences, studies


@pytest.mark.parametrize(
    ("seeds", "seed_sd"),
    [(1, 0.0), (2, 0.1), (3, 0.0), (3, 0.05), (3, 0.1), (3, 0.5), (5, 0.1), (5, 0.5)],
)
def test_intervals_of_continuous_scores_cover(seeds: int, seed_sd: float) -> None:
    rng = np.random.default_rng(seeds)
    found = differences(continuous(rng, 1500, seeds, 200, seed_sd, mean=0.3))
    assert covered(found, 0.3) >= 0.95 - 0.014  # 2.5 standard errors of the simulation, as below
    wrong = [d.p_value <= 0.05 for d in differences(continuous(rng, 800, seeds, 200, seed_sd))]
    assert np.mean(wrong) <= 0.05 + 0.0193
    if seeds == 1 or seed_sd == 0.5:  # exact there, so not too wide either
        assert covered(found, 0.3) <= 0.95 + 0.014


@pytest.mark.parametrize(("seeds", "seed_sd"), [(1, 0.0), (3, 0.0), (3, 0.3), (5, 0.3)])
@pytest.mark.parametrize("levels", [(0.0, 0.0), (1.5, 0.5)])
def test_intervals_of_binary_scores_cover(
    seeds: int, seed_sd: float, levels: tuple[float, float]
) -> None:
    pairs, truth = binary(np.random.default_rng(7), 1500, seeds, 150, seed_sd, levels)
    assert covered(differences(pairs), truth) >= 0.95 - 0.014


def test_three_seeds_reject_one_percent_at_one_percent() -> None:
    found = differences(continuous(np.random.default_rng(0), 4000, 3, 100, 0.2))
    assert np.mean([d.p_value <= 0.01 for d in found]) <= 0.01 + 0.0039


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_difference_equals_the_two_way_table(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    a, b = rng.normal(size=(2, seeds, 12)) + rng.normal(size=(1, seeds, 1))
    d = a - b
    by_document = seeds * d.mean(0).var(ddof=1)
    by_seed = 12 * d.mean(1).var(ddof=1)
    rest = sum(
        (d[s, i] - d[s].mean() - d[:, i].mean() + d.mean()) ** 2
        for s, i in product(range(seeds), range(12))
    )
    residual = rest / (11 * (seeds - 1))
    variance = (max(by_document, residual) + max(by_seed - residual, 0)) / (12 * seeds)
    weight = min(1, by_seed / (12 * seeds * variance)) ** (0.5 if seeds == 2 else 1)
    found = paired_difference(a, b)
    t = abs(d.mean()) / variance**0.5
    assert found.estimate == pytest.approx(d.mean())
    assert found.standard_error == pytest.approx(variance**0.5)
    expected = 2 * (weight * stats.t.sf(t, seeds - 1) + (1 - weight) * stats.t.sf(t, 11))
    assert found.p_value == pytest.approx(expected)
    for level, (low, high) in ((0.05, found.interval), (0.1, found.interval_90)):
        t = (high - low) / 2 / found.standard_error
        tail = 2 * (weight * stats.t.sf(t, seeds - 1) + (1 - weight) * stats.t.sf(t, 11))
        assert tail == pytest.approx(level)
    half = stats.t.ppf(0.975, found.degrees_of_freedom) * found.standard_error
    assert found.interval[1] - found.estimate == pytest.approx(half)


def test_one_seed_is_the_paired_t_test() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 50))
    expected = stats.ttest_rel(a, b)
    found = paired_difference(a, b)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.interval_90 == pytest.approx(tuple(expected.confidence_interval(0.90)))
    assert (found.degrees_of_freedom, found.document_error) == pytest.approx(
        (49, found.standard_error)
    )


def test_a_mean_over_two_tasks_is_welchs_test() -> None:
    """Breaks where tasks that differ, or small ones that count as much as large ones, are taken for error."""
    rng = np.random.default_rng(0)
    large, small = rng.normal(0.3, 0.4, 400), rng.normal(-0.1, 0.5, 20)
    weighted = np.concatenate([large, small]) * task_weights((400, 20))
    found = paired_difference(weighted, np.zeros(420), sizes=(400, 20))
    expected = stats.ttest_ind(large, -small, equal_var=False)  # twice the mean over both tasks
    assert found.estimate == pytest.approx((large.mean() + small.mean()) / 2)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.degrees_of_freedom == pytest.approx(expected.df)
    low, high = expected.confidence_interval(0.95)
    assert found.interval == pytest.approx((low / 2, high / 2))
    shifted = weighted + np.repeat([5.0, 0.0], (400, 20))
    moved = paired_difference(shifted, np.zeros(420), sizes=(400, 20))
    assert moved.standard_error == pytest.approx(found.standard_error)


@pytest.mark.parametrize(("seeds", "seed_sd"), [(1, 0.0), (3, 0.0), (3, 0.3)])
def test_intervals_of_a_mean_over_tasks_cover(seeds: int, seed_sd: float) -> None:
    rng, sizes = np.random.default_rng(1), (150, 15, 30)
    levels = np.repeat([0.9, -0.5, 0.2], sizes)
    pairs = continuous(rng, 1500, seeds, 195, seed_sd)
    found = [
        paired_difference((a + levels) * task_weights(sizes), b, sizes=sizes) for a, b in pairs
    ]
    assert covered(found, 0.2) >= 0.95 - 0.014
    if seeds == 1:
        assert covered(found, 0.2) <= 0.95 + 0.014


def test_tasks_that_show_no_spread_of_their_own() -> None:
    """Tasks of one document are one task; where no document varies each task has its imagined two."""
    values, nothing = np.random.default_rng(0).normal(size=9), np.zeros(9)
    alone = paired_difference(values, nothing, sizes=(1,) * 9)
    assert alone == paired_difference(values, nothing)
    assert paired_difference(values, nothing, sizes=(1, 8)) == alone
    sizes = (50, 4)
    alike = paired_difference(task_weights(sizes), np.zeros(54), sizes=sizes)
    assert alike.estimate == pytest.approx(1.0)
    assert alike.standard_error == pytest.approx(np.hypot(2**0.5 / 52, 2**0.5 / 6) / 2)
    turned = np.repeat([[1.0, 0.0], [0.0, 1.0]], (27, 27), axis=1)  # seeds differ, documents do not
    assert paired_difference(turned, np.zeros(54), sizes=(27, 27)).standard_error > 0


def test_one_base_run_is_held_against_every_seed() -> None:
    rng = np.random.default_rng(0)
    arm, base = rng.normal(size=(3, 20)), rng.normal(size=20)
    assert paired_difference(arm, base) == paired_difference(arm, np.tile(base, (3, 1)))
    assert paired_difference(base, arm).estimate == pytest.approx(
        -paired_difference(arm, base).estimate
    )


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_no_variation_is_not_certainty(seeds: int, gain: float) -> None:
    few, many = (paired_difference(np.full((seeds, n), gain), np.zeros(n)) for n in (50, 1000))
    assert few.standard_error == pytest.approx(2**0.5 / 52)
    assert (few.p_value == 1.0) if gain == 0 else (few.p_value < 1e-9)
    if gain == 0:
        assert verdict(few, 1.0, 0.01) == "not resolved"
        assert verdict(many, 1.0, 0.01) == ("equivalent" if seeds > 1 else "not resolved")


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((3, 5)), np.zeros((3, 6)), "same documents"),
        (np.zeros((3, 5)), np.zeros((2, 5)), "common seeds"),
        (np.zeros((1, 3, 5)), np.zeros(5), "do not pair"),
        ([1.0, np.nan], [0.0, 1.0], "finite"),
        ([1.0], [0.0], "at least two"),
    ],
)
def test_what_does_not_pair_is_refused(a: object, b: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        paired_difference(a, b)  # type: ignore[arg-type]


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([0.6, 0.7]) == (1.0, 1.0)
    assert holm([]) == ()
    with pytest.raises(InputError, match="p values"):
        holm([0.1, np.nan])
    p = np.random.default_rng(0).random(6)
    for dropped in range(6):
        raised = holm(np.where(np.arange(6) == dropped, 1.0, p))
        assert (np.array(raised) >= np.array(holm(p))).all()


@pytest.mark.parametrize("seed_sd", [0.0, 0.1, 0.5])
def test_family_wise_error_under_holm(seed_sd: float) -> None:
    rng = np.random.default_rng(11)
    wrong = [
        min(holm([paired_difference(study[arm], study["a"]).p_value for arm in "bcde"])) <= 0.05
        for study in studies(rng, 700, 3, seed_sd)
    ]
    assert np.mean(wrong) <= 0.05 + 0.0206


def race(
    study: dict[str, np.ndarray], looks: tuple[int, ...], seed_sd: float | None, keep: str = ""
) -> dict[str, int]:
    """Seeds that each arm got."""
    last, racing = len(study["a"]), list(study)
    got = dict.fromkeys(study, last)
    for look in looks:
        so_far = {arm: study[arm][:look] for arm in racing}
        left = survivors(
            so_far, looks=len(looks), rivals=len(study) - 1, keep=keep, seed_sd=seed_sd
        )
        got |= {arm: look for arm in racing if arm not in left}
        racing = list(left)
    return got


@pytest.mark.parametrize(
    ("seeds", "looks", "true_sd", "assumed"),
    [
        (3, (1, 2), 0.1, 0.1),
        (3, (1, 2), 0.0, 0.1),
        (3, (1, 2), 0.5, None),
        (5, (2, 3, 4), 0.1, None),
    ],
)
def test_errors_hold_under_racing(
    seeds: int, looks: tuple[int, ...], true_sd: float, assumed: float | None
) -> None:
    rng = np.random.default_rng(5)
    lost, wrong = [], []
    for study in studies(rng, 500, seeds, true_sd):
        got = race(study, looks, assumed, keep="a")
        lost.append(got["b"] < seeds)  # all are equally good: any of them stands for the best
        p = [
            paired_difference(study[arm], study["a"]).p_value if got[arm] == seeds else 1.0
            for arm in "bcde"
        ]
        wrong.append(min(holm(p)) <= 0.05)
    assert np.mean(lost) <= 0.05 + 0.0244
    assert np.mean(wrong) <= 0.05 + 0.0244


def test_a_race_drops_what_is_clearly_behind() -> None:
    rng = np.random.default_rng(5)
    early, kept = [], []
    for study in studies(rng, 200, 5, 0.05):
        study["e"] -= 0.5
        early.append(race(study, (1, 2), 0.1)["e"] == 1)
        kept.append(race(study, (1, 2), 0.1, keep="e")["e"] == 5)
        assert race(study, (1,), None)["e"] == 5  # one seed alone says nothing about seeds
    assert np.mean(early) > 0.95
    assert all(kept)
    assert (
        np.mean(
            [
                race({**s, "e": s["e"] - 0.5}, (3, 4), None)["e"] < 5
                for s in studies(rng, 100, 5, 0.05)
            ]
        )
        > 0.9
    )


def test_a_race_over_tasks_counts_no_difference_between_tasks_as_noise() -> None:
    sizes = (400, 40)  # the arm is ahead on one, and further behind on the other
    apart = np.random.default_rng(0).normal(0, 0.1, 440) + np.repeat([0.25, -0.35], sizes)
    behind = apart * task_weights(sizes)
    scores = {"leader": np.zeros(440), "behind": behind}
    assert survivors(scores, looks=2, rivals=1, seed_sd=0.0, sizes=sizes) == ("leader",)
    assert len(survivors(scores, looks=2, rivals=1, seed_sd=0.0)) == 2


@pytest.mark.parametrize(("seeds", "seed_sd"), [(3, 0.0), (5, 0.0), (3, 0.5)])
def test_equivalence_has_its_size_at_the_margin(seeds: int, seed_sd: float) -> None:
    margin = 0.15 if seed_sd == 0 else 2.0
    rng = np.random.default_rng(2)
    at_margin = differences(continuous(rng, 2000, seeds, 200, seed_sd, mean=margin))
    size = np.mean([verdict(d, 1.0, margin) == "equivalent" for d in at_margin])
    assert size <= 0.05 + 0.0122
    if seed_sd > 0:
        assert size >= 0.05 - 0.0122
    inside = differences(continuous(rng, 200, seeds, 200, seed_sd))
    assert np.mean([verdict(d, 1.0, 1.3 * margin) == "equivalent" for d in inside]) > 0.8


def test_verdicts() -> None:
    rng = np.random.default_rng(0)
    base, noise = rng.normal(size=400), rng.normal(0, 0.1, 400)
    twice = np.array([base + noise, base + rng.permutation(noise)])
    up, down, slight = (paired_difference(twice + gain, base) for gain in (0.5, -0.5, 0.03))
    assert verdict(up, up.p_value, 0.1) == "better"
    assert verdict(down, down.p_value, 0.1) == "worse"
    assert verdict(up, 0.06, 0.1) == "not resolved"
    assert slight.p_value < 0.001
    assert verdict(slight, slight.p_value, 0.1) == "equivalent"
    assert verdict(slight, slight.p_value, 0.0) == "better"
    assert verdict(slight, slight.p_value, None) == "better"


def test_one_seed_says_higher_or_lower_and_never_better() -> None:
    """Whatever its size, a difference of two checkpoints is none of two objectives."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=400)
    for gain, says in ((5.0, "ahead"), (-5.0, "behind"), (0.0, "not resolved")):
        found = paired_difference(base + gain + rng.normal(0, 0.1, 400), base)
        assert verdict(found, found.p_value, 10.0) == says


def test_intervals_leave_out_zero_where_the_adjusted_p_is_small() -> None:
    """Holm's p and the interval beside it must not contradict each other, whatever the steps."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        gains = rng.normal(0, 0.05, rng.integers(1, 7))
        noise = rng.normal(0, 0.4, (len(gains), 3, 60))
        found = [paired_difference(g + n, np.zeros(60)) for g, n in zip(gains, noise, strict=True)]
        raw = [d.p_value for d in found]
        for d, p, level in zip(found, holm(raw), holm_levels(raw), strict=True):
            low, high = d.interval_at(level)
            assert (p <= 0.05) == (not low <= 0 <= high)
            assert level <= 0.05 + 1e-12  # never narrower than a 95 % interval
    assert holm_levels([0.03, 0.001, 0.04]) == pytest.approx(
        [0.05 / 2, 0.05 / 3, 0.05 * 0.04 / 0.06]
    )


def test_families_of_equal_arms_are_covered_at_once() -> None:
    """Where no arm differs, all intervals cover zero together in at least 95 % of studies."""
    rng = np.random.default_rng(6)
    missed = 0
    for _ in range(1000):
        found = [paired_difference(rng.normal(0, 0.4, (3, 40)), np.zeros(40)) for _ in range(5)]
        levels = holm_levels([d.p_value for d in found])
        ends = [d.interval_at(level) for d, level in zip(found, levels, strict=True)]
        missed += any(not low <= 0 <= high for low, high in ends)
    assert missed / 1000 <= 0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5
