"""Any fine-tuning dataset to one SFTDataset: an indexable view whose rows are tokenised once.

Takes a file, folder, hub id or object in memory and a tokenizer; gives examples with the target
tokens labelled, and says what it understood (`DatasetInfo`) and lost (`Counts`).
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from transformers import PreTrainedTokenizerBase

from advisor.encoding import Encoded, Encoder, end_of_text, longest
from advisor.errors import InputError
from advisor.formats import Content, Format, Tokens, detect
from advisor.passages import mark_passage
from advisor.remarks import sentences
from advisor.rendering import Renderer
from advisor.sources import Rows, Source, load_rows
from advisor.template import Conversation, Marked, Passage, common_prefix_length

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
    """Hash of the source's content; the prefix says of what."""
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


@dataclass(kw_only=True)
class Counts:
    """Running counts over the distinct rows tokenised so far."""

    examples: int = 0
    """Rows tokenised."""
    truncated: int = 0
    """Rows cut at `max_length`."""
    dropped: int = 0
    """Rows without a target left."""
    empty: int = 0
    """Dropped rows that had no target before truncation."""
    merged: int = 0
    """Rows in which one token reaches across the boundary of a target."""
    target_tokens: int = 0
    """Targets that are scored."""
    remarks: dict[str, int] = field(default_factory=dict)
    """Rows for which something was assumed or lost by design, by its code (`advisor.remarks`)."""


class SFTDataset(Sequence[Example]):
    """Rows of a dataset as examples, tokenised on first access and kept."""

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        info: DatasetInfo,
        reader: "Reader",
    ) -> None:
        self.info = info
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
        found = sentences(self.counts.remarks, self.counts.examples)
        return (*self.info.notes, *found)

    def raw(self, index: int) -> dict[str, Any]:
        """The source row."""
        return dict(self._rows[index])

    def tokenize(self, indices: Iterable[int]) -> None:
        """Tokenise these rows together, as far as they are not yet; InputError names the row."""
        missing = [i for i in dict.fromkeys(indices) if i not in self._examples]
        try:
            found = self._reader.encode([(i, self._rows[i]) for i in missing]) if missing else []
        except InputError as error:
            raise InputError(f"{self.info.name}, {error}") from error
        for i, encoded in zip(missing, found, strict=True):
            self._examples[i] = self._add(encoded)

    def _add(self, encoded: Encoded) -> Example:
        limit = self.info.max_length
        example = Example(
            input_ids=encoded.input_ids[:limit],
            labels=encoded.labels[:limit],
            terminators=tuple(t for t in encoded.terminators if t < limit),
            truncated=len(encoded.input_ids) > limit,
        )
        counts = self.counts
        counts.examples += 1
        counts.truncated += example.truncated
        counts.merged += encoded.merged
        counts.target_tokens += example.target_tokens
        counts.dropped += not example.target_tokens
        counts.empty += all(label == -100 for label in encoded.labels[1:])
        for code in encoded.remarks:
            counts.remarks[code] = counts.remarks.get(code, 0) + 1
        return example

    def require_targets(self) -> None:
        """Raise InputError if rows were tokenised and none has a target token."""
        counts = self.counts
        if not counts.examples or counts.dropped < counts.examples:
            return
        cut = counts.dropped - counts.empty
        reasons = []
        if counts.empty:
            reasons.append(f"{counts.empty} have an empty completion or no assistant turn")
        if cut:
            reasons.append(
                f"{cut} are cut at {self.info.max_length} tokens (--max_length, else the model's "
                "context) before their first target"
            )
        raise InputError(
            f"{self.info.name}: none of the {counts.examples} rows read has a target token "
            f"({'; '.join(reasons)}); see what was understood with advisor validate"
        )


