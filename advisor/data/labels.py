"""Marked texts to token ids and labels: where targets start, and the token that ends each turn."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from transformers import PreTrainedTokenizerBase

from advisor.chat.template import ChatTemplate, Marked, common_prefix_length
from advisor.data.token_weights import token_weights
from advisor.errors import InputError

Offsets = list[tuple[int, int]]
DEFAULT_MAX_LENGTH = 2048
SANE_LENGTH = 1_000_000
PER_TOKEN = 32
"""Characters for each token that is kept: far more than language has, about 4."""
MARGIN = 1024
"""Tokens between the last that is kept and where a very long text is cut."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Token ids and which of them are targets."""

    input_ids: list[int]
    """The whole row, not truncated; of a text of megabytes its beginning, which is longer than is kept."""
    labels: list[int]
    """The id where the token is a target, else -100."""
    terminators: tuple[int, ...]
    """Positions of target tokens that end a turn."""
    merged: bool
    """Whether a token reaches across the start or the end of a target."""
    remarks: tuple[str, ...] = ()
    """Codes of what was assumed for the row or lost by design (`advisor.chat.remarks`)."""
    weights: Sequence[float] | None = None
    """Of every token, above 0 where it is a target; None: 1 everywhere."""
    weightless: tuple[int, ...] = ()
    """Positions of tokens that would be targets, but weigh 0."""


