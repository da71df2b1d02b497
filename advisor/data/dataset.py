"""Any fine-tuning dataset to one SFTDataset: an indexable view whose rows are tokenised once.

Takes a file, folder, hub id or object in memory and a tokenizer; gives examples with the target
tokens labelled, and says what it understood (`DatasetInfo`) and lost (`Counts`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, cast, overload

from transformers import PreTrainedTokenizerBase

from advisor.chat.bounded_sandbox import TooMuchWork
from advisor.chat.remarks import sentences
from advisor.chat.rendering import Renderer
from advisor.chat.template import Conversation, Marked, Passage
from advisor.chat.template_source import template_hash
from advisor.data import dropped
from advisor.data.dropped import Loss
from advisor.data.formats import Content, Format, as_turns, detect
from advisor.data.frames import refuse_missing
from advisor.data.joined import Joined
from advisor.data.labels import Encoded, Encoder, end_of_text, longest, weighted
from advisor.data.layouts import first_content, layout_note, unread_note
from advisor.data.passages import mark_passage
from advisor.data.row_marks import LeftOut
from advisor.data.sources import Source, load_rows
from advisor.data.token_weights import require_offsets
from advisor.data.tokenised import Tokens, check_vocabulary
from advisor.errors import InputError
from advisor.options import DataOptions

BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Example:
    """One tokenised row."""

    input_ids: list[int]
    """The sequence, at most `max_length` tokens."""
    labels: list[int]
    """Same length: the token's id where it is a target, else -100; not shifted."""
    terminators: tuple[int, ...]
    """Positions in `input_ids` of target tokens that end a turn or the sequence."""
    truncated: bool
    """Whether tokens were cut off at the end."""
    weights: Sequence[float] | None = None
    """Of every token, above 0 where it is a target; None: the data weigh all of its targets 1."""
    weightless: tuple[int, ...] = ()
    """Positions in `input_ids` of tokens of an answer that are no targets because a span weighs them 0."""

    @property
    def weighted(self) -> bool:
        """Whether the data weigh a token of its answers other than 1."""
        return self.weights is not None or bool(self.weightless)

    @property
    def answers(self) -> list[int]:
        """The labels with what a span weighs 0: where a prompt ends and what answers it, trained or not."""
        silent = set(self.weightless)
        pairs = zip(self.input_ids, self.labels, strict=True)
        return [token if t in silent else label for t, (token, label) in enumerate(pairs)]

    @property
    def target_weights(self) -> list[float]:
        """Of the targets that are scored, in order."""
        weights = self.weights or [1.0] * len(self.labels)
        pairs = zip(weights[1:], self.labels[1:], strict=True)
        return [weight for weight, label in pairs if label != -100]

    @property
    def target_tokens(self) -> int:
        """Number of targets that are scored: nothing precedes position 0."""
        return sum(label != -100 for label in self.labels[1:])


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What was understood of a dataset."""

    name: str
    """File or folder name, hub id, or `in memory`."""
    split: str | None
    """None where the source has no splits."""
    format: str
    """Detected from the columns, e.g. `alpaca`."""
    columns: tuple[str, ...]
    """All columns of the source."""
    rows: int
    """Number of source rows."""
    fingerprint: str
    """Hash of the whole content of the source, rows that are never read included; the prefix says of what."""
    template: str
    """`tokenizer`, `file`, `string` (where a chat template comes from), `plain` or `none`."""
    template_text: str
    """The template, or a readable form of the plain one."""
    template_hash: str
    """First 12 hex digits of the sha256 of `template_text`."""
    max_length: int
    """Longest sequence in tokens; what is beyond is cut off."""
    eos_token: str | None
    """Token that ends a text that no chat template ends."""
    notes: tuple[str, ...]
    """What was assumed, one sentence each."""
    weight_field: str | None = None
    """Column with the weight of a row."""


@dataclass(kw_only=True)
class Counts:
    """Running counts over the distinct rows tokenised so far."""

    examples: int = 0
    """Rows tokenised."""
    truncated: int = 0
    """Rows cut at `max_length`."""
    shortened: int = 0
    """Rows of these that keep some of their targets and lose others."""
    dropped: int = 0
    """Rows without a target left."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Why rows were dropped, and how many for each reason."""
    untrained_turns: int = 0
    """Turns of the assistant that their row marks as no target."""
    empty: int = 0
    """Dropped rows that had no target before truncation."""
    merged: int = 0
    """Rows in which one token reaches across the boundary of a target."""
    target_tokens: int = 0
    """Targets that are scored."""
    weighted: int = 0
    """Rows in which a span weighs a token 0, or any weight of a target is not 1."""
    weightless: int = 0
    """Tokens that are no targets because a span weighs them 0; those of rows and turns of weight 0 are not
    among them."""
    lightest: float | None = None
    """Smallest weight of a target; None before there is one."""
    heaviest: float | None = None
    """Largest weight of a target."""
    remarks: dict[str, int] = field(default_factory=dict)
    """Rows for which something was assumed or lost by design, by its code (`advisor.chat.remarks`)."""