class Reader:
    """Source rows to token ids and labels, by one format, template and tokenizer."""

    def __init__(
        self,
        format: Format,
        tokenizer: PreTrainedTokenizerBase,
        template: Renderer | None,
        eos_token: str | None,
    ) -> None:
        self.format = format
        self.tokenizer = tokenizer
        self.template = template
        self.eos_token = eos_token
        own = template.templates if template and template.kind != "plain" else []
        self.encoder = Encoder(tokenizer, templates=own, eos_token=eos_token)

    def encode(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> list[Encoded]:
        """Encode numbered rows; InputError names the first that cannot be."""
        contents = [self._read(i, row) for i, row in rows]
        texts = iter(self.encoder.encode([c for c in contents if isinstance(c, Marked)]))
        return [next(texts) if isinstance(c, Marked) else self._ready(c) for c in contents]

    def _read(self, i: int, row: Mapping[str, Any]) -> Marked | Tokens:
        try:
            content = self.format.read(row)
            if isinstance(content, Tokens):
                return content
            marked = self._mark(content)
            marked.text.encode()
            return marked
        except UnicodeEncodeError as error:
            reason = "its text holds half a character (\\ud800 to \\udfff alone); mend it"
            raise InputError(f"row {i} (counted from 0): {reason}") from error
        except InputError as error:
            raise InputError(f"row {i} (counted from 0): {error}") from error

    def _mark(self, content: Content) -> Marked:
        if isinstance(content, Passage) and self.template is not None:
            content = Conversation(messages=_as_messages(content))
        if isinstance(content, Conversation):
            if self.template is None:
                raise InputError("holds messages where the first row holds text: keep to one kind")
            return self.template.mark(content)
        assert isinstance(content, Passage)
        return mark_passage(content, self.tokenizer, self.eos_token)

    def _ready(self, content: Tokens) -> Encoded:
        labels = content.labels
        following = [*labels, -100][1:]
        ends = tuple(
            t
            for t, (here, after) in enumerate(zip(labels, following, strict=True))
            if after == -100 and here in self.encoder.eos_ids
        )
        return Encoded(input_ids=content.input_ids, labels=labels, terminators=ends, merged=False)


def _as_messages(content: Passage) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": content.prompt},
        {"role": "assistant", "content": content.completion},
    ]


def load_dataset(
    source: Source,
    tokenizer: PreTrainedTokenizerBase,
    *,
    split: str | None = None,
    config: str | None = None,
    prompt_field: str | None = None,
    completion_field: str | None = None,
    chat_template: str | None = None,
    max_length: int | None = None,
    eos_token: str | None = None,
    context_length: int | None = None,
) -> SFTDataset:
    """Open a dataset for a tokenizer; rows are read when asked for.

    Args:
        source: A file, folder or hub id, or rows in memory.
        tokenizer: The model's; it is not changed.
        split: Needed where the source has several.
        config: Configuration of a hub dataset.
        prompt_field: Column of the prompt, where its name is not a known one.
        completion_field: Column of the completion; alone, the whole text is the target.
        chat_template: A jinja file, a jinja text, or `none`; default is the tokenizer's own.
        max_length: In tokens; default is the context, at most 2048.
        eos_token: Text of the token that ends a text, or `none` for no end.
        context_length: In tokens, the longest sequence that the model takes.

    Raises:
        InputError: The source cannot be read, or no format fits its columns.
    """
    length = longest(max_length, context_length, tokenizer)
    end = end_of_text(tokenizer, eos_token)
    found = load_rows(source, split, config)
    single = len(found.rows) == 1
    columns = found.columns
    format = detect(columns, found.rows[0], prompt_field, completion_field, single=single)
    first = _first_content(format, found)
    template = _template(first, format, tokenizer, chat_template, end)
    if end is None and eos_token != "none" and _needs_eos(first, template):
        raise InputError(
            "the tokenizer has no end-of-sequence token; --eos_token TEXT gives one of its "
            "vocabulary, --eos_token none scores rows without an end"
        )
    text = template.text if template else _format_text(first, format)
    info = DatasetInfo(
        name=found.name,
        split=found.split,
        format=format.name,
        columns=columns,
        rows=len(found.rows),
        fingerprint=found.fingerprint,
        template=template.kind if template else "none",
        template_text=text,
        template_hash=hashlib.sha256(text.encode()).hexdigest()[:12],
        max_length=length,
        eos_token=end,
        notes=tuple(_notes(first, format, columns, template)),
    )
    return SFTDataset(found.rows, info, Reader(format, tokenizer, template, end))


def _first_content(format: Format, found: Rows) -> Content:
    try:
        return format.read(found.rows[0])
    except InputError as error:
        raise InputError(f"{found.name}, row 0 (counted from 0): {error}") from error


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
    template = Renderer(tokenizer, chat_template, eos_token)
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


def describe_example(dataset: SFTDataset, index: int) -> list[tuple[str, bool]]:
    """The example's text in pieces, each with whether its tokens are scored as targets."""
    example = dataset[index]
    scored = [False, *(label != -100 for label in example.labels[1:])]
    pieces: list[tuple[str, bool]] = []
    done = 0
    text = ""
    for flag, group in itertools.groupby(scored):
        done += len(list(group))
        # The beginning is decoded anew: a token's text may depend on what precedes it.
        longer = str(
            dataset.tokenizer.decode(
                example.input_ids[:done],
                skip_special_tokens=False,
                clean_up_tokenization_spaces=False,
            )
        )
        shared = common_prefix_length(text, longer)
        pieces.append((longer[shared:], flag))
        text = longer
    return pieces
