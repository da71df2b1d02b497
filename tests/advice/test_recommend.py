"""The rule: published cells, boundaries, abstention, and that no number is invented."""

import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from advisor.advice.calibration import Cell, shipped
from advisor.advice.features import features
from advisor.advice.published_rule import STRONG, WEAK, is_settled
from advisor.advice.recommend import recommend
from advisor.prior.prior import Prior
from harness.cli.parser import build_parser
from tests.helpers.priors import prior_of, with_model

# Beyond Log Likelihood, Table 5
MATH = (0.80, 0.76, 0.80, 0.81)
MEDICAL = (0.50, 0.53, 0.56, 0.59)
FIGFONT = (0.01, 0.01, 0.01, 0.07)


@pytest.mark.parametrize("mean_p", MATH)
def test_published_strong_cells_lean_on_the_prior_when_sampled(mean_p: float) -> None:
    answer = recommend(prior_of(mean_p), temperature=1.0)
    assert (answer.regime, answer.recommended) == ("model-strong", "neg_p")


@pytest.mark.parametrize("mean_p", MEDICAL)
def test_published_ties_are_nll(mean_p: float) -> None:
    answer = recommend(prior_of(mean_p), temperature=0.0)
    assert (answer.regime, answer.recommended) == ("model-intermediate", "nll")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("mean_p", FIGFONT)
def test_published_weak_cells_are_nll(mean_p: float, temperature: float) -> None:
    answer = recommend(prior_of(mean_p), temperature=temperature)
    assert (answer.regime, answer.recommended) == ("model-weak", "nll")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_instruct_models_are_not_told_to_lean(temperature: float) -> None:
    # EAFT Table 1: Qwen3-4B-Instruct, Qwen2.5-32B-Instruct and GLM4-9B lose from DFT on math
    answer = recommend(with_model(prior_of(0.8), kind="instruct"), temperature=temperature)
    assert answer.recommended == "nll"
    assert recommend(prior_of(0.8), temperature=1.0, kind="instruct").recommended == "nll"


def test_greedily_the_one_run_is_nll_though_the_rule_may_lean() -> None:
    """Breaks where a rule that is not sure is followed greedily, where NLL alone lost least."""
    tie = recommend(prior_of(0.8, conflict_share=0.01), temperature=0.0)
    conflict = recommend(prior_of(0.8), temperature=0.0)
    assert tie.recommended == conflict.recommended == "nll"
    assert conflict.ranking[0].objective == "neg_p" and "new convention" in conflict.reason


def test_other_ways_to_better_targets_are_named_where_they_apply() -> None:
    def texts(prior: Prior) -> dict[str, str]:
        return {w.code: w.text for w in recommend(prior, temperature=1.0).warnings}

    mixed = texts(prior_of(0.8, dispersion=0.2))["heterogeneous"]
    assert "--scores" in mixed
    weak = texts(prior_of(0.05))["weak"]
    assert "advisor distill" in weak
    assert not {"weak", "heterogeneous"} & texts(prior_of(0.8)).keys()
    commands = re.findall("`advisor ([^`]+)`", mixed + weak)
    assert len(commands) == 3
    for words in commands:
        build_parser().parse_known_args(words.split())  # exits where a flag is missing


def test_nothing_improbable_is_a_tie() -> None:
    prior = prior_of(0.97, conflict_share=0.002, ignorance_share=0.003)
    assert recommend(prior, temperature=1.0).recommended == "nll"


def test_middle_follows_what_the_improbable_tokens_are() -> None:
    assert recommend(prior_of(0.55), temperature=1.0).recommended == "neg_p"
    assert recommend(prior_of(0.55, ignorance_share=0.2), temperature=1.0).recommended == "nll"
    assert recommend(prior_of(0.4), temperature=1.0).recommended == "nll"  # nothing published there


def test_between_the_published_weak_cells_and_the_middle_the_answer_is_nll() -> None:
    between = recommend(prior_of(0.2), temperature=1.0)
    assert (between.regime, between.recommended) == ("model-weak", "nll")


def test_heterogeneous_examples_favour_cadft() -> None:
    answer = recommend(prior_of(0.8, dispersion=0.2), temperature=1.0)
    assert answer.recommended == "cadft(1)"
    assert "heterogeneous" in {warning.code for warning in answer.warnings}


def test_a_straddling_interval_is_not_settled() -> None:
    for cut in (STRONG, WEAK):
        prior = prior_of(cut + 0.01, width=0.02)
        answer = recommend(prior, temperature=1.0)
        assert not answer.settled and not is_settled(prior)
        assert "not_settled" in {warning.code for warning in answer.warnings}
        assert is_settled(prior_of(cut + 0.01, width=0.005))


