"""The deep probe: closed forms, gradients against plain autograd, what it leaves alone, what it changes."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from advisor.advice.recommend import recommend
from advisor.data.dataset import Example, SFTDataset, load_dataset
from advisor.errors import InputError
from advisor.model.load import LoadedModel, load_model
from advisor.prior.deep import Deep
from harness.cli.main import main
from harness.deep_probe import coherence as gradients
from harness.deep_probe import measure_deep as deep
from harness.deep_probe.coherence import coherence, measure_coherence, one_improbable, twin
from harness.deep_probe.measure_deep import measure_deep, recovery, split
from tests.helpers.priors import prior_of
from tests.helpers.tiny import tiny_tokenizer


def rows(count: int) -> list[dict[str, str]]:
    """Different prompts of eight letters each; the completion repeats the first two of them."""
    rng = np.random.default_rng(3)
    letters = ["".join(rng.choice(list("abcdefghijklm"), 8)) for _ in range(count)]
    return [{"prompt": " ".join(x) + " ", "completion": " ".join(x[:2])} for x in letters]


def convention(count: int) -> list[dict[str, str]]:
    """Different prompts, one completion."""
    return [{**row, "completion": "a b c"} for row in rows(count)]


def dataset_of(source: Sequence[dict[str, str]]) -> SFTDataset:
    return load_dataset(list(source), tiny_tokenizer())


@pytest.fixture
def loaded(model_folder: Path) -> LoadedModel:
    return load_model(model_folder)


def probe(loaded: LoadedModel, data: SFTDataset, **settings: Any) -> Deep:
    settings = {"temperature": 0.0, "steps": 6, **settings}
    return measure_deep(
        loaded, data, lambda rows: dataset_of([data.raw(row) for row in rows]), **settings
    )


# Recovery


def test_recovery_counts_improbable_targets_that_pass_one_half() -> None:
    before = [np.array([0.05, 0.09, 0.1]), np.array([0.02]), np.array([0.9])]
    after = [np.array([0.6, 0.4, 0.9]), np.array([0.51]), np.array([0.1])]
    found = recovery(before, after)
    assert found.value == pytest.approx(2 / 3) and found.count == 3  # .1 itself is not improbable
    assert recovery([np.array([0.05])], [np.array([0.5])]).value == 0.0  # nor is .5 recovered


def test_recovery_interval_is_clustered_by_example() -> None:
    # 200 examples of two improbable targets: both recovered in half of them, none in the others
    before = [np.array([0.01, 0.01, 0.99])] * 200
    after = [np.array([0.9, 0.9, 0.9])] * 100 + [np.array([0.1, 0.1, 0.9])] * 100
    found = recovery(before, after)
    # residuals are +1 and -1, three imaginary examples deviate by 2: sd / sqrt(200) / 2 tokens
    half = 1.959964 * math.sqrt((200 + 3 * 4) / 200) / math.sqrt(200) / 2
    assert found.interval == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)


def test_no_improbable_target_gives_no_recovery() -> None:
    found = recovery([np.array([0.5])], [np.array([0.9])])
    assert (found.value, found.interval, found.count) == (None, None, 0)


# Coherence


def test_identical_gradients_agree_and_orthogonal_ones_do_not() -> None:
    same = coherence(np.ones((12, 12)))
    assert same.value == pytest.approx(1.0) and same.interval == pytest.approx((1.0, 1.0))
    assert coherence(np.eye(12)).value == 0.0
    opposed = np.outer([1.0, -1.0] * 6, [1.0, -1.0] * 6)
    assert coherence(opposed).value == 0.0  # the pairs' mean is negative: never below 0


@pytest.mark.parametrize("rho", [0.01, 0.3])
@pytest.mark.parametrize("examples", [10, 40])
def test_coherence_does_not_depend_on_scale_or_number(rho: float, examples: int) -> None:
    gram = 7.0 * ((1 - rho) * np.eye(examples) + rho)
    assert coherence(gram).value == pytest.approx(150 * rho / (1 + 149 * rho))


def test_coherence_foretells_the_cosine_of_real_halves() -> None:
    rng = np.random.default_rng(0)
    direction = np.zeros(400)
    direction[0] = 2.0

    def cosine() -> float:
        a, b = ((direction + rng.normal(size=(150, 400))).sum(axis=0) for _ in range(2))
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    halves = np.mean([cosine() for _ in range(100)])
    table = direction + rng.normal(size=(600, 400))
    assert coherence(table @ table.T).value == pytest.approx(halves, abs=0.03)
    assert 0.4 < halves < 0.8  # neither end, where everything agrees


def halves(rho: float) -> float:
    return 150 * rho / (1 + 149 * rho)


def jackknife(gram: Any) -> tuple[float, float]:
    """95 % interval of the pairs' mean over the diagonal's, by leaving each example out in turn."""
    n = len(gram)

    def agreement(kept: Any) -> float:
        part = gram[np.ix_(kept, kept)]
        pairs = part[~np.eye(len(kept), dtype=bool)].mean()
        return float(pairs / np.diagonal(part).mean())

    values = np.array([agreement(np.delete(np.arange(n), left_out)) for left_out in range(n)])
    half = 1.96 * math.sqrt(np.square(values - values.mean()).sum() * (n - 1) / n)
    middle = agreement(np.arange(n))
    return middle - half, middle + half


def test_coherence_interval_is_the_jackknife() -> None:
    table = np.random.default_rng(1).normal(size=(40, 5)) + np.eye(5)[0]
    low, high = jackknife(table @ table.T)
    assert 0 < low < high < 1
    assert coherence(table @ table.T).interval == pytest.approx((halves(low), halves(high)))


def test_a_pairs_mean_below_0_is_not_certain() -> None:
    draws = np.random.default_rng(0).normal(size=(200, 24, 50))
    gram = next(g for g in (x @ x.T for x in draws) if g.sum() < 0.9 * np.trace(g))
    low, high = jackknife(gram)
    found = coherence(gram)
    assert low < 0 < high and found.value == 0.0
    assert found.interval == pytest.approx((0.0, halves(high))) and halves(high) > 0.1


@pytest.mark.parametrize("examples", [8, 24])
def test_the_interval_covers_what_is_true(examples: int) -> None:
    truth = 0.6
    rho = truth / (150 - 149 * truth)
    rng = np.random.default_rng(2)
    covered, certain, draws = 0, 0, 400
    for _ in range(draws):
        table = rng.normal(size=(examples, 50)) * math.sqrt((1 - rho) / 50)
        table[:, 0] += math.sqrt(rho)
        low, high = coherence(table @ table.T).interval
        covered += low <= truth <= high
        certain += high - low < 1e-6
    assert covered / draws > 0.93 and certain / draws < 0.015


def test_one_improbable_target_an_example() -> None:
    first = Example(input_ids=[5, 6, 7, 8], labels=[-100, 6, 7, 8], terminators=(), truncated=False)
    second = replace(first, input_ids=[9, 9, 9, 9], labels=[9, -100, 9, 9])
    known = replace(first, input_ids=[4, 4], labels=[-100, 4])
    p = [np.array([0.01, 0.5, 0.02]), np.array([0.5, 0.03]), np.array([0.1])]
    seen = set()
    for seed in range(20):
        found = one_improbable([first, second, known], p, seed)
        assert found == one_improbable([first, second, known], p, seed)
        labels = {example.input_ids[0]: example.labels for example in found}
        assert labels[9] == [-100, -100, -100, 9]  # the target at position 0 is never scored
        seen.add(tuple(labels[5]))
    assert seen == {(-100, 6, -100, -100), (-100, -100, -100, 8)}


@pytest.mark.parametrize("scope", ["all", "last block"])
def test_gradients_are_those_of_plain_autograd(
    loaded: LoadedModel, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if scope == "last block":
        monkeypatch.setattr(gradients, "WHOLE", 1)
    data = dataset_of(convention(24))
    examples = one_improbable(list(data), [np.zeros(e.target_tokens) for e in data], 0)
    found, named = measure_coherence(loaded, examples, lambda *_: None)
    model = twin(loaded.model)
    module = model if scope == "all" else model.model.layers[-1]
    parameters = list(module.requires_grad_(True).parameters())
    table = []
    for example in examples:
        position = next(i for i, label in enumerate(example.labels) if label != -100)
        logits = model(input_ids=torch.tensor([example.input_ids])).logits[0, position - 1]
        loss = -logits.log_softmax(-1)[example.labels[position]]
        parts = torch.autograd.grad(loss, parameters, materialize_grads=True)
        table.append(torch.cat([part.flatten() for part in parts]).double().numpy())
    expected = coherence(np.array(table) @ np.array(table).T)
    assert named == scope and found.count == 24
    assert found.value == pytest.approx(expected.value, rel=1e-4)
    assert found.interval == pytest.approx(expected.interval, rel=1e-3)
    assert 0 < expected.value < 1


def test_few_coordinates_stand_for_all(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset_of(convention(30))
    examples = one_improbable(list(data), [np.zeros(e.target_tokens) for e in data], 0)
    whole, _ = measure_coherence(loaded, examples, lambda *_: None)
    monkeypatch.setattr(gradients, "COORDINATES", 1500)
    part, _ = measure_coherence(loaded, examples, lambda *_: None)
    assert part.value != whole.value and part.value == pytest.approx(whole.value, abs=0.1)


def test_too_few_examples_give_no_coherence(loaded: LoadedModel) -> None:
    data = dataset_of(rows(24))
    examples = one_improbable(list(data), [np.zeros(e.target_tokens) for e in data], 0)
    found, _ = measure_coherence(loaded, examples[:23], lambda *_: None)
    assert (found.value, found.interval, found.count) == (None, None, 23)
    found, _ = measure_coherence(loaded, examples, lambda *_: None)
    assert found.value is not None and found.interval is not None and found.count == 24


# Rows


def test_rows_are_disjoint_different_and_within_the_limit() -> None:
    source = rows(40)
    data = dataset_of([*source, *source, {"prompt": "a ", "completion": " "}])
    train, held = split(data, seed=1)
    texts = [tuple(data[row].input_ids) for row in (*train, *held)]
    assert len(set(texts)) == len(texts) == 40 and len(held) == 8
    assert split(data, seed=1) == (train, held) != split(data, seed=2)
    train, held = split(data, limit=20)
    assert len(train) + len(held) <= 20
    large = dataset_of(rows(700))
    train, held = split(large)
    assert (len(train), len(held)) == (480, 120)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(InputError, match=r"needs 10 different ones with targets, not 9"):
        split(dataset_of([*rows(9), *rows(9)]))


@pytest.mark.parametrize("limit", [None, 9, 500])
def test_a_higher_limit_is_advised_only_where_it_helps(limit: int | None) -> None:
    raised = ": raise --limit, or use --depth quick"
    with pytest.raises(InputError) as caught:
        split(dataset_of(rows(9)), limit=limit)
    assert "targets, not 9: use --depth quick" in str(caught.value)
    with pytest.raises(InputError, match=f"targets, not 9{raised}"):
        split(dataset_of(rows(40)), limit=9)


def test_of_one_row_no_limit_is_named(
    capsys: Any, model_folder: Path, write: Callable[[str, str], Path]
) -> None:
    data = write("one.jsonl", json.dumps(rows(1)[0]) + "\n")
    assert main(["recommend", str(model_folder), str(data), "--depth", "deep"]) == 2
    said = capsys.readouterr().err
    assert "not 1: use --depth quick" in said and "--limit" not in said


# The whole probe


@pytest.mark.parametrize("trained", ["all", "adapter"])
def test_the_model_stays_as_it_was(
    loaded: LoadedModel, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trained == "adapter":
        monkeypatch.setattr(deep, "WHOLE", 1)
    monkeypatch.setattr(deep, "learning_rate", lambda *size: 0.01)
    model, data = loaded.model, dataset_of(convention(40))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    held, modules, ids = vars(model).copy(), list(model.modules()), torch.tensor([[5, 6, 7]])
    logits, random_state = model(ids).logits, torch.get_rng_state()
    found = probe(loaded, data, steps=10)
    assert found.trained == trained and found.steps == 10
    assert found.nll_after < found.nll_before
    assert torch.equal(torch.get_rng_state(), random_state)
    assert vars(model).keys() == held.keys() and list(model.modules()) == modules
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert torch.equal(model(ids).logits, logits)


def test_a_seed_gives_the_same_answer_again(loaded: LoadedModel) -> None:
    data = dataset_of(rows(60))
    first, again, other = (replace(probe(loaded, data, seed=s), seconds=0.0) for s in (0, 0, 1))
    assert first == again and first.nll_after != other.nll_after
    assert first.training_rows == 48 and first.held_out_rows == 12
    assert first.accuracy is None and "none of a known form" in first.notes[0]


def test_what_is_learnable_is_recovered(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep, "learning_rate", lambda *size: 0.03)
    rng = np.random.default_rng(5)
    random = [
        {**row, "completion": " ".join(rng.choice(list("abcdefghijklm"), 3))} for row in rows(100)
    ]
    same, noise = (probe(loaded, dataset_of(x), steps=40) for x in (convention(100), random))
    assert same.recovery is not None and same.recovery > 0.8
    assert same.improbable > 10
    # all but the terminator, which is known once it has been learned, is as random as before
    assert noise.recovery is not None and noise.recovery < 0.5


def test_several_answers_come_to_pass_rates() -> None:
    table = np.zeros((4, 16))
    table[1, :1], table[2, :8], table[3] = 1, 1, 1
    found = deep.pass_rates(table)
    assert (found.prompts, found.samples) == (4, 16)
    assert found.pass_at_1 == pytest.approx(25 / 64) and found.pass_at_k == 0.75
    assert found.between == 0.5  # 1 and 8 of 16
    half = 1.96 * np.std([0, 1, 8, 16], ddof=1) / 16 / 2
    assert found.pass_at_1_interval == pytest.approx((0.0, 25 / 64 + half))  # never below 0


@pytest.mark.parametrize(("rate", "ends"), [(0.0, (0.0, 0.0566)), (1.0, (0.9434, 1.0))])
def test_prompts_that_are_all_alike_are_no_certainty(rate: float, ends: tuple[float, ...]) -> None:
    """Breaks where no right answer to 64 prompts is sure: Wilson's interval goes to z^2 / (64 + z^2)."""
    found = deep.pass_rates(np.full((64, 16), rate))
    assert found.pass_at_1_interval == pytest.approx(ends, abs=1e-4)


