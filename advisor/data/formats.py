"""Columns to conversations: which format a dataset has, and how one of its rows is read.

Formats are tried in one order and the first whose columns are all there wins; a dataset that none
fits is refused with the columns it has and the flags that name them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from advisor.chat.calls import read_tools
from advisor.chat.messages import content_text, from_json, message_list
from advisor.chat.remarks import PROMPT_REPEATED
from advisor.chat.template import Conversation, Passage
from advisor.data import tokenised
from advisor.data.cells import answer_text, as_text, check_choice, chosen_message
from advisor.data.repeated_prompts import start_of_completion
from advisor.data.row_marks import (
    JUDGEMENTS,
    MARKS,
    ROW_MARKS,
    LeftOut,
    judged,
    reads,
    unmarked,
    untrained,
)
from advisor.data.row_weights import (
    SPANS,
    WEIGHT,
    filled,
    is_weighted,
    spans_of,
    turn_weight,
    weight_of,
)
from advisor.data.tokenised import Tokens
from advisor.data.unknown_columns import unknown
from advisor.errors import InputError
from advisor.names import did_you_mean
from advisor.values import PAIR_OF_TURNS, given, is_messages, listed, parse, shown

Row = Mapping[str, Any]
PAIRS = (
    ("prompt", "response"),
    ("query", "response"),
    ("question", "answer"),
    ("question", "solution"),
    ("problem", "solution"),
    ("problem", "answer"),
    ("input", "output"),
    ("text", "code"),
)
OPTIONS = "chat_template_kwargs"
NO_WEIGHT = "; --weight_field none reads no column"
PASSAGES = ("prompt/completion", "preference")
"""Formats of plain texts, which no template renders by itself."""
Content = Conversation | Passage | Tokens | LeftOut


@dataclass(frozen=True, kw_only=True)
class Format:
    """How the rows of one dataset are read."""

    name: str
    """As `advisor validate` prints it."""
    read: Callable[[Row], Content]
    """One source row to what it says; InputError without the row's number."""
    uses: tuple[str, ...]
    """Columns that are read."""
    whole: bool = False
    """Whether a row is one text that is a target from beginning to end."""
    needs: tuple[str, ...] = ()
    """Columns that a row of this layout has values in."""
    weight: str | None = None
    """Column with the weight of a row; None where there is none."""
    layouts: tuple["Format", ...] = ()
    """Where columns of several layouts are there: all of them, in order; a row is read by its own."""

    def of(self, row: Row) -> "Format":
        """The layout of one row: the first whose columns are filled in it."""
        return next((f for f in self.layouts if all(given(row.get(c)) for c in f.needs)), self)


def detect(
    columns: Sequence[str],
    sample: Row,
    prompt_field: str | None = None,
    completion_field: str | None = None,
    weight_field: str | None = None,
    *,
    single: bool = False,
) -> Format:
    """The format of a dataset with these columns; InputError names the way out if none fits.

    Args:
        columns: Of the source.
        sample: One of its rows.
        prompt_field: Column of the prompt, where its name is not a known one.
        completion_field: Column of the completion; alone, the whole text is the target.
        weight_field: Column of the weight of a row, where its name is not `weight`; `none` reads none.
        single: Whether the sample is the only row, which may hold the others.
    """
    have = set(columns)
    if prompt_field or completion_field:
        found = _by_fields(columns, prompt_field, completion_field)
        found = _marked(found, columns, sample, named=True)
    else:
        fitting = list(_fitting(have))
        if not fitting:
            raise InputError(unknown(columns, sample, single=single))
        found = _marked(_of_layouts(fitting), columns, sample, named=False)
    return _weighed(found, columns, sample, _weight_column(columns, found.uses, weight_field))


def is_row(columns: Sequence[str]) -> bool:
    """Whether columns of these names are those of a prompt and its answer, in a known format."""
    return any(not format.whole for format in _fitting(set(columns)))


