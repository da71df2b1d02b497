"""Objectives that change while they train: how they are written, refused, and what is in force when."""

import copy
import pickle

import pytest
import torch

from advisor.errors import InputError
from advisor.objectives.schedules import Annealed, Staged
from advisor.objectives.table import OBJECTIVES, Objective, TokenStats, get_objective


def in_force(spec: str, steps: int) -> list[str]:
    """The label of what is minimised in each of so many optimiser steps."""
    objective = get_objective(spec)
    return [objective.at(step / steps).label for step in range(steps)]


def annealed(spec: str) -> Annealed:
    found = get_objective(spec)
    assert isinstance(found, Annealed)
    return found


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("nll>neg_p(at=0.5)", "nll>neg_p(at=0.5)"),
        ("nll>neg_p", "nll>neg_p(at=0.5)"),
        (" SFT > DFT ( at = .5 ) ", "nll>neg_p(at=0.5)"),
        ("ce>-p(at=5e-1)", "nll>neg_p(at=0.5)"),
        ("nll>cadft(at=0.5)", "nll>cadft(1, at=0.5)"),
        ("nll>cadft(at=0.5, beta=2)", "nll>cadft(2, at=0.5)"),
        ("idft(2, 0.3, 1)>p_pow(at=.25, 3)", "idft(2, 0.3, 1)>p_pow(3, at=0.25)"),
        ("nll>threshold(10%, at=0.75)", "nll>threshold(10%, at=0.75)"),
        ("nll>cadft>neg_p", "nll>cadft(1, at=0.3333)>neg_p(at=0.6666)"),
        ("nll>neg_p(at=0.2)>nll_above(.5, at=0.9)", "nll>neg_p(at=0.2)>threshold(0.5, at=0.9)"),
        ("p_anneal", "p_anneal(0, 1, 0, 1)"),
        ("p_anneal(from=0.5, end=.75)", "p_anneal(0.5, 1, 0, 0.75)"),
        ("nll>p_anneal(0, 2, at=0.1)", "nll>p_anneal(0, 2, 0, 1, at=0.1)"),
    ],
)
def test_labels_read_back(spec: str, label: str) -> None:
    found = get_objective(spec)
    assert found.scheduled
    assert found.label == label
    assert get_objective(label).label == label


def test_stages_have_the_facts_of_their_objectives() -> None:
    found = get_objective("nll>iw_sft_token(at=0.25)>cadft(at=0.5)")
    assert found.needs == ("reference_logp", "example", "step")
    assert (found.leaning, found.status) == ("prior-leaning", "ours")
    assert "arXiv:2507.12856" in found.source and "arXiv:2606.11206" in found.source
    assert found.formula.startswith("-log p; from 0.25 of the steps on -sg(clip(p / p0")
    assert get_objective("focal>neg_p").leaning == "neutral"  # averse, then leaning
    assert {row.name for row in OBJECTIVES.values() if row.scheduled} == {"p_anneal", "tailsft"}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nll>neg_p(at=0)", "neg_p begins at=0, which has to lie between 0 and 1"),
        ("nll>neg_p(at=1)", "at=1, which has to lie between 0 and 1"),
        ("nll>neg_p(at=-0.5)", "at=-0.5, which has to lie between 0 and 1"),
        ("nll>neg_p(at=nan)", "at=nan, which has to lie between 0 and 1"),
        ("nll>cadft(at=.6)>neg_p(at=.6)", "neg_p begins at=0.6, which has to lie between 0.6 and"),
        ("nll>cadft(at=.6)>neg_p(at=.2)", "neg_p begins at=0.2, which has to lie between 0.6 and"),
        ("nll>cadft(at=.8)>neg_p", "neg_p begins at=0.6666, which has to lie between 0.8 and"),
        ("nll>neg_p(at=half)", "neg_p(at=half): at=half: a share of the training such as 0.5"),
        ("nll>neg_p(at=50%)", "at=50%: a share of the training such as 0.5"),
        ("nll>neg_p(at=)", "at=: a share of the training such as 0.5"),
        ("nll>negp", "unknown objective 'negp': did you mean neg_p"),
        ("nlll>neg_p", "unknown objective 'nlll': did you mean nll"),
        ("nll>neg_p(3, at=0.5)", "takes 0 parameters"),
        ("nll>threshold(1.5, at=0.5)", "tau = 1.5 lies outside"),
        ("neg_p(at=0.5)", "at says, once, when a stage after the first begins: nll>neg_p(at=0.5)"),
        ("cadft(1, at=0.5)", "objective cadft: at says, once, when a stage after the first begins"),
        ("p_anneal(0, 1, at=0.5)", "at says, once, when a stage after the first begins"),
        ("nll(at=0.2)>neg_p", "objective nll: at says, once, when a stage after the first begins"),
        ("nll>neg_p(at=.2, at=.5)", "at says, once, when a stage after the first begins"),
        (">neg_p", "objective >neg_p: an objective stands on either side of >"),
        (
            "nll>",
            "objective nll>: an objective stands on either side of >, as in nll>neg_p(at=0.5)",
        ),
        ("nll> >neg_p", "an objective stands on either side of >"),
        ("p_anneal(0, 1, 0.8, 0.2)", "start = 0.8 lies above end = 0.2"),
        ("p_anneal(-1)", "from = -1 lies outside"),
        ("p_anneal(0, 1, 0, 1.5)", "end = 1.5 lies outside"),
    ],
)
def test_wrong_schedules_are_refused_with_the_way_out(spec: str, says: str) -> None:
    with pytest.raises(InputError) as refusal:
        get_objective(spec)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_only_stages_have_parameters() -> None:
    staged = get_objective("nll>cadft")
    assert staged.with_parameters() == staged
    with pytest.raises(InputError, match="parameters stand at its stages"):
        staged.with_parameters(beta=2.0)


