"""The prior against closed forms, an independent full-logit computation, and its own stopping rule."""

import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken

from advisor.advice.published_rule import is_settled
from advisor.data.dataset import SFTDataset, load_dataset
from advisor.errors import InputError
from advisor.model.load import LoadedModel, load_model
from advisor.prior.intervals import ratio_interval
from advisor.prior.prior import Prior, drawn, measure_prior
from tests.helpers.tiny import WORDS, tiny_model, tiny_tokenizer


def loaded_of(model: Any) -> LoadedModel:
    return LoadedModel(
        model=model.eval(), tokenizer=tiny_tokenizer(), name="tiny", fingerprint="0", parameters=1,
        dtype="float32", device="cpu", kind="base", notes=(),
    )  # fmt: skip


@pytest.fixture
def uniform() -> LoadedModel:
    """A model that gives every token the same probability: its head is zero."""
    model = tiny_model()
    torch.nn.init.zeros_(model.lm_head.weight)
    return loaded_of(model)


@pytest.fixture
def random_model() -> LoadedModel:
    return loaded_of(tiny_model())


def rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    rng = np.random.default_rng(seed)

    def words(low: int, high: int) -> str:
        return " ".join(rng.choice(list("abcdefghijklm"), rng.integers(low, high)))

    return [{"prompt": words(1, 9) + " ", "completion": words(1, 12)} for _ in range(count)]


def dataset_of(loaded: LoadedModel, count: int, **settings: Any) -> SFTDataset:
    return load_dataset(rows(count), loaded.tokenizer, **settings)


def reference(loaded: LoadedModel, dataset: SFTDataset) -> list[np.ndarray]:
    """Per example, [targets, 3]: p, entropy and whether the token is the end, one example at a time."""
    found = []
    for example in dataset:
        ids = torch.tensor(example.input_ids)
        with torch.no_grad():
            log_q = loaded.model(ids[None]).logits[0].double().log_softmax(-1)
        entropy = -(log_q.exp() * log_q).sum(-1)
        at = [i for i, label in enumerate(example.labels) if label != -100 and i]
        rows = [[log_q[i - 1, ids[i]].exp(), entropy[i - 1], ids[i] == 2] for i in at]
        found.append(np.array(rows))
    return found


def test_a_uniform_model_gives_one_over_v(uniform: LoadedModel) -> None:
    prior = measure_prior(uniform, dataset_of(uniform, 50), exact=True)
    size = len(WORDS)
    assert prior.mean_p == pytest.approx(1 / size, rel=1e-6)
    assert prior.entropy == pytest.approx(math.log(size), rel=1e-6)
    assert prior.cll == pytest.approx(0, abs=1e-6)
    assert prior.conflict_share == 0 and prior.ignorance_share == 1
    assert prior.dispersion == pytest.approx(0, abs=1e-6)
    assert prior.p_eos == pytest.approx(1 / size, rel=1e-6)


def test_every_statistic_equals_an_independent_computation(random_model: LoadedModel) -> None:
    dataset = dataset_of(random_model, 200)
    prior = measure_prior(random_model, dataset, exact=True, batch_tokens=64)
    by_example = reference(random_model, dataset)
    p, entropy, ends = np.concatenate(by_example).T
    low = p < 0.1
    assert prior.examples == 200 and prior.target_tokens == len(p)
    assert prior.mean_p == pytest.approx(p.mean(), abs=1e-6)
    assert prior.median_p == pytest.approx(np.median(p), abs=1e-3)
    assert prior.mean_log_p == pytest.approx(np.log(p).mean(), abs=1e-5)
    assert prior.entropy == pytest.approx(entropy.mean(), abs=1e-5)
    assert prior.conflict_share == pytest.approx((low & (entropy < 1)).mean())
    assert prior.ignorance_share == pytest.approx((low & (entropy >= 1)).mean())
    assert prior.conflict_share > 0 and prior.ignorance_share > 0
    assert prior.p_eos == pytest.approx(p[ends == 1].mean(), abs=1e-6)
    assert prior.cll == pytest.approx((np.log(p) + entropy).mean(), abs=1e-5)
    means = np.array([rows[:, 0].mean() for rows in by_example])
    several = [rows[:, 0] for rows in by_example if len(rows) > 1]
    inside = np.mean([p.var(ddof=1) / len(p) for p in several])
    between = np.var([p.mean() for p in several]) - inside
    assert prior.dispersion == pytest.approx(math.sqrt(max(0, between)), abs=1e-5)
    assert prior.example_quantiles["0.25"] == pytest.approx(np.quantile(means, 0.25), abs=1e-6)
    assert list(prior.histogram) == np.histogram(p, bins=20, range=(0, 1))[0].tolist()
    assert np.sum(prior.joint_histogram) == len(p)