class Encoder:
    """Marked texts to token ids and labels, many at a time."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        templates: Sequence[ChatTemplate] = (),
        eos_token: str | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.leading = [] if templates else _leading(tokenizer)
        self.eos_ids = frozenset(self._ids([eos_token])[0] if eos_token else ())
        # Some tokenizers have runs of space as added tokens, which mark nothing.
        added = {i: t for i, t in tokenizer.added_tokens_decoder.items() if t.content.strip()}
        special = {i for i, t in added.items() if t.special}
        bos = tokenizer.bos_token_id
        headers = {bos}
        closing: set[int] = set()
        for template in templates:
            closing.update(i for i in self._ids([template.ending])[0][:1] if i in added)
            for text in (template.header, template.opener):
                opening = [i for i in self._ids([text])[0] if i in added.keys() - {bos}]
                headers.update(opening[:1])
        self.deciding = frozenset(closing | self.eos_ids)
        self.special = frozenset(special | self.deciding)
        self.enders = frozenset(((special | closing) - headers) | self.eos_ids)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return self._tokenise(texts)[0]

    def _tokenise(self, texts: list[str]) -> tuple[list[list[int]], list[Offsets]]:
        """Token ids of each text and, from a fast tokenizer, the characters of each token."""
        fast = bool(self.tokenizer.is_fast)
        out = self.tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=fast,
            verbose=False,
        )
        offsets = out["offset_mapping"] if fast else [[] for _ in texts]
        return [list(ids) for ids in out["input_ids"]], offsets

    def encode(self, rows: Sequence[Marked], limit: int) -> list[Encoded]:
        """Tokenise each row, then find its targets among the tokens.

        Args:
            rows: texts and their targets.
            limit: tokens that are kept of a row; of a text far longer than that only the beginning is read.
        """
        if not rows:
            return []
        rows = [self._beginning(row, limit) for row in rows]
        ids, offsets = self._tokenise([row.text for row in rows])
        cuts = [self._cuts(row) for row in rows]
        texts = [row.text[:cut] for row, own in zip(rows, cuts, strict=True) for cut in own]
        beginnings = iter(self._ids(texts) if texts else [])
        return [
            self._encode(row, ids[i], offsets[i], {cut: next(beginnings) for cut in cuts[i]})
            for i, row in enumerate(rows)
        ]

    def _beginning(self, row: Marked, limit: int) -> Marked:
        """The row, or as much of a very long one as gives the same first `limit` tokens.

        A tokenizer may join any number of characters in one token, so the tokens are counted: the text is cut
        only where MARGIN tokens more than the limit come before the cut, which itself moves but a few.
        """
        length = PER_TOKEN * (limit + MARGIN)
        while length < len(row.text):
            if len(self._ids([row.text[:length]])[0]) > limit + MARGIN:
                return _shortened(row, length)
            length *= 4
        return row

    def _cuts(self, row: Marked) -> list[int]:
        """Characters up to which the text is tokenised by itself, to be compared with the whole."""
        if self.tokenizer.is_fast and not row.verify:
            return []
        spans = (*row.spans, *row.ends)
        return sorted({cut for span in spans for cut in span} - {0, len(row.text)})

    def _encode(
        self, row: Marked, ids: list[int], offsets: Offsets, beginnings: dict[int, list[int]]
    ) -> Encoded:
        leading = self._own_leading(ids)
        shift = len(leading)
        labels = [-100] * (len(ids) + shift)
        terminators: list[int] = []
        merged = False
        for start, stop in _joined(row.spans):
            first, split = _position(start, ids, offsets, beginnings)
            last, straddled = _position(stop, ids, offsets, beginnings)
            merged = merged or split or straddled
            last, ended = self._close(ids, first, last + straddled)
            ends = [end for end in row.ends if start <= end[0] <= stop]
            found = [t for end in ends for t in _inside(end, ids, offsets, beginnings)]
            if ended:
                found = [self._deciding(ids, first, last)]
            elif found and not row.text[ends[-1][1] : stop].strip():
                last = found[-1] + 1
            labels[shift + first : shift + last] = ids[first:last]
            terminators += [shift + t for t in found]
        encoded = Encoded(
            input_ids=leading + ids,
            labels=labels,
            terminators=tuple(terminators),
            merged=merged,
            remarks=row.remarks,
        )
        if not row.weights:
            return encoded
        # A slow tokenizer tells no offsets; then one weight holds for the whole row (`require_offsets`).
        weights = token_weights(row, offsets or [(0, len(row.text))] * len(ids))
        return weighted(encoded, [1.0] * shift + weights)

    def ends(self, labels: Sequence[int]) -> tuple[int, ...]:
        """Where runs of targets are over that end in a special token, with nothing but space behind it."""
        return tuple(t for run in target_runs(labels) for t in self._end_of(labels, *run))

    def _end_of(self, labels: Sequence[int], first: int, last: int) -> list[int]:
        while (
            last > first
            and labels[last - 1] not in self.special
            and self._is_space(labels[last - 1])
        ):
            last -= 1
        ended = last > first and labels[last - 1] in self.special
        return [self._deciding(labels, first, last)] if ended else []

    def _own_leading(self, ids: list[int]) -> list[int]:
        """The beginning of sequence, unless the text begins with it."""
        return [] if ids[: len(self.leading)] == self.leading else self.leading

    def _deciding(self, ids: Sequence[int], first: int, last: int) -> int:
        """Where the turn is over: at the first of its end tokens that ends a turn by itself."""
        start = last
        while start > first and (ids[start - 1] in self.special or self._is_space(ids[start - 1])):
            start -= 1
        return next((t for t in range(start, last) if ids[t] in self.deciding), last - 1)

    def _close(self, ids: list[int], first: int, last: int) -> tuple[int, bool]:
        """End of the turn: at its terminator, which a template may put just after the span."""
        tail = last
        while tail > first and (ids[tail - 1] in self.special or self._is_space(ids[tail - 1])):
            tail -= 1
        ends = [t for t in range(tail, last) if ids[t] in self.deciding]
        if not ends and ids[last : last + 1] and ids[last] in self.deciding & self.enders:
            return last + 1, True
        # The text may itself end with special tokens: what ends a turn comes before any of them.
        ends = ends or [t for t in range(tail, last) if ids[t] in self.special]
        if not ends and last < len(ids) and ids[last] in self.enders:
            return last + 1, True
        if not ends:
            return last, False
        end = ends[0] + 1
        while end < last and ids[end] in self.special and ids[end] != ids[end - 1]:
            end += 1
        return end, True

    def _is_space(self, token: int) -> bool:
        return not str(self.tokenizer.decode([token])).strip()


def weighted(encoded: Encoded, weights: Sequence[float]) -> Encoded:
    """The row with a weight for every token; tokens of weight 0 are no targets."""
    labels = [
        label if weight else -100 for label, weight in zip(encoded.labels, weights, strict=True)
    ]
    return replace(
        encoded,
        labels=labels,
        terminators=tuple(t for t in encoded.terminators if weights[t]),
        weights=weights,
        weightless=tuple(t for t, label in enumerate(encoded.labels) if label != labels[t]),
    )


def _shortened(row: Marked, length: int) -> Marked:
    """The first characters of a row; their last stands for its targets where all of them begin later."""
    spans = tuple((a, min(b, length)) for a, b in row.spans if a < length)
    if row.spans and not spans:
        spans = ((length - 1, length),)
    ends = tuple((a, b) for a, b in row.ends if b <= length)
    return replace(row, text=row.text[:length], spans=spans, ends=ends)


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans with those that touch made one."""
    joined: list[tuple[int, int]] = []
    for start, stop in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