def _fitting(have: set[str]) -> Iterator[Format]:
    """Formats whose columns are all there, the one that counts first."""
    if "input_ids" in have:
        read, uses = tokenised.reader(have)
        yield Format(name="tokenised", read=read, uses=uses, whole=True)
        return
    for name, needed, optional, read_row in _TABLE:
        if have.issuperset(needed):
            uses = (*needed, *(c for c in optional if c in have))
            yield Format(name=name, read=read_row, uses=uses, needs=needed)
    for prompt, completion in PAIRS:
        if prompt in have and completion in have:
            yield _pair(f"{prompt}/{completion}", prompt, completion, have)
    if "text" in have:
        yield Format(name="text", read=_text, uses=("text",), whole=True)


def _of_layouts(fitting: Sequence[Format]) -> Format:
    """The first format; where others fit too, a row whose cells are empty there is read by theirs."""
    first, *others = fitting
    others = [format for format in others if not format.whole]
    if first.whole or not others:
        return first
    joined = first.name in PASSAGES

    def read(row: Row) -> Content:
        own = layouts.of(row)
        content = (first if own is layouts else own).read(row)
        return content if joined or not isinstance(content, Passage) else as_turns(content)

    layouts = replace(first, read=read, layouts=(first, *others))
    return layouts


def as_turns(passage: Passage) -> Conversation:
    """A prompt and a completion as a user's turn and its answer."""
    turns = (("user", passage.prompt), ("assistant", passage.completion))
    return Conversation(
        messages=[{"role": role, "content": text} for role, text in turns],
        weight=passage.weight,
        spans={1: passage.spans} if passage.spans else {},
    )


def _marked(format: Format, columns: Sequence[str], sample: Row, *, named: bool) -> Format:
    """The format, with what rows and turns say of their training taken at their word."""
    known = ROW_MARKS if format.whole else (*JUDGEMENTS, *ROW_MARKS)  # a text's label is a class
    marks = [c for c in columns if c not in format.uses and c in known]

    def read(row: Row) -> Content:
        left_out = judged(row, marks, named=named) if marks else None
        if left_out is not None:
            return left_out
        content = format.read(row)
        if not isinstance(content, Conversation) or not _has_marks(content.messages):
            return content
        skip = untrained(content.messages)
        return replace(
            content,
            messages=unmarked(content.messages),
            skip=skip,
            **_of_turns(content.messages),
        )

    seen = tuple(c for c in marks if reads(c, sample.get(c), named=named))
    return replace(format, read=read, uses=(*format.uses, *seen))


def _has_marks(messages: Sequence[Mapping[str, Any]]) -> bool:
    return any(SPANS in message or not MARKS.isdisjoint(message) for message in messages)