def test_an_improbable_terminator_is_a_warning_with_a_remedy() -> None:
    answer = recommend(prior_of(0.8, p_eos=0.001), temperature=1.0)
    texts = {warning.code: warning.text for warning in answer.warnings}
    assert "floor" in texts["terminator_unlikely"]
    both = recommend(prior_of(0.8, p_eos=0.001, p_template=0.001), temperature=1.0)
    assert str(both).count("floored_dft") == 1  # the remedy of both is said once
    template = recommend(prior_of(0.8, p_template=0.001), temperature=1.0)
    assert "floored_dft" in str(template)
    none = recommend(prior_of(0.8, p_eos=None), temperature=1.0)
    assert "no_terminator" in {warning.code for warning in none.warnings}


def test_the_kind_is_asked_for_only_where_it_matters() -> None:
    """Breaks where a model of the measured sizes is asked for what changes nothing of its answer."""
    large = with_model(prior_of(0.8), kind="unknown")
    small = with_model(large, parameters=800_000)
    asked = [
        "kind_unknown" in {warning.code for warning in recommend(prior, temperature=1.0).warnings}
        for prior in (large, small)
    ]
    assert asked == [True, False]


def test_models_outside_the_published_sizes_are_told_so() -> None:
    answer = recommend(with_model(prior_of(0.8), parameters=8_000_000), temperature=1.0)
    assert "outside_evidence" in {warning.code for warning in answer.warnings}


def test_the_stopping_rule_takes_the_kind_that_the_user_gave() -> None:
    prior = with_model(prior_of(0.8), kind="instruct")
    near = replace(prior, bounds={**prior.bounds, "dispersion": (0.1, 0.2)})
    assert is_settled(near) and not is_settled(
        near, "base"
    )  # only a base model may be told to lean


def test_only_the_cut_offs_that_the_answer_hangs_on_have_to_be_excluded() -> None:
    """Breaks when settling waits for a statistic that would change nothing, or not for one that would."""
    sure = {"mean_p": (0.79, 0.81), "share_below": (0.05, 0.09), "contradiction": (0.01, 0.05)}
    open_ = {"p_eos": (0.01, 0.9), "dispersion": (0.1, 0.2)}
    # Either share may be .03 to .05, but the conflict is the larger: their difference was bet on.
    bounds = {
        **prior_of(0.8).bounds,
        "conflict_share": (0.03, 0.06),
        "ignorance_share": (0.02, 0.05),
    }
    closed = {"p_eos": (0.8, 0.95), "dispersion": (0.02, 0.1)}
    strong = replace(prior_of(0.8), bounds=bounds, intervals={**sure, **closed})
    assert is_settled(strong) and not is_settled(replace(strong, intervals={}))
    assert not is_settled(replace(strong, intervals={**sure, **open_}))
    known = replace(prior_of(0.05), intervals={**sure, **open_, "mean_p": (0.03, 0.08)})
    assert is_settled(known)  # at the weak end nothing but mean p matters
    assert not is_settled(replace(known, intervals={**known.intervals, "mean_p": (0.03, 0.3)}))


def test_too_small_a_dataset_is_not_told_to_measure_more() -> None:
    prior = prior_of(
        STRONG + 0.01, width=0.2, examples=7, dataset={"name": "d", "rows": 7, "max_length": 64}
    )
    texts = {warning.code: warning.text for warning in recommend(prior, temperature=1.0).warnings}
    assert "no more" in texts["not_settled"] and "--exact" not in texts["not_settled"]


def test_next_carries_the_plan_out() -> None:
    answer = recommend(prior_of(0.55), temperature=0.7)
    assert answer.next_command("M D") == "advisor confirm M D --temperature 0.7 --plan three"
    build_parser().parse_known_args(answer.next_command("M D").split()[1:])


def test_every_arm_is_ranked_once_with_its_forecast() -> None:
    for mean_p in (0.05, 0.5, 0.8):
        for temperature in (0.0, 1.0):
            answer = recommend(prior_of(mean_p), temperature=temperature)
            arms = {arm.objective: arm for arm in answer.ranking}
            assert sorted(arms) == ["cadft", "neg_p", "nll", "p_pow", "threshold"]
            assert (arms["nll"].predicted_gain, arms["nll"].interval) == (0, (0, 0))
            for arm in answer.ranking:
                assert -100 <= arm.interval[0] <= arm.predicted_gain <= arm.interval[1] <= 100
            assert 0.5 < sum(arm.p_best for arm in answer.ranking) <= 1  # idft has the rest
            assert answer.basis == "published" and answer.regret >= 0 and len(answer.nearest) == 3