def _position(
    cut: int, ids: list[int], offsets: Offsets, beginnings: dict[int, list[int]]
) -> tuple[int, bool]:
    """Number of tokens before a character, and whether a token reaches across it."""
    if cut in beginnings:
        shared = common_prefix_length(beginnings[cut], ids)
        return shared, shared < len(beginnings[cut])
    if cut == 0:
        return 0, False
    if not offsets or cut >= offsets[-1][1]:
        return len(ids), False
    first = bisect_left(offsets, cut + 1, key=lambda span: span[1])
    return first, offsets[first][0] < cut


def _inside(
    span: tuple[int, int], ids: list[int], offsets: Offsets, beginnings: dict[int, list[int]]
) -> range:
    """Tokens that begin within a range of characters: the last may take whitespace with it."""
    first, split = _position(span[0], ids, offsets, beginnings)
    last, straddled = _position(span[1], ids, offsets, beginnings)
    return range(first + split, last + straddled)


def _leading(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The beginning-of-sequence token, if the tokenizer puts one before a text."""
    ids = list(tokenizer("a")["input_ids"])
    return ids[:1] if ids and ids[0] == tokenizer.bos_token_id else []


def longest(wanted: int | None, context: int | None, tokenizer: PreTrainedTokenizerBase) -> int:
    """Maximum length in tokens: as asked for, else the context but at most 2048."""
    if wanted is None:
        own = tokenizer.model_max_length
        known = context or (own if own < SANE_LENGTH else DEFAULT_MAX_LENGTH)
        if known < 2:
            raise InputError(f"the model's context of {known} leaves no token to predict")
        return min(known, DEFAULT_MAX_LENGTH)
    if wanted < 2:
        raise InputError(f"--max_length {wanted} leaves no token to predict; give 2 or more")
    if context is not None and wanted > context:
        raise InputError(f"--max_length {wanted} is longer than the model's context of {context}")
    return wanted


def end_of_text(tokenizer: PreTrainedTokenizerBase, wanted: str | None) -> str | None:
    """Text of the end-of-sequence token, None where there is none or none is wanted."""
    if wanted is None:
        return str(tokenizer.eos_token) if tokenizer.eos_token else None
    if wanted == "none":
        return None
    ids = tokenizer(wanted, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise InputError(
            f"--eos_token {wanted!r} is not one token of the vocabulary ({len(ids)} tokens); give "
            "one that is, or none"
        )
    return wanted


def target_runs(labels: Sequence[int]) -> list[tuple[int, int]]:
    """Where every run of targets begins and stops."""
    edges = [
        t for t, (a, b) in enumerate(pairwise([-100, *labels, -100])) if (a == -100) != (b == -100)
    ]
    return list(zip(edges[::2], edges[1::2], strict=True))


def last_target(labels: Sequence[int]) -> tuple[int, int]:
    """Where the last run of targets begins and stops; the first token is never one."""
    stop = max((i for i, label in enumerate(labels) if label != -100 and i), default=0) + 1
    start = next((i + 1 for i in range(stop - 1, 0, -1) if labels[i] == -100), 1)
    return start, stop