def test_tokens_of_the_template_are_special_ones_or_its_own(uniform: LoadedModel) -> None:
    """Breaks where runs of space, which some tokenizers have as added tokens, count among them."""
    tokenizer, template = (
        uniform.tokenizer,
        "{% for m in messages %}{{ m.content + eos_token }}{% endfor %}",
    )
    for mark in ("<z>", "c  c"):
        tokenizer.add_tokens([AddedToken(mark, special=False)])
    tokenizer.add_tokens([AddedToken("   ", special=True)])
    uniform.model.resize_token_embeddings(len(tokenizer))
    torch.nn.init.zeros_(uniform.model.lm_head.weight)

    def of(answer: str, template: str) -> float | None:
        talk = [{"prompt": "a ", "completion": answer}]
        dataset = load_dataset(talk, tokenizer, chat_template=template)
        return measure_prior(uniform, dataset, exact=True).p_template

    assert of("b <z>   c  c b", template) is None
    p = pytest.approx(1 / len(tokenizer), rel=1e-6)
    assert of("b <z> b", template + "{{ '' if '<z>' else '' }}") == p
    assert of("b <bos> b", template) == p


def test_interval_is_clustered_by_example(random_model: LoadedModel) -> None:
    dataset = dataset_of(random_model, 300)
    prior = measure_prior(random_model, dataset, exact=True)
    by_example = reference(random_model, dataset)
    sums = np.array([rows[:, 0].sum() for rows in by_example])
    tokens = np.array([len(rows) for rows in by_example])
    ratio = sums.sum() / tokens.sum()
    # Cochran, Sampling Techniques, eq. 6.13: standard error of a ratio estimate
    se = math.sqrt(((sums - ratio * tokens) ** 2).sum() / (299 * 300)) / tokens.mean()
    low, high = prior.mean_p_interval
    assert (high - low) / 2 > 1.95 * se  # a little wider: three imaginary examples
    assert (high - low) / 2 < 1.96 * math.sqrt(
        se**2 + 3 * np.square(tokens).mean() / tokens.mean() ** 2 / 300**2
    ) * 1.01
    assert not prior.anytime


def test_intervals_rest_on_the_examples_in_the_order_of_drawing(random_model: LoadedModel) -> None:
    """Breaks when examples are bet on sorted by length, as they are read: that order is not random."""
    dataset = dataset_of(random_model, 200)
    prior = measure_prior(random_model, dataset, seed=3)
    assert prior.anytime and prior.examples == 200
    by_example = reference(random_model, dataset)
    drawn = [by_example[i] for i in np.random.default_rng(3).permutation(200)]
    tokens = np.array([len(rows) for rows in drawn], dtype=float)
    low = [rows[:, 0] < 0.1 for rows in drawn]
    conflict = [(one & (rows[:, 1] < 1)).sum() for one, rows in zip(low, drawn, strict=True)]
    below = np.array([one.sum() for one in low])
    sums = {
        "mean_p": np.array([rows[:, 0].sum() for rows in drawn]),
        "share_below": below,
        "contradiction": (2 * np.array(conflict) - below + tokens) / 2,
    }
    for name, numerator in sums.items():
        expected = np.array(ratio_interval(numerator, tokens, alpha=0.1, anytime=True))
        if name == "contradiction":  # conflict less ignorance, from -1 to 1
            expected = 2 * expected - 1
        assert prior.intervals[name] == pytest.approx(tuple(expected), abs=1e-4)
    assert set(prior.intervals) == {*sums, "p_eos", "dispersion"}


def test_neither_order_nor_batches_change_the_result(random_model: LoadedModel) -> None:
    def measured(**settings: int) -> Prior:
        return measure_prior(random_model, dataset_of(random_model, 150), exact=True, **settings)

    one, other = measured(seed=0, batch_tokens=10_000), measured(seed=5, batch_tokens=30)
    assert one.mean_p == pytest.approx(other.mean_p, abs=1e-7)
    assert one.dispersion == pytest.approx(other.dispersion, abs=1e-6)


def test_limit_measures_a_seeded_random_part(random_model: LoadedModel) -> None:
    runs = [
        measure_prior(random_model, dataset_of(random_model, 400), limit=40, seed=s)
        for s in (1, 1, 2)
    ]
    assert [run.examples for run in runs] == [40, 40, 40]
    assert runs[0].mean_p == runs[1].mean_p != runs[2].mean_p


