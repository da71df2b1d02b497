"""Hinted decoding: a model rewrites a demonstration in its own words, with the answer at hand as a hint.

From DDT (arXiv:2602.12222). One copy of the weights reads two contexts: the prompt with a hint that holds
the reference answer, and the plain prompt. Both continue with the same token, drawn from a geometric mixture
of the two next-token distributions: where the hinted stream is sure it decides, where it is unsure the
model's own distribution does. Once the final answer begins the plain stream decides alone.

The streams are the two halves of one batch of `generate`, so that masks, positions and the end of rows are
the library's; what is ours is the logits processor, which draws the token of both streams, and that the two
prompts, of which one is several times as long, are read apart (`read_apart.py`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TopPLogitsWarper,
)

from advisor.model.load import LoadedModel
from harness.generate.decoding import as_it_is, no_position_beyond, padded, read_together, stops_of
from harness.generate.read_apart import read_apart
from harness.generate.rewrite_settings import Sampling

NGRAM = 30
TIMES = 5
CHECKED_EVERY = 100
"""A row ends where a run of NGRAM tokens stands in it TIMES times; looked at after so many tokens."""

Merge = Callable[[Tensor, Tensor], Tensor]
"""(ids so far, scores of all streams) -> log-probabilities [rows, vocabulary] to draw from."""


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How the two streams make one distribution."""

    splitter: str
    """Begins the final answer: once it is written, the plain stream decides alone."""
    beta: float = 3.0
    """Weight of the plain stream per unit of the hinted one's normalised entropy; 0: the hint alone."""
    lead: int = 1
    """First tokens that the hinted stream decides alone."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One continuation."""

    tokens: list[int]
    """Up to and with the token that ends it."""
    ended: bool
    """Whether that token came."""
    repeated: bool = False
    """Whether it was stopped because it repeats itself."""
    own_share: float = 1.0
    """Mean weight of the plain stream over its tokens, 0 to 1."""


def normalised_entropy(log_p: Tensor) -> Tensor:
    """Entropy over the logarithm of the vocabulary's size: [rows, vocabulary] -> [rows], 0 to 1."""
    entropy: Tensor = torch.special.entr(log_p.exp()).sum(-1)
    return entropy / math.log(log_p.shape[-1])


def own_weight(log_p: Tensor, beta: float) -> Tensor:
    """Lambda, the plain stream's weight: log-probabilities of the hinted one [rows, vocabulary] -> [rows]."""
    return (beta * normalised_entropy(log_p)).clamp(0.0, 1.0)


def mix(log_p: Tensor, log_q: Tensor, weight: Tensor) -> Tensor:
    """The normalised geometric mixture, log p where the weight is 0 and log q where it is 1.

    Args:
        log_p: [rows, vocabulary] of the hinted stream, float32.
        log_q: as `log_p`, of the plain one.
        weight: [rows] of log q, 0 to 1.
    """
    share = weight[:, None]
    mixed = ((1 - share) * log_p + share * log_q).log_softmax(-1)
    # Exactly, and without 0 * -inf.
    return torch.where(share == 0, log_p, torch.where(share == 1, log_q, mixed))


