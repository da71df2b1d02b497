"""Hinted decoding: published numbers, one stream against `generate`, both against a loop without cache."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config

from advisor.model.load import LoadedModel
from harness.generate import hinted
from harness.generate.hinted import (
    Answer,
    Mixing,
    Sampling,
    Watch,
    analyses,
    draw,
    hinted_answers,
    mix,
    normalised_entropy,
    own_weight,
    plain_answers,
    repeats,
)
from tests.helpers.tiny import WORDS, tiny_model, tiny_tokenizer

NEVER = "never written"
GREEDY = Sampling(temperature=0.0, top_p=1.0)
LENGTH = 16
PLAIN = [[1, 4, 5], [1, 9], [1, 6, 7, 8, 3], [1, 12, 12]]
HINTED = [
    [1, 4, 5, 6, 7, 8, 9, 10],
    [1, 9, 3, 3],
    [1, 6, 7, 8, 3, 4],
    [1, 12, 5, 12, 4, 4, 4, 4, 4, 15],
]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    """A random model that seldom ends and is neither sure nor lost: entropies from 0 to 2 nats."""
    model = tiny_model(initializer_range=0.5, max_position_embeddings=1024)
    model.generation_config.eos_token_id = 2
    return LoadedModel(
        model=model, tokenizer=tiny_tokenizer(), name="tiny", fingerprint="", parameters=0,
        dtype="float32", device="cpu", kind="base", notes=(),
    )  # fmt: skip


def numbers(rows: int, length: int = LENGTH, seed: int = 0) -> Tensor:
    return torch.rand(rows, length, generator=torch.Generator().manual_seed(seed))


def logs(*rows: Sequence[float]) -> Tensor:
    return torch.tensor(rows).log()


def test_numbers_of_the_mixture() -> None:
    log_p, log_q = logs((0.6, 0.3, 0.1)), logs((0.2, 0.7, 0.1))
    assert normalised_entropy(log_p) * math.log(3) == pytest.approx([0.897946], abs=1e-6)
    weight = own_weight(log_p, beta=0.7)
    assert weight == pytest.approx([0.572142], abs=1e-6)
    mixed = mix(log_p, log_q, weight)[0].exp()
    assert mixed.tolist() == pytest.approx([0.352767, 0.536999, 0.110234], abs=1e-6)


def test_weight_stays_within_0_and_1() -> None:
    uniform, certain = logs((0.25,) * 4), logs((1.0, 0.0, 0.0, 0.0))
    assert normalised_entropy(torch.cat([uniform, certain])).tolist() == pytest.approx([1, 0])
    assert own_weight(uniform, 3.0).item() == 1.0
    assert own_weight(uniform, 0.25).item() == pytest.approx(0.25)
    assert own_weight(certain, 3.0).item() == 0.0


def test_mixture_at_its_ends_is_one_stream_exactly() -> None:
    log_p, log_q = logs((0.6, 0.4, 0.0)).repeat(2, 1), logs((0.1, 0.0, 0.9)).repeat(2, 1)
    mixed = mix(log_p, log_q, torch.tensor([0.0, 1.0]))
    assert torch.equal(mixed, torch.stack([log_p[0], log_q[1]]))
    halfway = mix(log_p, log_q, torch.tensor([0.5, 0.5])).exp()
    assert halfway[0].tolist() == [1.0, 0.0, 0.0]  # what either stream excludes


def test_nucleus_is_taken_before_the_temperature() -> None:
    # The nucleus of 0.7 keeps two tokens; at temperature 0.3 they have p ** (1 / 0.3), so 0.8459 and 0.1541.
    log_p = logs((0.5, 0.3, 0.2)).repeat(4, 1)
    drawn = draw(
        log_p, torch.tensor([0.0, 0.845, 0.847, 0.9999]), Sampling(temperature=0.3, top_p=0.7)
    )
    assert drawn.tolist() == [0, 0, 1, 1]


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    uniforms = (torch.arange(1000) + 0.5) / 1000
    drawn = draw(
        logs((0.0, 0.6, 0.1, 0.3)).repeat(1000, 1), uniforms, Sampling(temperature=1.0, top_p=1.0)
    )
    assert drawn.bincount(minlength=4).tolist() == [0, 600, 100, 300]


def test_impossible_tokens_are_never_drawn() -> None:
    largest = torch.tensor([1 - 2**-24, 1.0])
    drawn = draw(logs((0.7, 0.3, 0.0)).repeat(2, 1), largest, Sampling(temperature=1.0, top_p=1.0))
    assert drawn.tolist() == [1, 1]
    least = draw(logs((0.0, 0.7, 0.3)), torch.zeros(1), Sampling(temperature=1.0, top_p=1.0))
    assert least.tolist() == [1]


def test_sums_in_another_order_draw_no_impossible_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA a float32 cumsum adds in a tree: it may rise by a rounding where nothing is added."""
    cumsum = torch.Tensor.cumsum

    def in_a_tree(self: Any, dim: int) -> Any:
        exact = cumsum(self, dim)
        noise = torch.tensor([2**-24, 0.0]).repeat(exact.shape[-1] // 2)
        return exact + noise if self.dtype == torch.float32 else exact

    monkeypatch.setattr(torch.Tensor, "cumsum", in_a_tree)
    log_p = logs((0.0, 0.25) * 4).repeat(4, 1)
    uniforms = torch.tensor([0.0, 0.25, 0.5, 0.75])
    drawn = draw(log_p, uniforms, Sampling(temperature=1.0, top_p=1.0))
    assert drawn.tolist() == [1, 3, 5, 7]


def test_repetition_is_a_run_of_30_tokens_five_times() -> None:
    run = list(range(30))
    assert repeats(run * 5) and not repeats(run * 5, times=6)
    assert not repeats(run * 4 + run[:29])
    assert repeats([7] * 34) and not repeats([7] * 33)
    assert not repeats(list(range(1000))) and not repeats([])


def generated(loaded: LoadedModel, prompts: list[list[int]], **decoding: Any) -> list[list[int]]:
    """What transformers generates, one prompt at a time and without padding."""
    rows = []
    for prompt in prompts:
        output: Any = loaded.model.generate(  # type: ignore[operator]
            torch.tensor([prompt]), max_new_tokens=LENGTH, pad_token_id=0, **decoding
        )
        rows.append(output[0, len(prompt) :].tolist())
    return rows


def tokens(answers: list[Answer]) -> list[list[int]]:
    return [answer.tokens for answer in answers]


HINT_ALONE = Mixing(splitter=NEVER, beta=0.0)
OWN_ALONE = Mixing(splitter=NEVER, beta=1e9, lead=0)


def test_greedy_with_one_stream_is_generate(loaded: LoadedModel) -> None:
    drawn = numbers(4)
    plain, hint = (generated(loaded, prompts, do_sample=False) for prompts in (PLAIN, HINTED))
    assert plain != hint
    assert tokens(plain_answers(loaded, PLAIN, drawn, GREEDY)) == plain
    assert tokens(hinted_answers(loaded, HINTED, PLAIN, drawn, GREEDY, HINT_ALONE)) == hint
    assert tokens(hinted_answers(loaded, HINTED, PLAIN, drawn, GREEDY, OWN_ALONE)) == plain


@pytest.mark.parametrize("sampling", [(1.0, 0.8), (0.6, 1.0)])
def test_sampling_with_one_stream_is_generate(
    loaded: LoadedModel, sampling: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same random numbers: those that `generate` would draw by are put into its hands."""
    temperature, top_p = sampling
    drawn, own = numbers(4), Sampling(temperature=temperature, top_p=top_p)
    steps = iter(drawn[row, step] for row in (0, 1, 2, 3, 0, 1, 2, 3) for step in range(LENGTH))

    def inverse(probabilities: Tensor, num_samples: int) -> Tensor:
        below = probabilities[0].double().cumsum(0)
        return torch.tensor([[int((below <= next(steps)).sum())]])

    with monkeypatch.context() as patch:
        patch.setattr(torch, "multinomial", inverse)
        settings = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
        plain, hint = (
            generated(loaded, prompts, **settings, eos_token_id=None) for prompts in (PLAIN, HINTED)
        )
    assert len({tuple(row) for row in plain + hint}) == 8
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", None)
    endless = replace(loaded, tokenizer=tiny_tokenizer(pad_token="<pad>"))
    assert tokens(plain_answers(endless, PLAIN, drawn, own)) == plain
    assert tokens(hinted_answers(endless, HINTED, PLAIN, drawn, own, HINT_ALONE)) == hint
    assert tokens(hinted_answers(endless, HINTED, PLAIN, drawn, own, OWN_ALONE)) == plain


def reference(
    loaded: LoadedModel, hint: list[int], plain: list[int], uniforms: Tensor, mixing: Mixing
) -> tuple[list[int], list[float]]:
    """Hinted decoding of one row as the paper words it: no cache, no padding, double precision."""
    new: list[int] = []
    weights: list[float] = []
    for number in uniforms.double():
        with torch.no_grad():
            logits = [
                loaded.model(torch.tensor([ids + new])).logits[0, -1] for ids in (hint, plain)
            ]
        p, q = (row.double().softmax(0) for row in logits)
        entropy = float(-(p * p.log()).sum()) / math.log(len(p))
        answering = mixing.splitter in loaded.tokenizer.decode(new)
        weight = 1.0 if answering else min(1.0, mixing.beta * entropy) * (len(new) >= mixing.lead)
        m = p ** (1 - weight) * q**weight
        m /= m.sum()
        order = m.argsort(descending=True)
        nucleus = order[: int((m[order].cumsum(0) < 0.9).sum()) + 1]
        sharp = torch.zeros_like(m).scatter(0, nucleus, m[nucleus] ** 2)  # temperature 0.5
        new.append(int((sharp.cumsum(0) / sharp.sum() <= number).sum()))
        weights.append(weight)
        if new[-1] == 2:
            break
    return new, weights


@pytest.mark.parametrize("splitter", [NEVER, "l h"])
def test_both_streams_against_a_plain_loop(loaded: LoadedModel, splitter: str) -> None:
    sampling, mixing = Sampling(temperature=0.5, top_p=0.9), Mixing(splitter=splitter, beta=1.5)
    drawn = numbers(4)
    wanted = [
        reference(loaded, *prompts, mixing) for prompts in zip(HINTED, PLAIN, drawn, strict=True)
    ]
    found = hinted_answers(loaded, HINTED, PLAIN, drawn, sampling, mixing)
    assert tokens(found) == [row for row, _ in wanted]
    means = [sum(weights) / len(weights) for _, weights in wanted]
    assert [answer.own_share for answer in found] == pytest.approx(means, abs=1e-4)
    between = [weight for _, weights in wanted for weight in weights if 0 < weight < 1]
    assert len(between) > 15  # neither stream alone
    assert any(splitter in loaded.tokenizer.decode(row) for row, _ in wanted) == (splitter != NEVER)


def test_splitter_hands_over_to_the_plain_stream(loaded: LoadedModel) -> None:
    mixing = Mixing(splitter=NEVER, beta=0.0)
    [before] = hinted_answers(loaded, HINTED[:1], PLAIN[:1], numbers(1), GREEDY, mixing)
    splitter = WORDS[before.tokens[4]]
    at = before.tokens.index(before.tokens[4]) + 1
    [after] = hinted_answers(
        loaded, HINTED[:1], PLAIN[:1], numbers(1), GREEDY, Mixing(splitter=splitter, beta=0.0)
    )
    assert after.tokens[:at] == before.tokens[:at]
    rest = generated(loaded, [PLAIN[0] + before.tokens[:at]], do_sample=False)[0]
    assert after.tokens[at:] == rest[: len(after.tokens) - at] and at < len(after.tokens)


def test_batch_and_padding_change_nothing(loaded: LoadedModel) -> None:
    sampling, mixing, drawn = Sampling(temperature=0.8), Mixing(splitter="f"), numbers(4)
    together = hinted_answers(loaded, HINTED, PLAIN, drawn, sampling, mixing)
    alone = [
        hinted_answers(loaded, [hint], [plain], drawn[i : i + 1], sampling, mixing)[0]
        for i, (hint, plain) in enumerate(zip(HINTED, PLAIN, strict=True))
    ]
    alike(together, alone)
    long, five = (
        [[1, *[5] * 40]],
        torch.cat([drawn, numbers(1, seed=1)]),
    )  # pads the others by thirty tokens
    padded = hinted_answers(loaded, HINTED + long, PLAIN + long, five, sampling, mixing)
    assert tokens(padded)[:4] == tokens(alone)


LENGTHS = (7, 2, 16, 11)


def alike(one: list[Answer], other: list[Answer]) -> None:
    """The same answers, but for the last digits of `own_share`."""
    shares = [answer.own_share for answer in other]
    assert [answer.own_share for answer in one] == pytest.approx(shares, abs=1e-5)
    assert one == [replace(b, own_share=a.own_share) for a, b in zip(one, other, strict=True)]


@pytest.mark.parametrize("kind", ["rotary", "learned"])
def test_rows_of_other_lengths_change_nothing(loaded: LoadedModel, kind: str) -> None:
    """Every row is as long as it may be, also where no position of the model is left for the others."""
    if kind == "learned":
        loaded = without_end(max(len(h) + n for h, n in zip(HINTED, LENGTHS, strict=True)))
    drawn = [row[:length] for row, length in zip(numbers(4, seed=3), LENGTHS, strict=True)]
    sampling, mixing = Sampling(temperature=2.0, top_p=1.0), Mixing(splitter="f")
    own = plain_answers(loaded, PLAIN, drawn, sampling)
    both = hinted_answers(loaded, HINTED, PLAIN, drawn, sampling, mixing)
    for i in range(4):
        alike(own[i : i + 1], plain_answers(loaded, PLAIN[i : i + 1], drawn[i : i + 1], sampling))
        one = hinted_answers(
            loaded, HINTED[i : i + 1], PLAIN[i : i + 1], drawn[i : i + 1], sampling, mixing
        )
        alike(both[i : i + 1], one)
    for answer, length in zip(own + both, LENGTHS * 2, strict=True):
        assert len(answer.tokens) == length or answer.ended
    assert sum(not answer.ended for answer in own) > (2 if kind == "rotary" else 3)


def without_end(context: int) -> LoadedModel:
    """A random GPT-2 that has no position beyond its context and ends no answer."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(WORDS), n_embd=16, n_layer=2, n_head=2, n_positions=context, initializer_range=0.5,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return LoadedModel(
        model=AutoModelForCausalLM.from_config(config).eval(), tokenizer=tiny_tokenizer(pad_token="<pad>"),
        name="tiny", fingerprint="", parameters=0, dtype="float32", device="cpu", kind="base", notes=(),
    )  # fmt: skip


def test_end_at_the_last_token_that_may_be_is_an_end(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def scripted(log_p: Tensor, numbers: Tensor, sampling: Sampling) -> Tensor:
        steps.append(len(log_p))
        return (numbers * 16).long()

    monkeypatch.setattr(hinted, "draw", scripted)
    rows = ([5, 6, 2], [5, 6, 7], [5, 2, *[7] * 14], [5, 6])
    answers = plain_answers(loaded, PLAIN, [torch.tensor(row) / 16 for row in rows], GREEDY)
    assert tokens(answers) == [[5, 6, 2], [5, 6, 7], [5, 2], [5, 6]]
    assert [answer.ended for answer in answers] == [True, False, True, False]
    assert steps == [4, 4, 4]  # no row goes on, though the third one might


@pytest.mark.parametrize(
    "setting",
    [{"repetition_penalty": 3.0}, {"no_repeat_ngram_size": 1}, {"num_beams": 2}, {"stop_strings": ["c"]},
     {"begin_suppress_tokens": [3, 4, 5]}],
)  # fmt: skip
def test_generation_config_of_the_model_changes_no_distribution(
    loaded: LoadedModel, setting: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = numbers(4)
    before = plain_answers(loaded, PLAIN, drawn, Sampling())
    [(name, value)] = setting.items()
    monkeypatch.setattr(loaded.model.generation_config, name, value)
    assert plain_answers(loaded, PLAIN, drawn, Sampling()) == before


def test_answers_end_at_the_end_token(loaded: LoadedModel) -> None:
    answers = plain_answers(
        loaded, PLAIN * 8, numbers(32, seed=1), Sampling(temperature=2.0, top_p=1.0)
    )
    ended = [answer for answer in answers if answer.ended]
    assert 0 < len(ended) < 32
    assert all(a.tokens.index(2) == len(a.tokens) - 1 for a in ended)
    assert all(2 not in a.tokens and len(a.tokens) == LENGTH for a in answers if not a.ended)


def test_row_that_repeats_itself_is_stopped(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are scripted by their random numbers; what pads them is the token that ends them."""
    varied = torch.randint(3, 16, (320,), generator=torch.Generator().manual_seed(0))
    rows = varied.repeat(4, 1)
    rows[1, 120:], rows[2, :], rows[2, 50], rows[3, 100] = 7, 7, 2, 2
    monkeypatch.setattr(hinted, "draw", lambda log_p, numbers, sampling: (numbers * 16).long())
    tokenizer = tiny_tokenizer(pad_token="<eos>", eos_token="<eos>")
    padded = replace(loaded, tokenizer=tokenizer)
    answers = plain_answers(padded, PLAIN, rows / 16, GREEDY)
    assert [(len(a.tokens), a.ended, a.repeated) for a in answers] == [
        (320, False, False), (200, False, True), (51, True, False), (101, True, False)
    ]  # fmt: skip
    [short] = plain_answers(padded, PLAIN[:1], [rows[1, :150] / 16], GREEDY)
    beside = plain_answers(padded, PLAIN[:2], [rows[0] / 16, rows[1, :150] / 16], GREEDY)
    assert (len(short.tokens), short.ended, short.repeated) == (150, False, False)
    assert beside[1] == short  # which is found to repeat itself only when it is over
    both = hinted_answers(padded, HINTED, PLAIN, rows / 16, GREEDY, OWN_ALONE)
    assert (
        tokens(both)
        == tokens(answers)
        == [r[: len(a.tokens)].tolist() for r, a in zip(rows, answers, strict=True)]
    )


def test_analysis_goes_to_the_marker_or_is_missing(loaded: LoadedModel) -> None:
    greedy = generated(loaded, HINTED, do_sample=False)
    marker = " ".join(WORDS[token] for token in greedy[0][5:7])
    found = analyses(loaded, HINTED, marker, [LENGTH] * 4)
    for analysis, whole in zip(found, greedy, strict=True):
        words = [" ".join(WORDS[token] for token in whole[:n]) for n in range(LENGTH + 1)]
        end = next((n for n, text in enumerate(words) if marker in text), None)
        assert analysis == (None if end is None else whole[:end])
    assert found[0] and None in analyses(loaded, HINTED, NEVER, [LENGTH] * 4)
    ends = [LENGTH if analysis is None else len(analysis) for analysis in found]
    assert analyses(loaded, HINTED, marker, ends) == found
    short = [end - (analysis is not None) for end, analysis in zip(ends, found, strict=True)]
    assert analyses(loaded, HINTED, marker, [*short[:-1], LENGTH]) == [None] * 3 + found[-1:]


def test_analysis_that_repeats_itself_is_stopped(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    monkeypatch.setattr(Watch, "look", lambda self, ids: lengths.append(ids.shape[1]))
    monkeypatch.setattr(loaded.model, "lm_head", Always(7))
    assert analyses(loaded, HINTED, NEVER, [900] * 4) == [None] * 4
    assert max(lengths) - lengths[0] + 1 == 100  # it looks from the first token on


class Always(torch.nn.Module):
    """An output layer that knows one token only."""

    def __init__(self, token: int) -> None:
        super().__init__()
        self.token = token

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(
            torch.full(hidden.shape[:-1], self.token), len(WORDS)
        ).float()


def test_log_probabilities_are_float32_whatever_the_model(loaded: LoadedModel) -> None:
    watch = Watch(loaded.tokenizer, NEVER, rows=1, start=3)
    merge = hinted.Mixture(Mixing(splitter=NEVER), watch, 3)
    scores = torch.randn(2, 16).bfloat16()
    found = merge(torch.zeros(2, 3, dtype=torch.long), scores)
    assert torch.equal(found, scores[:1].float().log_softmax(-1))