def test_the_forecast_decides_where_cells_were_measured() -> None:
    small = with_model(prior_of(0.95), parameters=500_000)
    answer = recommend(small, temperature=1.0)
    assert answer.basis == "ladder" and {cell.domain for cell in answer.nearest} == {"ladder"}
    gains = [arm.predicted_gain for arm in answer.ranking]
    assert gains[1:] == sorted(gains[1:], reverse=True) and len(gains) == 6
    assert gains[0] >= gains[1] - 5  # the arm with the best record of those alike
    assert sum(arm.p_best for arm in answer.ranking) == pytest.approx(1)
    assert "measured_small" in {warning.code for warning in answer.warnings}
    assert recommend(small, temperature=1.0, kind="instruct").basis == "published"


def own_cell(gain: float, mean_p: float = 0.8, **changes: Any) -> Cell:
    """What a team measured on a 7B model and the dataset "d"."""
    given: dict[str, Any] = {
        "name": "theirs", "domain": "user", "decoding": "sampled", "parameters": 7e9,
        "features": features({"mean_p": mean_p}), "gains": {"neg_p": gain}, "error": 1.0,
        "model": "m", "dataset": "d", **changes,
    }  # fmt: skip
    return Cell(**given)


def of_dataset(prior: Prior, fingerprint: str) -> Prior:
    model = {**prior.model, "fingerprint": "m"}
    return replace(prior, model=model, dataset={**prior.dataset, "fingerprint": fingerprint})


def test_own_records_decide_on_their_dataset_and_nowhere_else() -> None:
    lost = replace(shipped(), cells=[*shipped().cells, own_cell(-20.0)])
    own = of_dataset(prior_of(0.8), "d")
    near = recommend(own, temperature=1.0, calibration=lost)
    assert (near.basis, near.recommended) == ("user", "nll")
    assert "own_records" in {warning.code for warning in near.warnings}
    assert near.nearest[0].name == "theirs"
    before = recommend(own, temperature=1.0)
    assert before.basis == "published" and before.recommended == "neg_p"
    for prior, temperature in ((of_dataset(prior_of(0.8), "e"), 1.0), (own, 0.0)):
        answer = recommend(prior, temperature=temperature, calibration=lost)
        other = recommend(prior, temperature=temperature)
        assert (answer.basis, answer.ranking) == (other.basis, other.ranking)


def test_an_instruct_model_may_be_told_to_lean_by_its_own_records_alone() -> None:
    won = replace(shipped(), cells=[*shipped().cells, own_cell(20.0, kind="instruct")])
    prior = with_model(of_dataset(prior_of(0.8), "d"), kind="instruct")
    answer = recommend(prior, temperature=1.0, calibration=won)
    assert answer.basis == "user" and answer.recommended != "nll"
    alone = recommend(prior, temperature=1.0)
    assert (alone.basis, alone.recommended) == ("published", "nll")
    assert alone.regret > 5  # of nll, were leaning right after all: the forecast knows base models


def test_a_forecast_that_contradicts_the_rule_is_said() -> None:
    bad = [own_cell(-30.0, domain="published")]
    answer = recommend(
        of_dataset(prior_of(0.8), "d"), temperature=1.0, calibration=replace(shipped(), cells=bad)
    )
    assert (answer.basis, answer.recommended) == ("published", "neg_p")
    assert "forecast_disagrees" in {warning.code for warning in answer.warnings}


def test_the_contract_of_the_answer() -> None:
    answer = recommend(prior_of(0.8), temperature=1.0).to_dict()
    keys = {"schema", "model", "dataset", "regime", "recommended", "decided", "temperature", "ranking",
            "prior", "warnings", "next", "plan"}  # fmt: skip
    assert keys <= set(answer)
    plan = {"runs", "choose_by", "minutes", "disk", "regret", "chance_over_5", "cheaper", "dearer"}
    assert plan <= set(answer["plan"])
    run = {"objective", "targets", "learning_rate", "decoding"}
    assert all(run <= set(one) for one in answer["plan"]["runs"])
    stated = {"mean_p", "mean_p_interval", "median_p", "mean_log_p", "entropy", "share_p_below_0.1",
              "conflict_share", "ignorance_share", "p_eos", "target_tokens", "examples"}  # fmt: skip
    assert stated <= set(answer["prior"])
    assert answer["prior"]["share_p_below_0.1"] == pytest.approx(0.07)


def test_deciding_needs_no_torch() -> None:
    modules = "advisor.advice.recommend, advisor.prior.prior"
    code = f"import sys; import {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("rows", "few"), [(1, True), (19, True), (20, False)])
def test_rows_too_few_to_choose_by_ask_for_a_task(rows: int, few: bool) -> None:
    """`confirm` would keep back fewer than two documents that choose, and refuse."""
    prior = prior_of(0.5)
    found = recommend(replace(prior, dataset={**prior.dataset, "rows": rows}), temperature=0.0)
    assert found.next_command("m d").endswith("--tasks TASK") == few
    assert ("a task of yours" in found.plan.choose_by) == few