def draw(log_p: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """Tokens [rows] drawn by inverting the distribution function.

    A row's token depends on its own distribution and random number alone, whatever rows are beside it.

    Args:
        log_p: [rows, vocabulary].
        uniforms: [rows], in [0, 1).
        sampling: nucleus and temperature.
    """
    if sampling.temperature == 0:
        return log_p.argmax(-1)
    if sampling.top_p < 1:
        warp: Any = TopPLogitsWarper(sampling.top_p)
        log_p = warp(None, log_p)
    # In float64: a float32 cumsum on CUDA adds in a tree and is not monotone, so that a token of
    # probability 0 could be drawn.
    below = (log_p.double() / sampling.temperature).softmax(-1).cumsum(-1)
    total = below[:, -1:]
    # Below the total also where the product rounds up to it: a token of probability 0 is never drawn.
    wanted = torch.minimum(
        uniforms[:, None].to(total) * total, total.nextafter(torch.zeros_like(total))
    )
    return torch.searchsorted(below, wanted, right=True)[:, 0]


def repeats(tokens: Sequence[int], *, ngram: int = NGRAM, times: int = TIMES) -> bool:
    """Whether some run of `ngram` tokens stands in these at least `times` times; runs may overlap."""
    runs = Counter(tuple(tokens[i : i + ngram]) for i in range(len(tokens) - ngram + 1))
    return max(runs.values(), default=0) >= times


class Watch:
    """Notes in which rows a text has been written, whatever tokens it is made of."""

    def __init__(self, tokenizer: Any, text: str, *, rows: int, start: int) -> None:
        self.at: dict[int, int] = {}
        """Row -> its number of new tokens when the text was whole."""
        self._decode = tokenizer.decode
        self._text = text
        self._rows, self._start = rows, start
        # A token holds a byte at least; sentencepiece drops a space where the decoding begins.
        self._reach = len(text.encode()) + 1
        self._ends: dict[int, bool] = {}

    def look(self, ids: Tensor) -> None:
        """Read what the newest tokens complete; `ids` [rows or more, length] with the prompts."""
        length = ids.shape[1]
        if length == self._start:
            return
        tails = ids[: self._rows, max(self._start, length - self._reach) :].tolist()
        for row, tail in enumerate(tails):
            if row not in self.at and self._may_end(tail[-1]) and self._text in self._read(tail):
                self.at[row] = length - self._start

    def _may_end(self, token: int) -> bool:
        """Whether a token can be the text's last: nearly all are ruled out by themselves."""
        if token not in self._ends:
            last = self._text[-1]
            shown = last.isascii() and not last.isspace()  # whatever precedes the token
            self._ends[token] = not shown or last in self._read([token])
        return self._ends[token]

    def _read(self, tokens: list[int]) -> str:
        return str(self._decode(tokens, clean_up_tokenization_spaces=False))


class Mixture:
    """Log-probabilities of hinted decoding: a `Merge` of the hinted half and the plain half."""

    def __init__(self, mixing: Mixing, watch: Watch, start: int) -> None:
        self._mixing, self._watch, self._start = mixing, watch, start
        self._weights: list[Tensor] = []

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The mixture [rows, vocabulary] of scores [2 * rows, vocabulary]."""
        self._watch.look(ids)
        log_p, log_q = scores.float().log_softmax(-1).chunk(2)
        weight = self._weight(log_p, ids.shape[1] - self._start)
        self._weights.append(weight)
        return mix(log_p, log_q, weight)

    def _weight(self, log_p: Tensor, written: int) -> Tensor:
        answering = sorted(self._watch.at)
        if written < self._mixing.lead:
            return log_p.new_zeros(len(log_p))
        weight = own_weight(log_p, self._mixing.beta)
        weight[answering] = 1.0
        return weight

    def own_shares(self) -> list[list[float]]:
        """Per row, the plain stream's weight at every token."""
        return torch.stack(self._weights, dim=1).tolist()


class Draw(LogitsProcessor):
    """Chooses a row's token, the same in all its streams: the only one whose score is finite."""

    def __init__(
        self, uniforms: Tensor, sampling: Sampling, *, start: int, streams: int, merge: Merge
    ) -> None:
        self._uniforms, self._sampling = uniforms, sampling
        self._start, self._streams, self._merge = start, streams, merge

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Scores [streams * rows, vocabulary] in and out."""
        step = min(input_ids.shape[1] - self._start, self._uniforms.shape[1] - 1)
        log_p = self._merge(input_ids, scores)
        tokens = draw(log_p, self._uniforms[:, step], self._sampling).repeat(self._streams)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


class Limits(StoppingCriteria):
    """Ends rows that are as long as they may be, or repeat themselves."""

    def __init__(self, lengths: Sequence[int], *, start: int, streams: int) -> None:
        self.repeated: dict[int, int] = {}
        """Row -> its number of new tokens when it was stopped for repeating itself."""
        self._lengths, self._start, self._streams = lengths, start, streams

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Whether each row has ended, [streams * rows]."""
        written, rows = input_ids.shape[1] - self._start, len(self._lengths)
        if written % CHECKED_EVERY == 0:
            for row, tokens in enumerate(input_ids[:rows, self._start :].tolist()):
                if row not in self.repeated and repeats(tokens):
                    self.repeated[row] = written
        over = {row for row, length in enumerate(self._lengths) if written >= length}
        return _flags(over | self.repeated.keys(), rows, self._streams, input_ids.device)


class Written(StoppingCriteria):
    """Ends rows in which a watched text stands."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Whether each row has ended, [rows]."""
        self._watch.look(input_ids)
        return _flags(self._watch.at, len(input_ids), 1, input_ids.device)


def _flags(rows: Collection[int], number: int, streams: int, device: torch.device) -> Tensor:
    return torch.tensor([row in rows for row in range(number)], device=device).repeat(streams)


def plain_answers(
    loaded: LoadedModel,
    prompts: Sequence[list[int]],
    uniforms: Iterable[Tensor],
    sampling: Sampling,
) -> list[Answer]:
    """The model's unaided answers; what stands beside a row changes nothing in its own.

    Args:
        loaded: the model.
        prompts: token ids.
        uniforms: a row's random numbers in [0, 1), one for every token that its answer may have.
        sampling: how tokens are drawn.
    """
    numbers, found = list(uniforms), dict[int, Answer]()
    for rows in read_together(loaded.model, len(prompts)):
        part, drawn = [prompts[i] for i in rows], [numbers[i] for i in rows]
        found |= zip(rows, _answers(loaded, [part], drawn, sampling, _plain), strict=True)
    return [found[i] for i in range(len(prompts))]


def _plain(_: Tensor, scores: Tensor) -> Tensor:
    return scores.log_softmax(-1)


def hinted_answers(
    loaded: LoadedModel,
    hinted: Sequence[list[int]],
    plain: Sequence[list[int]],
    uniforms: Iterable[Tensor],
    sampling: Sampling,
    mixing: Mixing,
) -> list[Answer]:
    """Answers by hinted decoding: as `plain_answers`, with a prompt for each of the two streams."""
    start = _width([hinted, plain])
    watch = Watch(loaded.tokenizer, mixing.splitter, rows=len(plain), start=start)
    mixture = Mixture(mixing, watch, start)
    answers = _answers(loaded, [hinted, plain], uniforms, sampling, mixture)
    return [
        Answer(
            tokens=answer.tokens,
            ended=answer.ended,
            repeated=answer.repeated,
            own_share=sum(shares[: len(answer.tokens)]) / max(1, len(answer.tokens)),
        )
        for answer, shares in zip(answers, mixture.own_shares(), strict=True)
    ]


def _answers(
    loaded: LoadedModel,
    streams: Sequence[Sequence[list[int]]],
    uniforms: Iterable[Tensor],
    sampling: Sampling,
    merge: Merge,
) -> list[Answer]:
    start, each = _width(streams), list(uniforms)
    numbers = pad_sequence(each, batch_first=True).to(loaded.model.device, torch.float32)
    draw_all = Draw(numbers, sampling, start=start, streams=len(streams), merge=merge)
    lengths = list(map(len, each))
    limits = Limits(lengths, start=start, streams=len(streams))
    new = _generate(loaded, streams, lengths, [limits], [draw_all])
    stops = stops_of(loaded.model, loaded.tokenizer)
    return [
        _trimmed(tokens[:length], stops, limits.repeated.get(row))
        for row, (tokens, length) in enumerate(zip(new, lengths, strict=True))
    ]


def analyses(
    loaded: LoadedModel, prompts: Sequence[list[int]], marker: str, lengths: Sequence[int]
) -> list[list[int] | None]:
    """What the model greedily writes up to and with a marker; None where it ends or repeats itself without.

    The released code goes on to the end and cuts at the last marker; here the first one ends a row.

    Args:
        loaded: the model.
        prompts: token ids with the hint.
        marker: text after which the solution begins.
        lengths: at most, in tokens, a row's its own.
    """
    found: dict[int, list[int] | None] = {}
    for rows in read_together(loaded.model, len(prompts)):
        part, limits = [prompts[i] for i in rows], [lengths[i] for i in rows]
        found |= zip(rows, _analyses(loaded, part, marker, limits), strict=True)
    return [found[i] for i in range(len(prompts))]


def _analyses(
    loaded: LoadedModel, prompts: Sequence[list[int]], marker: str, lengths: Sequence[int]
) -> list[list[int] | None]:
    """As `analyses`, of prompts that are read together."""
    start = _width([prompts])
    watch = Watch(loaded.tokenizer, marker, rows=len(prompts), start=start)
    limits = Limits(lengths, start=start, streams=1)
    new = _generate(loaded, [prompts], lengths, [limits, Written(watch)])
    ends = [watch.at.get(row, length + 1) for row, length in enumerate(lengths)]
    return [
        tokens[:end] if end <= length else None
        for tokens, end, length in zip(new, ends, lengths, strict=True)
    ]


def _width(streams: Sequence[Sequence[list[int]]]) -> int:
    return max(len(prompt) for stream in streams for prompt in stream)


def _generate(
    loaded: LoadedModel,
    streams: Sequence[Sequence[list[int]]],
    lengths: Sequence[int],
    criteria: Sequence[StoppingCriteria],
    processors: Sequence[LogitsProcessor] = (),
) -> list[list[int]]:
    """New tokens of every row of the first stream, greedily after the processors; padded at their end."""
    device = loaded.model.device
    prompts = [prompt for stream in streams for prompt in stream]
    last = [len(prompt) + length - 1 for stream in streams
            for prompt, length in zip(stream, lengths, strict=True)]  # fmt: skip
    generate: Any = loaded.model.generate
    pad = loaded.tokenizer.pad_token_id
    cache = read_apart(loaded.model, streams, pad) if len(streams) > 1 else None
    within = no_position_beyond(loaded.model, last)
    with torch.no_grad(), as_it_is(loaded.model), within:
        output = generate(
            **padded(prompts, pad, device),
            **({} if cache is None else {"past_key_values": cache}),
            max_new_tokens=max(lengths),
            eos_token_id=sorted(stops_of(loaded.model, loaded.tokenizer)) or None,
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList(criteria),
            do_sample=False,
        )
    rows: list[list[int]] = output[: len(lengths), _width(streams) :].tolist()
    return rows


def _trimmed(tokens: list[int], stops: set[int], repeated: int | None) -> Answer:
    """An answer, at most as long as it may be, without its padding, which may be a token that ends rows."""
    end = next((i for i, token in enumerate(tokens[:repeated]) if token in stops), None)
    if end is not None:
        return Answer(tokens=tokens[: end + 1], ended=True)
    stopped = repeated is not None and repeated <= len(tokens)
    return Answer(tokens=tokens[:repeated], ended=False, repeated=stopped)