class SFTDataset(Sequence[Example]):
    """Rows of a dataset as examples, tokenised on first access and kept."""

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        info: DatasetInfo,
        reader: "Reader",
        options: DataOptions,
    ) -> None:
        self.info = info
        self.options = options
        """As which the rows were read."""
        self.counts = Counts()
        self.tokenizer = reader.tokenizer
        self._reader = reader
        self._rows = rows
        self._examples: dict[int, Example] = {}

    def __len__(self) -> int:
        return self.info.rows

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            chosen = range(*index.indices(len(self)))
            self.tokenize(chosen)
            return [self._examples[i] for i in chosen]
        i = range(len(self))[index]
        self.tokenize([i])
        return self._examples[i]

    def __iter__(self) -> Iterator[Example]:
        for start in range(0, len(self), BATCH):
            yield from self[start : start + BATCH]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, of the dataset and of the rows tokenised so far."""
        return (*self.info.notes, *self.row_notes)

    @property
    def row_notes(self) -> tuple[str, ...]:
        """What was assumed of single rows among those tokenised so far, with their number."""
        notes = sentences(self.counts.remarks, self.counts.examples)
        if self.weights is None:
            return tuple(notes)
        return (
            *notes,
            f"The data weigh their targets, {self.weights}: `advisor train` and `confirm` multiply the loss "
            "by that; other trainers do not read it, and the prior does not count it.",
        )

    @property
    def weights(self) -> str | None:
        """Which weights the data give the targets tokenised so far; None where all have 1."""
        counts = self.counts
        if not counts.weighted:
            return None
        low, high = 0 if counts.weightless else counts.lightest, counts.heaviest or 0
        return f"{low:g} to {high:g} in {counts.weighted:,} of {counts.examples:,} rows"

    def raw(self, index: int) -> dict[str, Any]:
        """The source row."""
        return dict(self._rows[index])

    def expect(self, indices: Iterable[int]) -> None:
        """These rows will be asked for, a few thousand at most, in this order or another."""
        if isinstance(self._rows, Joined):
            self._rows.expect(indices)

    def read(
        self, rows: Sequence[Mapping[str, Any]], *, max_length: int | None = None
    ) -> "SFTDataset":
        """Other source rows, or some of these, as a dataset that is read as this one is.

        Args:
            rows: Each with its columns.
            max_length: In tokens, where they may be longer or have to be shorter than these.
        """
        found = load_rows([dict(row) for row in rows], None, None)
        info = replace(
            self.info,
            name=found.name,
            split=None,
            rows=len(found.rows),
            fingerprint=found.fingerprint,
            max_length=max_length or self.info.max_length,
        )
        return SFTDataset(found.rows, info, self._reader, self.options)

    def answered(self, examples: Sequence[Example]) -> "SFTDataset":
        """Examples with other targets, tokenised already, as a dataset with this one's template and ends.

        Args:
            examples: At most `max_length` tokens each.
        """
        rows = [{"input_ids": e.input_ids, "labels": e.labels} for e in examples]
        found = load_rows(rows, None, None)
        info = replace(
            self.info,
            name=found.name,
            split=None,
            format=detect(found.columns, found.rows[0]).name,
            columns=found.columns,
            rows=len(found.rows),
            fingerprint=found.fingerprint,
            notes=(),
            weight_field=None,
        )
        dataset = SFTDataset(found.rows, info, self._reader, self.options)
        for number, e in enumerate(examples):
            encoded = Encoded(
                input_ids=e.input_ids, labels=e.labels, terminators=e.terminators, merged=False
            )
            dataset._examples[number] = dataset._add(encoded, Loss())
        return dataset

    def tokenize(self, indices: Iterable[int]) -> None:
        """Tokenise these rows together, as far as they are not yet; InputError names the row."""
        missing = [i for i in dict.fromkeys(indices) if i not in self._examples]
        try:
            rows = [(i, self._rows[i]) for i in missing]
            found = self._reader.encode(rows, self.info.max_length) if missing else []
        except (InputError, TooMuchWork) as error:
            raise InputError(f"{self.info.name}, {error}") from error
        for i, (encoded, loss) in zip(missing, found, strict=True):
            self._examples[i] = self._add(encoded, loss)

    def _add(self, encoded: Encoded, loss: Loss) -> Example:
        limit = self.info.max_length
        example = Example(
            input_ids=encoded.input_ids[:limit],
            labels=encoded.labels[:limit],
            terminators=tuple(t for t in encoded.terminators if t < limit),
            truncated=len(encoded.input_ids) > limit,
            weights=encoded.weights and encoded.weights[:limit],
            weightless=tuple(t for t in encoded.weightless if t < limit),
        )
        example = self._weighed(example)
        counts = self.counts
        counts.examples += 1
        counts.truncated += example.truncated
        lost = any(label != -100 for label in encoded.labels[limit:])
        counts.shortened += bool(example.target_tokens) and lost
        counts.merged += encoded.merged
        counts.target_tokens += example.target_tokens
        counts.untrained_turns += loss.untrained_turns
        counts.dropped += not example.target_tokens
        empty = all(label == -100 for label in encoded.labels[1:])
        counts.empty += empty
        if not example.target_tokens:
            why = loss.why or _why(encoded, limit, empty=empty)
            counts.reasons[why] = counts.reasons.get(why, 0) + 1
        for code in encoded.remarks:
            counts.remarks[code] = counts.remarks.get(code, 0) + 1
        return example

    def _weighed(self, example: Example) -> Example:
        """The example with its weights counted, and none where every target that is left weighs 1."""
        counts, found = self.counts, set(example.target_weights)
        if found <= {1}:
            example = replace(example, weights=None)
        for weight in found:
            counts.lightest = min(weight, counts.lightest or weight)
            counts.heaviest = max(weight, counts.heaviest or weight)
        counts.weighted += example.weighted
        counts.weightless += len(example.weightless)
        return example

    def require_targets(self) -> None:
        """Raise InputError if rows were tokenised and none has a target token."""
        counts = self.counts
        if not counts.examples or counts.dropped < counts.examples:
            return
        raise InputError(
            f"{self.info.name}: none of the {counts.examples} rows read has a target token "
            f"({dropped.listed(counts.reasons)}); see what was understood with advisor validate"
        )

    def refuse_weights(self, what: str) -> None:
        """Raise InputError if the rows tokenised so far weigh their targets; `what` does not read weights."""
        if self.weights:
            raise InputError(
                f"{self.info.name}: {what} does not read the weights of the data, and "
                f"{self.counts.weighted:,} of {self.counts.examples:,} rows have some: take them out "
                "(--weight_field none does so with those of rows), or train with `advisor train`"
            )

    def losses(self) -> tuple[str, ...]:
        """What of the rows read is not trained, and why: a sentence each, none where all of it is."""
        name, counts = self.info.name, self.counts
        cut = dropped.shortened(name, counts.examples, counts.shortened, self.info.max_length)
        return (*self.dropped(), *cut)

    def dropped(self) -> tuple[str, ...]:
        """Of these losses, those of whole rows and whole turns."""
        counts = self.counts
        return dropped.sentences(
            self.info.name, counts.examples, counts.reasons, counts.untrained_turns
        )


def _why(encoded: Encoded, limit: int, *, empty: bool) -> str:
    """Why a row has no target left."""
    if encoded.weightless and empty:
        return dropped.WEIGHTLESS
    return dropped.EMPTY if empty else dropped.CUT.format(limit)


class Reader:
    """Source rows to token ids and labels, by one format, template and tokenizer."""

    def __init__(
        self,
        format: Format,
        tokenizer: PreTrainedTokenizerBase,
        template: Renderer | None,
        eos_token: str | None,
        *,
        drop_bad_rows: bool = False,
    ) -> None:
        self.format = format
        self.drop_bad_rows = drop_bad_rows
        self.refusals = dropped.Refusals()
        self.tokenizer = tokenizer
        self.template = template
        self.eos_token = eos_token
        own = template.templates if template and template.kind != "plain" else []
        self.encoder = Encoder(tokenizer, templates=own, eos_token=eos_token)

    def encode(
        self, rows: Sequence[tuple[int, Mapping[str, Any]]], limit: int
    ) -> list[tuple[Encoded, Loss]]:
        """Encode numbered rows; InputError names the first that cannot be, unless such are dropped.

        Args:
            rows: each with its number.
            limit: tokens that are kept of a row.
        """
        read = [self._read(i, row) for i, row in rows]
        texts = iter(self.encoder.encode([c for c, _ in read if isinstance(c, Marked)], limit))
        return [(next(texts) if isinstance(c, Marked) else c, loss) for c, loss in read]

    def _read(self, i: int, row: Mapping[str, Any]) -> tuple[Marked | Encoded, Loss]:
        try:
            return self._understand(self.format.read(row))
        except UnicodeEncodeError:
            reason = "its text holds half a character (\\ud800 to \\udfff alone); mend it"
        except InputError as error:
            reason = str(error)
        if not self.drop_bad_rows:
            raise InputError(f"row {i} (counted from 0): {reason}")
        return dropped.NOTHING, Loss(why=self.refusals.kind(i, reason))

    def _understand(self, content: Content) -> tuple[Marked | Encoded, Loss]:
        if isinstance(content, LeftOut):
            return dropped.NOTHING, Loss(why=content.why)
        if isinstance(content, Tokens):
            check_vocabulary(content, self.vocabulary)
            return self._ready(content), Loss()
        marked = self._mark(content)
        marked.text.encode()
        if content.weight != 1:
            whole = (0, len(marked.text), content.weight)
            marked = replace(marked, weights=(*marked.weights, whole))
        require_offsets(marked, fast=self.tokenizer.is_fast)
        if not isinstance(content, Conversation) or not content.skip:
            return marked, Loss()
        why = None if content.targets() else dropped.MARKED
        return marked, Loss(untrained_turns=len(content.skip), why=why)

    @cached_property
    def vocabulary(self) -> int:
        """One more than the largest id that the tokenizer knows."""
        return max(self.tokenizer.get_vocab().values()) + 1

    def _mark(self, content: Conversation | Passage) -> Marked:
        if isinstance(content, Passage) and self.template is not None:
            content = as_turns(content)
        if isinstance(content, Conversation):
            if self.template is None:
                raise InputError("holds messages where the first row holds text: keep to one kind")
            return self.template.mark(content)
        return mark_passage(content, self.tokenizer, self.eos_token)

    def _ready(self, content: Tokens) -> Encoded:
        labels = content.labels
        encoded = Encoded(
            input_ids=content.input_ids,
            labels=labels,
            terminators=self.encoder.ends(labels),
            merged=False,
        )
        return encoded if content.weight == 1 else weighted(encoded, [content.weight] * len(labels))


class HasTokenizer(Protocol):
    """A loaded model (`advisor.model.loaded.LoadedModel`), as far as a dataset needs it."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its own."""

    @property
    def context_length(self) -> int | None:
        """Longest sequence in tokens."""