@pytest.mark.parametrize(("steps", "tenths"), [(10, 7), (20, 3), (30, 9), (60, 1), (1000, 7)])
def test_a_stage_begins_when_its_share_lies_behind(steps: int, tenths: int) -> None:
    before = steps * tenths // 10
    found = in_force(f"nll>neg_p(at=0.{tenths})", steps)
    assert found == ["nll"] * before + ["neg_p"] * (steps - before)


def test_a_share_between_two_steps_begins_at_the_next_one() -> None:
    assert in_force("nll>neg_p(at=0.5)", 5) == ["nll"] * 3 + ["neg_p"] * 2
    assert in_force("nll>neg_p(at=0.41)", 5) == ["nll"] * 3 + ["neg_p"] * 2
    assert in_force("nll>neg_p(at=0.4)", 5) == ["nll"] * 2 + ["neg_p"] * 3


@pytest.mark.parametrize("stages", [2, 3, 6, 7])
@pytest.mark.parametrize("each", [1, 2, 50])
def test_stages_without_at_are_equally_long(stages: int, each: int) -> None:
    names = [*OBJECTIVES][:stages]
    found = in_force(">".join(names), stages * each)
    assert found == [OBJECTIVES[name].label for name in names for _ in range(each)]


def test_the_last_stage_stays_when_training_is_over() -> None:
    staged = get_objective("nll>cadft(at=.3)>neg_p(at=.6)")
    assert staged.at(0).name == "nll"
    assert staged.at(1).name == "neg_p"
    assert [staged.logged(done) for done in (0, 0.3, 0.6, 1)] == [
        {"stage": 1}, {"stage": 2}, {"stage": 3}, {"stage": 3},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "steps", "done", "course"),
    [
        ("nll>neg_p", 60, 60, "nll for steps 1 to 30, then neg_p for steps 31 to 60"),
        ("nll>cadft", 2, 2, "nll for step 1, then cadft(1) for step 2"),
        ("nll>neg_p(at=0.7)", 10, 10, "nll for steps 1 to 7, then neg_p for steps 8 to 10"),
        ("nll>neg_p", 60, 30, "nll for steps 1 to 30 of 60"),
        ("nll>neg_p", 60, 31, "nll for steps 1 to 30, then neg_p for step 31 of 60"),
        ("nll>neg_p", 60, 7, "nll for steps 1 to 7 of 60"),
        ("p_anneal", 4, 4, "p^a with a = 0 in step 1 and a = 0.75 in step 4"),
        ("p_anneal", 4, 3, "p^a with a = 0 in step 1 and a = 0.5 in step 3 of 4"),
        ("neg_p", 60, 60, ""),
    ],
)
def test_the_course_of_a_training_in_words(spec: str, steps: int, done: int, course: str) -> None:
    assert get_objective(spec).course(steps, done) == course


