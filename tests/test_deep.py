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
from conftest import tiny_tokenizer
from test_recommend import prior_of, with_model

from advisor.cli import main
from advisor.data import Example, SFTDataset, load_dataset
from advisor.deep import Deep
from advisor.errors import InputError
from advisor.model import LoadedModel, load_model
from advisor.recommend import recommend
from harness import deep, gradients
from harness.deep import measure_deep, recovery, split
from harness.gradients import coherence, measure_coherence, one_improbable, twin


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


def test_coherence_interval_is_the_jackknife() -> None:
    table = np.random.default_rng(1).normal(size=(14, 5)) + np.eye(5)[0]
    gram = table @ table.T
    found = coherence(gram)
    values = []
    for left_out in range(14):
        kept = np.delete(np.arange(14), left_out)
        values.append(coherence(gram[np.ix_(kept, kept)]).value)
    spread = np.square(np.array(values) - np.mean(values)).sum() * 13 / 14
    low, high = found.value - 1.96 * spread**0.5, found.value + 1.96 * spread**0.5
    assert found.interval == pytest.approx((max(0, low), min(1, high))) and low > 0


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
    data = dataset_of(convention(12))
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
    assert named == scope and found.count == 12
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
    data = dataset_of(rows(7))
    examples = one_improbable(list(data), [np.zeros(e.target_tokens) for e in data], 0)
    found, _ = measure_coherence(loaded, examples, lambda *_: None)
    assert (found.value, found.interval, found.count) == (None, None, 7)


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


# The whole probe


@pytest.mark.parametrize("trained", ["all", "adapter"])
def test_the_model_stays_as_it_was(
    loaded: LoadedModel, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trained == "adapter":
        monkeypatch.setattr(deep, "WHOLE", 1)
    for name in ("TINY_RATES", "ADAPTER_RATES"):
        monkeypatch.setattr(deep, name, (0.01,))
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
    monkeypatch.setattr(deep, "TINY_RATES", (0.03,))
    rng = np.random.default_rng(5)
    random = [
        {**row, "completion": " ".join(rng.choice(list("abcdefghijklm"), 3))} for row in rows(100)
    ]
    same, noise = (probe(loaded, dataset_of(x), steps=40) for x in (convention(100), random))
    assert same.recovery is not None and same.recovery > 0.8
    assert same.improbable > 10
    # all but the terminator, which is known once it has been learned, is as random as before
    assert noise.recovery is not None and noise.recovery < 0.5


def test_on_the_ladder_with_a_short_run(capsys: Any) -> None:
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
    assert main(words) == 0
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
def test_at_the_ends_it_can_only_take_a_decision_back(
    mean_p: float, temperature: float, found: Deep, disagrees: bool
) -> None:
    prior = prior_of(mean_p)
    without = recommend(prior, temperature=temperature)
    answer = recommend(prior, found, temperature=temperature)
    assert without.decided and answer.decided == (not disagrees)
    assert ("deep_disagrees" in codes(answer)) == disagrees
    assert answer.ranking == without.ranking and answer.reason == without.reason
    assert answer.next_command("m d").split()[1] == ("confirm" if disagrees else "train")


def test_it_never_decides_what_was_not_decided() -> None:
    prior = with_model(prior_of(0.8), parameters=800_000)
    for found in (LEARNABLE, NOISE, UNCLEAR):
        assert not recommend(prior, found, temperature=1.0).decided


def test_it_says_what_it_cannot_tell_apart() -> None:
    texts = {w.code: w.text for w in recommend(prior_of(0.4), LEARNABLE, temperature=1.0).warnings}
    assert "only trusted answers tell them apart" in texts["deep_uncalibrated"]
    assert "0.8M" in texts["deep_uncalibrated"]
    assert "deep_silent" in codes(recommend(prior_of(0.4), deep_of(None, None), temperature=1.0))
    quiet = prior_of(0.97, conflict_share=0.002, ignorance_share=0.003)
    assert "deep_disagrees" not in codes(recommend(quiet, NOISE, temperature=1.0))
    assert not {"deep_uncalibrated", "deep_silent"} & codes(recommend(quiet, temperature=1.0))