def _of_turns(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The weights that turns give themselves, as fields of a conversation."""
    weights = {k: turn_weight(message, k) for k, message in enumerate(messages)}
    spans = {
        k: spans_of(message.get(SPANS), message.get("content") or "", f"turn {k}, {SPANS}")
        for k, message in enumerate(messages)
    }
    return {
        "weights": {k: weight for k, weight in weights.items() if weight != 1},
        "spans": {k: found for k, found in spans.items() if found},
    }


def _weight_column(columns: Sequence[str], used: Sequence[str], named: str | None) -> str | None:
    """The column with the weight of a row; InputError where the named one is not there."""
    if named is None:
        return WEIGHT if WEIGHT in columns and WEIGHT not in used else None
    if named != "none" and named not in columns:
        hint = did_you_mean(named, columns, at_most=3, cutoff=0.5) or ""
        raise InputError(
            f"no column {named!r} (--weight_field); {hint} The columns are {listed(columns)}"
        )
    return None if named == "none" else named


def _weighed(format: Format, columns: Sequence[str], sample: Row, weight: str | None) -> Format:
    """The format, with the weights of a row and of stretches of its completion."""
    spans = SPANS in columns and SPANS not in format.uses

    def read(row: Row) -> Content:
        factor = 1.0 if weight is None else weight_of(row.get(weight), f"{weight} is", NO_WEIGHT)
        if factor == 0:
            return LeftOut(why=f"marked {weight} 0")
        content = format.read(row)
        if isinstance(content, LeftOut):
            return content
        content = replace(content, weight=factor)
        return _with_spans(content, row, format.of(row)) if spans else content

    seen = [weight] if weight is not None and weight not in format.uses else []
    if spans and (is_weighted(sample.get(SPANS)) or not filled(sample.get(SPANS))):
        seen.append(SPANS)
    return replace(format, read=read, uses=(*format.uses, *seen), weight=weight)


def _with_spans(content: Conversation | Passage | Tokens, row: Row, format: Format) -> Content:
    """The content with the weights of stretches of its completion, where that is one text."""
    if not is_weighted(row.get(SPANS)):
        return content
    if isinstance(content, Passage):
        return replace(content, spans=spans_of(row[SPANS], content.completion, SPANS))
    text = row.get(format.uses[:2][-1])  # of a format of two columns the completion
    if isinstance(content, Conversation) and isinstance(text, str):
        last = len(content.messages) - 1
        if last >= 0 and content.messages[last].get("content") == text:
            return replace(
                content, spans={**content.spans, last: spans_of(row[SPANS], text, SPANS)}
            )
    raise InputError(
        "spans is a column of rows whose completion is a text; of messages write it as a key of the "
        "message, and tokens cannot be weighed by characters"
    )


def _by_fields(columns: Sequence[str], prompt: str | None, completion: str | None) -> Format:
    for flag, name in (("--prompt_field", prompt), ("--completion_field", completion)):
        if name is None and flag == "--completion_field":
            raise InputError(
                f"--prompt_field needs --completion_field; the columns are {listed(columns)}"
            )
        if name is not None and name not in columns:
            hint = did_you_mean(name, columns, at_most=3, cutoff=0.5) or ""
            raise InputError(
                f"no column {name!r} ({flag}); {hint} The columns are {listed(columns)}"
            )
    if prompt is None and completion is not None:
        return Format(
            name=f"text ({completion})",
            read=lambda row: Passage(prompt="", completion=answer_text(row, completion)),
            uses=(completion,),
            whole=True,
        )
    assert prompt is not None and completion is not None
    if (prompt, completion) == ("prompt", "completion"):
        return Format(
            name="prompt/completion", read=_prompt_and("completion"), uses=(prompt, completion)
        )
    if prompt == completion:
        raise InputError(f"--prompt_field and --completion_field both name {prompt!r}")
    return _pair(f"fields {prompt}/{completion}", prompt, completion, set(columns))


def _pair(name: str, prompt: str, completion: str, have: set[str]) -> Format:
    def read(row: Row) -> Conversation:
        if is_messages(row[prompt]) or is_messages(row[completion]):
            return _two_parts(row, row[prompt], row[completion])
        check_choice(row, completion)
        return _turns(row, as_text(row, prompt), answer_text(row, completion))

    extra = (c for c in ("system", "history", "tools") if c in have)
    uses = (prompt, completion, *extra)
    return Format(name=name, read=read, uses=uses, needs=(prompt, completion))


def _turns(row: Row, user: str, assistant: str) -> Conversation:
    """System, history, user and assistant turns of an instruction row."""
    messages = []
    if system := as_text(row, "system"):
        messages.append({"role": "system", "content": system})
    messages += _history(row.get("history"))
    messages.append({"role": "user", "content": user})
    messages.append({"role": "assistant", "content": assistant})
    return Conversation(messages=messages)


def _history(value: object) -> list[dict[str, Any]]:
    """Earlier turns: pairs of a user's and the assistant's, or messages; they may be JSON text."""
    value = from_json(value, "history")
    if not value:
        return []
    if is_messages(value):
        return message_list(value, "history")
    if isinstance(value, list):
        value = [list(pair) if isinstance(pair, tuple) else pair for pair in value]
    try:
        pairs = parse(PAIR_OF_TURNS, value, "history")
    except InputError as error:
        raise InputError(f"history must be a list of [user, assistant] pairs: {error}") from error
    roles = ("user", "assistant")
    return [
        {"role": role, "content": content_text(said)}
        for pair in pairs
        for role, said in zip(roles, pair, strict=True)
    ]


def _instruction(extra: str, completion: str) -> Callable[[Row], Conversation]:
    def read(row: Row) -> Conversation:
        parts = [as_text(row, "instruction"), as_text(row, extra)]
        return _turns(row, "\n".join(p for p in parts if p), answer_text(row, completion))

    return read


def _talk(column: str) -> Callable[[Row], Conversation]:
    """Reads a column of messages; as TRL does, `messages` without the system column."""

    def read(row: Row) -> Conversation:
        messages = message_list(row[column], column)
        if column == "messages":
            messages += message_list(chosen_message(row), "choices")
        system = "" if column == "messages" else as_text(row, "system")
        if system and messages and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": system})
        tools = read_tools(row.get("tools"))
        return Conversation(messages=messages, tools=tools, options=_options(row))

    return read


def _prompt_and(column: str) -> Callable[[Row], Content]:
    """Reads a prompt and a completion, each of them text or messages."""

    def read(row: Row) -> Content:
        prompt, completion = row["prompt"], row[column]
        if is_messages(prompt) or is_messages(completion):
            return _two_parts(row, prompt, completion)
        return Passage(prompt=as_text(row, "prompt"), completion=answer_text(row, column))

    return read


def _two_parts(row: Row, prompt: object, completion: object) -> Conversation:
    """A prompt and a completion of which at least one is a list of messages."""
    head, rest = _part(prompt, "user"), _part(completion, "assistant")
    begun = start_of_completion(head, rest)
    repeated = (PROMPT_REPEATED,) if begun else ()
    return Conversation(
        messages=rest if begun else head + rest,
        first=begun or len(head),
        tools=read_tools(row.get("tools")),
        options=_options(row),
        remarks=repeated,
    )


def _ranked(row: Row) -> Conversation:
    """A talk that ends with the user, and the better answer beside it (LLaMA-Factory's rankings)."""
    head = message_list(row["conversations"], "conversations")
    system = as_text(row, "system")
    if system and head and head[0]["role"] != "system":
        head.insert(0, {"role": "system", "content": system})
    chosen = row["chosen"]
    rest = _part([chosen] if isinstance(chosen, Mapping) else chosen, "assistant")
    return Conversation(
        messages=head + rest,
        first=len(head),
        tools=read_tools(row.get("tools")),
        options=_options(row),
    )


def _part(value: object, role: str) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return message_list(value, "prompt" if role == "user" else "completion")


def _options(row: Row) -> dict[str, Any]:
    options = row.get(OPTIONS) or {}
    if not isinstance(options, dict):
        raise InputError(f"{OPTIONS} must be an object, not {shown(options)}")
    return dict(options)


def _text(row: Row) -> Passage:
    return Passage(prompt="", completion=answer_text(row, "text"))


_TABLE: tuple[tuple[str, tuple[str, ...], tuple[str, ...], Callable[[Row], Content]], ...] = (
    (
        "preference",
        ("conversations", "chosen", "rejected"),
        ("system", "tools", OPTIONS),
        _ranked,
    ),
    ("messages", ("messages",), ("choices", "tools", OPTIONS), _talk("messages")),
    ("conversations", ("conversations",), ("system", "tools", OPTIONS), _talk("conversations")),
    ("conversation", ("conversation",), ("system", "tools", OPTIONS), _talk("conversation")),
    ("prompt/completion", ("prompt", "completion"), ("tools", OPTIONS), _prompt_and("completion")),
    ("preference", ("prompt", "chosen", "rejected"), ("tools", OPTIONS), _prompt_and("chosen")),
    ("preference", ("chosen", "rejected"), ("tools", OPTIONS), _talk("chosen")),
    (
        "alpaca",
        ("instruction", "output"),
        ("input", "system", "history"),
        _instruction("input", "output"),
    ),
    (
        "dolly",
        ("instruction", "response"),
        ("context", "system", "history"),
        _instruction("context", "response"),
    ),
)