@pytest.mark.parametrize(
    ("spec", "steps", "never"),
    [
        ("nll>neg_p", 1, "neg_p"),
        ("nll>neg_p", 2, ""),
        ("nll>neg_p(at=0.95)", 10, "neg_p"),
        ("nll>neg_p(at=0.95)", 20, ""),
        ("nll>cadft>neg_p", 2, "neg_p"),
        ("nll>cadft(at=0.3)>neg_p(at=0.5)", 2, "cadft(1)"),
        ("nll>cadft>neg_p", 3, ""),
        ("p_anneal", 1, "p^1"),
        ("p_anneal", 2, ""),
        ("p_anneal(0, 3, 0.9)", 10, "p^3"),
        ("p_anneal(0, 3, 0.9)", 11, ""),
        ("p_anneal(1, 1)", 1, ""),
        ("neg_p", 1, ""),
    ],
)
def test_what_never_comes_into_force_is_named(spec: str, steps: int, never: str) -> None:
    objective = get_objective(spec)
    assert objective.unreached(steps) == never
    if isinstance(objective, Staged):
        seen = {*in_force(spec, steps)}
        missing = [s.objective.label for s in objective.stages if s.objective.label not in seen]
        assert missing[:1] == ([never] if never else [])


def test_a_schedule_has_no_weights_of_its_own() -> None:
    stats = TokenStats(logp=torch.tensor([-1.0]), entropy=torch.ones(1), top1=torch.ones(1) > 0)
    for spec in ("nll>neg_p", "p_anneal"):
        with pytest.raises(ValueError, match=r"changes while it trains: at\(done\)"):
            get_objective(spec).weight(stats)


def test_a_percentage_of_a_stage_waits_for_its_value() -> None:
    staged = get_objective("nll>threshold(10%, at=0.5)")
    assert staged.by_quantile and not get_objective("nll>threshold(at=0.5)").by_quantile
    asked = []
    resolved = staged.resolve(lambda share: asked.append(share) or 0.25)
    assert asked == [0.1]
    assert resolved.label == "nll>threshold(0.25, at=0.5)"
    assert not resolved.by_quantile


@pytest.mark.parametrize("spec", ["nll>threshold(10%, at=0.5)", "p_anneal(0, 1, 0, 0.5)"])
def test_copies_are_the_same(spec: str) -> None:
    found: Objective = get_objective(spec)
    assert copy.deepcopy(found) == found == pickle.loads(pickle.dumps(found))


@pytest.mark.parametrize(
    ("spec", "powers"),
    [
        ("p_anneal", [0, 0.25, 0.5, 0.75, 1]),
        ("p_anneal(0, 1, 0.25, 0.75)", [0, 0, 0.5, 1, 1]),
        ("p_anneal(1, 0)", [1, 0.75, 0.5, 0.25, 0]),
        ("p_anneal(0.5, 4, 0.5)", [0.5, 0.5, 0.5, 2.25, 4]),
        ("p_anneal(0, 1, 0.5, 0.5)", [0, 0, 1, 1, 1]),  # a switch
        ("p_anneal(0, 1, 0, 0)", [1, 1, 1, 1, 1]),
        ("p_anneal(0, 1, 1, 1)", [0, 0, 0, 0, 1]),
    ],
)
def test_the_power_goes_in_a_line(spec: str, powers: list[float]) -> None:
    objective = annealed(spec)
    quarters = [step / 4 for step in range(5)]
    assert [objective.power(done) for done in quarters] == powers
    assert [objective.logged(done) for done in quarters] == [{"power": power} for power in powers]


def test_the_annealed_weight_is_p_to_the_power() -> None:
    p = torch.tensor([1e-6, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64)
    stats = TokenStats(logp=p.log(), entropy=p, top1=p > 0.5)
    for done in (0, 0.1, 0.5, 0.9, 1):
        a = 0.5 + 1.5 * done
        weights = annealed("p_anneal(0.5, 2)").at(done).weight(stats)
        torch.testing.assert_close(weights, p**a, rtol=1e-12, atol=0)
    ones = annealed("p_anneal").at(0).weight(stats)
    assert ones.tolist() == [1.0] * 5
    torch.testing.assert_close(annealed("p_anneal").at(1).weight(stats), p, rtol=1e-12, atol=0)