def load_dataset(
    source: Source,
    tokenizer: PreTrainedTokenizerBase | HasTokenizer,
    *,
    split: str | None = None,
    config: str | None = None,
    prompt_field: str | None = None,
    completion_field: str | None = None,
    weight_field: str | None = None,
    delimiter: str | None = None,
    chat_template: str | None = None,
    max_length: int | None = None,
    eos_token: str | None = None,
    context_length: int | None = None,
    drop_bad_rows: bool = False,
) -> SFTDataset:
    """Open a dataset for a model's tokenizer; rows are read when asked for.

        dataset = load_dataset("train.jsonl", loaded)
        dataset = load_dataset(frame, loaded, prompt_field="question", completion_field="answer")

    Args:
        source: A file, folder or hub id, or rows in memory: a datasets.Dataset or DatasetDict, a list of
            dictionaries, a pandas DataFrame (its index is not read, its NaN are absent cells).
        tokenizer: What `load_model` gave, whose context is then the longest sequence; or a tokenizer by
            itself. It is not changed.
        split: Needed where the source has several.
        config: Configuration of a hub dataset.
        prompt_field: Column of the prompt, where its name is not a known one.
        completion_field: Column of the completion; alone, the whole text is the target.
        weight_field: Column with the weight of a row (0: not trained on), where its name is not `weight`;
            `none` reads none. Weights of turns and stretches stand in the rows, see docs/training.md.
        delimiter: Between the cells of a csv or tsv file; by default what its first line shows.
        chat_template: A jinja file, a jinja text, or `none`; default is the tokenizer's own.
        max_length: In tokens; default is the context, at most 2048.
        eos_token: Text of the token that ends a text, or `none` for no end.
        context_length: In tokens, the longest sequence that the model takes; default is the loaded model's.
        drop_bad_rows: Whether rows that cannot be read are dropped and counted; else they are refused.

    Returns:
        A sequence of examples: `input_ids` and `labels`, equally long lists, -100 outside the targets, not
        shifted; with what was understood (`info`) and counted (`counts`).

    Raises:
        InputError: The source cannot be read, or no format fits its columns.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        tokenizer, context_length = _of_model(tokenizer, context_length)
    options = DataOptions(
        config=config,
        split=split,
        prompt_field=prompt_field,
        completion_field=completion_field,
        weight_field=weight_field,
        delimiter=delimiter,
        drop_bad_rows=drop_bad_rows,
        chat_template=chat_template,
        eos_token=eos_token,
        max_length=max_length,
    )
    return _opened(source, tokenizer, options, longest(max_length, context_length, tokenizer))


def _opened(
    source: Source, tokenizer: PreTrainedTokenizerBase, options: DataOptions, length: int
) -> SFTDataset:
    """The dataset, read as options say, its sequences at most `length` tokens long."""
    end = end_of_text(tokenizer, options.eos_token)
    found = load_rows(source, options.split, options.config, options.delimiter)
    format = detect(found.columns, found.rows[0], *options.fields, single=len(found.rows) == 1)
    refuse_missing(source, format.weight)
    first = first_content(format, found, drop_bad_rows=options.drop_bad_rows)
    template = _template(first, format, tokenizer, options.chat_template, end)
    if end is None and options.eos_token != "none" and _needs_eos(first, template):
        raise InputError(
            "the tokenizer has no end-of-sequence token; --eos_token TEXT gives one of its "
            "vocabulary, --eos_token none scores rows without an end"
        )
    text = template.text if template else _format_text(first, format)
    info = DatasetInfo(
        name=found.name,
        split=found.split,
        format=format.name,
        columns=found.columns,
        rows=len(found.rows),
        fingerprint=found.fingerprint,
        template=template.kind if template else "none",
        template_text=text,
        template_hash=template_hash(text),
        max_length=length,
        eos_token=end,
        weight_field=format.weight,
        notes=(
            *found.notes,
            *_notes(first, format, found.columns, template),
            *layout_note(found, format),
            *unread_note(found),
        ),
    )
    reader = Reader(format, tokenizer, template, end, drop_bad_rows=options.drop_bad_rows)
    return SFTDataset(found.rows, info, reader, options)


def _of_model(
    loaded: Any, context_length: int | None
) -> tuple[PreTrainedTokenizerBase, int | None]:
    """Tokenizer and context of a loaded model; a processor has a tokenizer, too."""
    tokenizer = getattr(loaded, "tokenizer", None)
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InputError(
            f"the tokenizer is of type {type(loaded).__name__}: give what load_model gave, or the loaded "
            "tokenizer of transformers"
        )
    known = cast(int | None, getattr(loaded, "context_length", None))
    return tokenizer, known if context_length is None else context_length


def _template(
    first: Content,
    format: Format,
    tokenizer: PreTrainedTokenizerBase,
    chat_template: str | None,
    eos_token: str | None,
) -> Renderer | None:
    """The template that renders the rows, None where they are not rendered."""
    if isinstance(first, Tokens):
        return None
    try:
        template = Renderer(tokenizer, chat_template, eos_token)
    except TooMuchWork as error:
        raise InputError(str(error)) from error
    if isinstance(first, Passage):
        return None if format.whole or template.kind == "plain" else template
    return template


def _needs_eos(first: Content, template: Renderer | None) -> bool:
    if template is None:
        return isinstance(first, Passage)
    return template.kind == "plain"


def _format_text(first: Content, format: Format) -> str:
    """Readable form of what is tokenised where there is no template."""
    if isinstance(first, Tokens):
        return ""
    return "{text}{eos}" if format.whole else "{prompt}{completion}{eos}"


def _notes(
    first: Content, format: Format, columns: Sequence[str], template: Renderer | None
) -> Iterator[str]:
    """What was assumed, one sentence each."""
    unused = [c for c in columns if c not in format.uses]
    if unused:
        yield f"Columns not used: {', '.join(unused)}."
    if isinstance(first, Passage) and template is not None:
        yield (
            "The chat template is applied to the string columns; TRL's SFTTrainer would join them "
            "raw (use message lists there, or --chat_template none here)."
        )
    if format.name in ("messages", "conversations", "conversation"):
        yield (
            "Targets are the assistant's turns; TRL's SFTTrainer trains on every token of these "
            "rows unless assistant_only_loss is set."
        )
    if template is None:
        return
    yield from template.notes