@pytest.mark.slow
def test_on_the_ladder_with_a_short_run(capsys: Any) -> None:
    """Protects the command with the deep probe, from its flags to its answer."""
    words = ["ladder:weak", "--depth", "deep", "--limit", "100", "--deep_steps", "20"]
    assert main(["recommend", *words, "--temperature", "1", "--json"]) == 0
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert "short run: 20 of 20" in captured.err
    found = answer["deep"]
    assert found["coherence"] > 0.76 and found["improbable"] > 100
    assert found["nll_after"] < found["nll_before"] / 2
    assert found["training_rows"] + found["held_out_rows"] <= 100  # repeated rows are left out
    assert found["held_out_rows"] == found["answers"] >= 18
    assert (found["steps"], found["learning_rate"], found["trained"]) == (20, 1e-3, "all")
    assert "deep_uncalibrated" in {warning["code"] for warning in answer["warnings"]}
    rates = found["pass_rates"]
    assert (rates["prompts"], rates["samples"]) == (found["answers"], 16)
    assert rates["pass_at_k"] >= max(rates["pass_at_1"], rates["between"], found["accuracy"])
    assert "15 more answers to" in captured.err
    # Wilson's interval by its formula
    p, n, z = found["accuracy"], found["answers"], 1.959964
    middle, half = p + z * z / 2 / n, z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    expected = [(middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)]
    assert found["accuracy_interval"] == pytest.approx(expected, abs=1e-6)


