"""From ledger to rules: gains, features, the fit, and how rules are judged on cells they have not seen."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from advisor.advice.features import features
from advisor.advice.forecast import expect, root, square
from harness.experiments.calibration import judge
from harness.experiments.calibration.fit import (
    PENALTY,
    Sample,
    fit,
    kinship_of,
    left_out_error,
    order_of,
    select,
)
from harness.experiments.calibration.gains import TENTH, gains
from harness.experiments.calibration.ledger import RunLine, pack

SKILLS, FAMILIES = "abcdefgh", ("m-0", "m-1", "m-2")


def sample(
    x: float, gain: float, *, skill: str = "a", family: str = "m-0", error: float = 1.0
) -> Sample:
    return Sample(
        cell=f"{skill}{family}{x}", family=family, skill=skill, text=family,
        features={"mean_p": x, "noise": math.sin(1000 * x)},
        gains={"neg_p": gain, "cadft(1)": gain / 2}, errors={"neg_p": error, "cadft(1)": error},
    )  # fmt: skip


def population(slope: float = 4.0, spread: float = 0.4, seed: int = 0) -> list[Sample]:
    """Roots of gains that are linear in a feature, but for some noise."""
    rng = np.random.default_rng(seed)
    found = []
    for skill in SKILLS:
        for family in FAMILIES:
            for _ in range(3):
                x = rng.normal()
                gain = float(square(slope * x + rng.normal(0, spread)))
                found.append(sample(x, gain, skill=skill, family=family))
    return found


def run_line(objective: str, rate: float | None, dev: list[int], test: list[int]) -> RunLine:
    answers = {
        "development@1": pack([bool(v) for v in dev]),
        "test@1": pack([bool(v) for v in test]),
    }
    return RunLine(cell="c", objective=objective, learning_rate=rate, seed=0, answers=answers)


def test_gains_keep_the_rate_that_is_best_on_development() -> None:
    runs = [
        run_line("base", None, [0, 0], [0, 0, 0, 0]),
        run_line("nll", 1e-3, [1, 0], [1, 0, 0, 0]),
        run_line("nll", 3e-4, [0, 0], [1, 1, 1, 1]),  # better on the test, which must not matter
        run_line("nll", 1e-4, [1, 1], [1, 1, 1, 0]),  # a tenth: an arm of its own
        run_line("neg_p", 1e-3, [0, 0], [0, 0, 0, 0]),
        run_line("neg_p", 3e-4, [1, 1], [1, 1, 1, 0]),
    ]
    found = {gain.objective: gain for gain in gains(runs, 1.0)}
    assert found["nll"].score == 25 and found["nll"].gain == 0
    assert found["neg_p"].gain == 50 and found["neg_p"].learning_rate == 3e-4
    assert found[TENTH].gain == 50 and found[TENTH].learning_rate == 1e-4
    assert found["base"].gain == -25
    difference = np.array([1, 1, 1, 0]) - np.array([1, 0, 0, 0])
    assert found["neg_p"].error == pytest.approx(100 * difference.std(ddof=1) / 2)


def test_features_are_what_their_names_say_and_may_be_missing() -> None:
    found = features({"mean_p": 0.8})
    assert found == {"mean_p": pytest.approx(math.log(4))}
    whole = features(
        {"mean_p": 0.5, "mean_log_p": math.log(0.25), "conflict_share": 0.3, "ignorance_share": 0.1,
         "examples": 100, "p_eos": None},
        {"recovery": None, "coherence": 0.9},
    )  # fmt: skip
    assert whole["geometric_mean_p"] == pytest.approx(math.log(1 / 3))
    assert whole["conflict_of_tail"] == pytest.approx(math.log(3))
    assert whole["log_examples"] == 2
    assert "p_eos" not in whole and "recovery" not in whole and whole["coherence"] == 0.9
    assert features({"mean_p": 1.0})["mean_p"] < 10  # held away from infinity


def test_the_fit_finds_a_line_and_says_how_sure_it_is() -> None:
    found = fit(population(spread=1.5), ["mean_p"])
    for x in (-1.0, 0.0, 1.5):
        (half, whole), variance = found.expect({"mean_p": x})  # cadft(1) has half the gain of neg_p
        assert whole == pytest.approx(4 * x, abs=0.6)
        assert half == pytest.approx(4 * x / 2**0.5, abs=0.5)
        assert 1.2 < variance[1] ** 0.5 < 1.9
    inside = [
        low < one.gains["neg_p"] < high
        for one in population(spread=1.5, seed=5)
        if (bounds := expect(found, one.features).intervals["neg_p"])
        for low, high in [bounds]
    ]
    assert 0.88 < np.mean(inside) < 1


def test_the_recommendation_is_the_arm_of_least_expected_regret() -> None:
    found = fit(population(spread=1.5), ["mean_p"])
    strong, weak, middle = (expect(found, {"mean_p": x}) for x in (2.0, -2.0, 0.1))
    assert (strong.recommended, weak.recommended) == ("neg_p", "nll")
    assert strong.p_best["neg_p"] > 0.8 and sum(strong.p_best.values()) == pytest.approx(1)
    assert strong.regret < 0.1 and weak.regret < 0.1 < middle.regret
    assert strong.ranking[-1] == "nll" and weak.ranking[0] == "nll" and weak.gains["nll"] == 0


def test_no_features_give_the_mean_and_too_few_samples_nothing() -> None:
    cells = [sample(x, (3.0 + x) ** 2) for x in (-1.0, 0.0, 1.0)]
    ((_, whole), _) = fit(cells, []).expect({})
    assert whole == pytest.approx(3.0)
    with pytest.raises(ValueError, match="a fit needs three"):
        fit(cells[:2], ["mean_p"])


def test_features_are_chosen_by_ridge_regressions_on_skills_left_out() -> None:
    cells = population(spread=1.0)
    x = np.array([[one.features["mean_p"]] for one in cells])
    y = np.array([[root(one.gains[arm]) for arm in ("cadft(1)", "neg_p")] for one in cells])
    skills = np.array([one.skill for one in cells])
    errors = []
    for skill in SKILLS:
        out = skills == skill
        model = make_pipeline(StandardScaler(), Ridge(alpha=PENALTY)).fit(x[~out], y[~out])
        errors.append((model.predict(x[out]) - y[out]) ** 2)
    assert left_out_error(cells, ["mean_p"]) == pytest.approx(np.mean(np.concatenate(errors)))
    assert select(cells, ["noise", "mean_p"]) == ("mean_p",)
    assert select(population(slope=0.0), ["noise", "mean_p"]) == ()


def test_kinship_is_what_neighbours_of_a_skill_share() -> None:
    rng = np.random.default_rng(0)
    offset = {skill: rng.normal(0, 2) for skill in SKILLS}
    cells = [
        sample(
            x, float(square(4 * x + offset[skill] + rng.normal(0, 1))), skill=skill, family=family
        )
        for skill in SKILLS
        for family in FAMILIES
        for x in rng.normal(size=6)
    ]
    found = kinship_of(cells, fit(cells, ["mean_p"]))
    share = np.var(list(offset.values())) / (np.var(list(offset.values())) + 1)
    assert found.dataset == pytest.approx(share, abs=0.2) and found.other < 0.1
    assert kinship_of(population(), fit(population(), ["mean_p"])).dataset < 0.15


def test_arms_are_ordered_by_their_gain_where_one_of_them_won() -> None:
    cells = [sample(0.0, 10.0), sample(1.0, -50.0), sample(2.0, 4.0)]  # cadft(1) has half of each
    assert order_of(cells) == ("neg_p", "cadft(1)")
    assert order_of(cells[1:2]) == ()


def test_a_rule_is_judged_on_what_it_has_not_seen() -> None:
    seen: list[tuple[set[str], set[str]]] = []

    def make(rest: Sequence[Sample]) -> judge.Rule:
        skills, families = {s.skill for s in rest}, {s.family for s in rest}
        seen.append((skills, families))

        def rule(one: Sample) -> judge.Advice:
            assert one.skill not in skills and one.family not in families
            return judge.Advice(arm="nll", gains={})

        return rule

    cells = population()
    judged = judge.held_out(cells, make)
    assert sorted(one.sample.cell for one in judged) == sorted(cell.cell for cell in cells)
    assert len(seen) == len(SKILLS) * len(FAMILIES)


def test_marks_in_a_small_case_by_hand() -> None:
    def said(gain: float, arm: str, sign: float, error: float = 1.0) -> judge.Judged:
        one = Sample(
            cell="",
            family="m",
            skill="a",
            text="0",
            features={},
            gains={"neg_p": gain},
            errors={"neg_p": error},
        )
        return judge.Judged(
            sample=one, advice=judge.Advice(arm=arm, gains={"neg_p": sign}, decided=arm != "nll")
        )

    judged = [
        said(10, "neg_p", 1),  # right
        said(20, "nll", -1),  # wrong, loses 20
        said(30, "neg_p", 1),  # right
        said(-10, "nll", -1),  # right
        said(-40, "neg_p", 1),  # wrong, loses 40
        said(1, "nll", -1),  # not decisive: no pair, loses 1
    ]
    found = judge.marks(judged, resamples=20)
    assert found.pairs == (2, 3)
    assert found.balanced_accuracy.estimate == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found.regret.estimate == pytest.approx((20 + 40 + 1) / 6)
    assert found.top1.estimate == pytest.approx(3 / 6)
    assert found.undecided == pytest.approx(3 / 6)


def test_the_fit_beats_fixed_rules() -> None:
    cells = population()
    marks = {
        name: judge.marks(judge.held_out(cells, make), resamples=50)
        for name, make in {
            "nll": judge.always("nll"),
            "-p": judge.always("neg_p"),
            "cut": judge.cut("mean_p"),
            "fit": judge.fitted(["mean_p"]),
        }.items()
    }
    assert marks["nll"].balanced_accuracy.estimate == marks["-p"].balanced_accuracy.estimate == 0.5
    assert marks["fit"].balanced_accuracy.estimate > 0.95
    assert marks["cut"].regret.estimate < 1
    assert marks["fit"].regret.estimate < 0.2 * min(
        marks["nll"].regret.estimate, marks["-p"].regret.estimate
    )
    low, high = marks["nll"].regret.low, marks["nll"].regret.high
    assert low < marks["nll"].regret.estimate < high


def test_a_race_is_won_by_who_leads_and_tied_by_nll() -> None:
    rule = judge.race()([])
    one = sample(0.0, 5.0)
    assert not rule(one).decided and rule(one).arm == "nll"
    led = Sample(**{**vars(one), "race": {"nll": 0.5, "neg_p": 0.75, "cadft(1)": 0.25}})
    assert rule(led).arm == "neg_p" and rule(led).gains["cadft(1)"] == -0.25
    tied = Sample(**{**vars(one), "race": {"neg_p": 0.5, "nll": 0.5}})
    assert rule(tied).arm == "nll"