def test_stops_when_settled_and_tokenises_no_more(uniform: LoadedModel) -> None:
    """Breaks when a clear case is read on and on, or rows are tokenised that are not read."""
    dataset = dataset_of(uniform, 2000)
    prior = measure_prior(uniform, dataset, settled=is_settled)
    assert prior.anytime and prior.examples == dataset.counts.examples <= 160
    assert measure_prior(uniform, dataset_of(uniform, 300)).examples == 300


def test_progress_counts_up_to_the_end(random_model: LoadedModel) -> None:
    seen: list[tuple[int, int]] = []
    dataset = dataset_of(random_model, 200)
    measure_prior(random_model, dataset, exact=True, on_progress=lambda *at: seen.append(at))
    assert seen[-1] == (200, 200)
    assert len(seen) > 1 and seen == sorted(seen)


def test_one_example_works_and_claims_nothing(random_model: LoadedModel) -> None:
    prior = measure_prior(random_model, dataset_of(random_model, 1))
    assert prior.examples == 1
    assert prior.mean_p_interval == (0.0, 1.0)


def test_examples_without_targets_are_left_out_and_counted(random_model: LoadedModel) -> None:
    some = [*rows(20), *({"prompt": "a b c ", "completion": ""} for _ in range(5))]
    prior = measure_prior(random_model, load_dataset(some, random_model.tokenizer), exact=True)
    assert (prior.examples, prior.dropped) == (20, 5)
    dataset = load_dataset(some, random_model.tokenizer)
    list(dataset)  # what was tokenised before counts for nothing
    few = measure_prior(random_model, dataset, limit=5)
    assert few.examples + few.dropped == 5 and few.truncated == 0
    assert few.usable_rows == pytest.approx(25 * few.examples / 5, abs=1)
    cut = load_dataset(rows(20), random_model.tokenizer, max_length=5)
    list(cut)
    with pytest.raises(InputError, match="none of the 1 rows that were drawn has a target left"):
        for seed in range(50):
            measure_prior(random_model, cut, limit=1, seed=seed)
    with pytest.raises(InputError, match="none of the 5 rows"):
        measure_prior(random_model, load_dataset(some[20:], random_model.tokenizer))


def test_ids_outside_the_vocabulary_are_refused(random_model: LoadedModel) -> None:
    foreign = [{"input_ids": [3, 4, 500], "labels": [-100, 4, 500]}]
    with pytest.raises(
        InputError, match=r"input_ids holds 500 .* the tokenizer's largest id is 15"
    ):
        measure_prior(random_model, load_dataset(foreign, random_model.tokenizer))


def test_non_finite_log_probabilities_are_refused(random_model: LoadedModel) -> None:
    torch.nn.init.constant_(random_model.model.model.norm.weight, float("inf"))
    with pytest.raises(InputError, match="not finite"):
        measure_prior(random_model, dataset_of(random_model, 3))


@pytest.mark.parametrize("model", ["tinystories-260k", "rwkv4-byte-661k"])
def test_real_model_and_data_equal_full_logits(shared: Path, model: str) -> None:
    loaded = load_model(shared / "models" / model)
    source = load_dataset(
        shared / "data" / "gsm8k" / "test.jsonl", loaded.tokenizer, max_length=128,
        eos_token="none" if model.startswith("rwkv") else None,
    )  # fmt: skip
    kept = load_dataset([source.raw(i) for i in range(12)], loaded.tokenizer, max_length=128,
                        eos_token="none" if model.startswith("rwkv") else None)  # fmt: skip
    prior = measure_prior(loaded, kept, exact=True)
    p = np.concatenate([rows for rows in reference(loaded, kept) if len(rows)])[:, 0]
    assert prior.target_tokens == len(p)
    assert prior.mean_p == pytest.approx(p.mean(), abs=1e-5)


def test_few_rows_are_shuffled_and_of_many_only_the_drawn_take_memory() -> None:
    few = drawn(1000, 64, seed=3)
    assert few.tolist() == np.random.default_rng(3).permutation(1000)[:64].tolist()
    tracemalloc.start()
    many = drawn(10**8, 4096, seed=0)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert len(set(many.tolist())) == 4096 and 0 <= many.min() < 10**6 and many.max() >= 99 * 10**6
    assert (np.diff(many) > 0).mean() == pytest.approx(0.5, abs=0.05)  # in no order
    assert sorted(drawn(2**20 + 1, 2**21, seed=0).tolist()) == list(range(2**20 + 1))