def test_the_table_shows_it(
    capsys: Any, model_folder: Path, write: Callable[[str, str], Path]
) -> None:
    data = write("data.jsonl", "".join(json.dumps(row) + "\n" for row in rows(40)))
    words = ["recommend", str(model_folder), str(data), "--depth", "deep", "--deep_steps", "2"]
    assert main([*words, "--details"]) == 0
    captured = capsys.readouterr()
    for text in ("recovery of p < 0.1", "coherence of p < 0.1", "32 rows, 2 steps", "looks like"):
        assert text in captured.out
    assert "{'" not in captured.out  # no log of the trainer's


def test_without_it_there_is_none(
    capsys: Any, model_folder: Path, write: Callable[[str, str], Path]
) -> None:
    data = write("data.jsonl", "".join(json.dumps(row) + "\n" for row in rows(40)))
    assert main(["recommend", str(model_folder), str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deep"] is None


# The advice


def deep_of(recovery: float | None, coherence: float | None, **changes: Any) -> Deep:
    fields: dict[str, Any] = {
        "recovery": recovery, "coherence": coherence,
        "recovery_interval": None if recovery is None else (recovery - 0.1, recovery + 0.1),
        "coherence_interval": None if coherence is None else (coherence - 0.05, coherence + 0.05),
        "improbable": 200, "nll_before": 1.0, "nll_after": 0.5, "coherence_examples": 100,
        "coherence_parameters": "all", "accuracy": None, "accuracy_interval": None, "answers": 0,
        "temperature": 1.0, "training_rows": 480, "held_out_rows": 120, "steps": 60,
        "learning_rate": 1e-3, "trained": "all", "seed": 0, "seconds": 1.0, **changes,
    }  # fmt: skip
    return Deep(**fields)


LEARNABLE, NOISE, UNCLEAR = deep_of(0.8, 0.95), deep_of(0.1, 0.5), deep_of(0.1, 0.95)


@pytest.mark.parametrize(
    ("found", "reading"),
    [
        (LEARNABLE, "learnable"),
        (NOISE, "noise"),
        (UNCLEAR, "unclear"),
        (deep_of(0.8, 0.5), "unclear"),
        (deep_of(0.55, 0.95), "learnable"),  # one of the two intervals is clear
        (deep_of(0.55, 0.78), "unclear"),  # neither is
        (deep_of(0.45, 0.6), "noise"),
        (deep_of(0.45, 0.74), "unclear"),
        (deep_of(None, 0.95), None),
        (deep_of(0.8, None), None),
    ],
)
def test_readings(found: Deep, reading: str | None) -> None:
    assert found.reading == reading and found.to_dict()["reading"] == reading


def codes(answer: Any) -> set[str]:
    return {warning.code for warning in answer.warnings}


def test_in_the_middle_it_tips_the_balance_and_decides_nothing() -> None:
    for mean_p in (0.4, 0.55):
        prior = prior_of(mean_p)
        noise = recommend(prior, NOISE, temperature=1.0)
        assert (noise.recommended, noise.decided) == ("neg_p", False) and "noise" in noise.reason
        learnable = recommend(prior, LEARNABLE, temperature=1.0)
        assert (learnable.recommended, learnable.decided) == ("nll", False)
        assert "can be learned" in learnable.reason
        unsure = prior_of(
            mean_p, conflict_share=0.02, ignorance_share=0.2
        )  # free text is like this
        assert recommend(unsure, NOISE, temperature=1.0).recommended == "nll"
        assert recommend(prior, NOISE, temperature=0.0).recommended == "nll"
        assert recommend(prior, NOISE, temperature=1.0, kind="instruct").recommended == "nll"
        for found in (UNCLEAR, deep_of(None, None)):
            same, without = (
                recommend(prior, found, temperature=1.0),
                recommend(prior, temperature=1.0),
            )
            assert (same.ranking, same.reason) == (without.ranking, without.reason)
    assert not codes(recommend(prior_of(0.55), NOISE, temperature=1.0)) & {"deep_disagrees"}


@pytest.mark.parametrize(
    ("mean_p", "temperature", "found", "disagrees"),
    [
        (0.8, 1.0, LEARNABLE, True),
        (0.8, 1.0, NOISE, False),
        (0.8, 1.0, UNCLEAR, False),
        (0.05, 1.0, NOISE, True),
        (0.05, 0.0, NOISE, False),  # under greedy decoding noise leaves a tie
        (0.05, 1.0, LEARNABLE, False),
    ],
)
def test_at_the_ends_it_can_only_contradict(
    mean_p: float, temperature: float, found: Deep, disagrees: bool
) -> None:
    prior = prior_of(mean_p)
    without = recommend(prior, temperature=temperature)
    answer = recommend(prior, found, temperature=temperature)
    assert ("deep_disagrees" in codes(answer)) == disagrees
    assert answer.ranking == without.ranking and answer.reason == without.reason
    assert (answer.plan, answer.decided) == (without.plan, without.decided)


def test_it_says_what_it_cannot_tell_apart() -> None:
    texts = {w.code: w.text for w in recommend(prior_of(0.4), LEARNABLE, temperature=1.0).warnings}
    assert "only trusted answers tell them apart" in texts["deep_uncalibrated"]
    assert "0.8M" in texts["deep_uncalibrated"]
    assert "deep_silent" in codes(recommend(prior_of(0.4), deep_of(None, None), temperature=1.0))
    quiet = prior_of(0.97, conflict_share=0.002, ignorance_share=0.003)
    assert "deep_disagrees" not in codes(recommend(quiet, NOISE, temperature=1.0))
    assert not {"deep_uncalibrated", "deep_silent"} & codes(recommend(quiet, temperature=1.0))
