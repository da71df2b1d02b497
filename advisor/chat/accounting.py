"""Every word of a row is accounted for: what comes out of a template against what the row says.

What a target turn says (text, thoughts, calls) must stand in the turn's targets, what any other turn
says outside of them, and the rest of the targets may hold nothing that another turn says: no tool's
result, no other turn's header, no beginning of sequence. All are compared up to outer white space;
the arguments of calls by their names and values, whatever syntax the template writes them in.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advisor.chat.calls import thoughts
from advisor.chat.remarks import THOUGHT_REMOVED
from advisor.chat.template import Conversation, Marked
from advisor.errors import InputError

LEAST = 20
"""Characters from which a text that stands in another turn's targets is no coincidence."""
MOVED = ("system", "developer")
"""Roles that many templates put elsewhere than where the row has them."""
REMEDY = "give another with --chat_template FILE, or use --chat_template none"
Span = tuple[int, int]


class LeftOut(InputError):
    """What a turn says is not where it belongs."""

    def __init__(self, turn: int, kind: str, reason: str, other: int = 0) -> None:
        super().__init__(reason)
        self.turn = turn
        self.kind = kind
        self.other = other


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What must not stand in targets, and which thoughts a template leaves out by design."""

    forbidden: tuple[str, ...] = ()
    """Texts that no target may hold unless a turn says them: the header of a user's turn, <s>."""
    keeps_thought: Callable[[Mapping[str, Any]], bool] = lambda message: False
    """Whether the template shows the thoughts of such a message where it is the last."""
    exact: bool = False
    """Whether every word occurs once, so that where it stands is no coincidence."""


def account(conversation: Conversation, marked: Marked, rules: Rules) -> tuple[str, ...]:
    """Remarks on a rendered conversation; LeftOut if a word is missing or in the wrong place."""
    spans = marked.spans
    targets = conversation.targets()
    inside = [marked.text[a:b] for a, b in spans]
    if len(spans) != len(targets):  # blocks within a turn: which is whose cannot be told
        inside = ["\0".join(inside)]
    outside = _outside(marked)
    remarks: list[str] = []
    if rules.exact:
        _in_order(conversation, marked.text)
    regions = [_Region(text) for text in inside]
    context = _Region(outside)
    for k, message in enumerate(conversation.messages):
        is_target = k in targets
        region = context
        if is_target:
            region = regions[targets.index(k)] if len(regions) == len(targets) else regions[0]
        remarks += _said(conversation, k, message, region, rules)
    for k, region in zip(targets, regions, strict=False):
        _nothing_else(conversation, k, region.rest(), rules)
    return tuple(dict.fromkeys(remarks))


def _in_order(conversation: Conversation, text: str) -> None:
    """LeftOut if a template puts what a turn says behind what a later turn says."""
    last, turn = -1, 0
    for k, message in enumerate(conversation.messages):
        said = str(message.get("content") or "").rpartition("</think>")[2].strip()
        at = text.find(said) if said and message["role"] not in MOVED else -1
        if at < 0:
            continue
        if at < last:
            reason = f"the chat template puts what is said in turn {turn} behind turn {k}; "
            raise LeftOut(turn, "order", reason + REMEDY)
        last, turn = at, k


def anywhere(conversation: Conversation, text: str, rules: Rules) -> None:
    """LeftOut if the rendered text, wherever its targets lie, misses what a turn says."""
    region = _Region(text)
    for k, message in enumerate(conversation.messages):
        list(_said(conversation, k, message, region, rules))


def _outside(marked: Marked) -> str:
    edges = [0, *(edge for span in marked.spans for edge in span), len(marked.text)]
    return "\0".join(marked.text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))


class _Region:
    """A piece of rendered text, in which what is found once is not found again."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.taken: list[Span] = []
        self.cursor = 0

    def take(self, forms: Sequence[str], start: int = 0, *, word: bool = False) -> int | None:
        """End of the first free place after `start` where one of the forms stands."""
        for form in dict.fromkeys(forms):
            at = self._find(form, start, word)
            if at is not None:
                self.taken.append((at, at + len(form)))
                return at + len(form)
        return None

    def _find(self, form: str, start: int, word: bool) -> int | None:
        at = self.text.find(form, start)
        while at >= 0:
            end = at + len(form)
            free = all(end <= a or b <= at for a, b in self.taken)
            if free and not (word and self._within_word(at, end)):
                return at
            at = self.text.find(form, at + 1)
        return None

    def _within_word(self, at: int, end: int) -> bool:
        text = self.text
        return (_wordy(text[at]) and at > 0 and _wordy(text[at - 1])) or (
            _wordy(text[end - 1]) and end < len(text) and _wordy(text[end])
        )

    def has(self, text: str, start: int) -> bool:
        """Whether a text stands somewhere after `start`."""
        return text in self.text[start:] if start else text in self.text

    def rest(self) -> str:
        """What was not found: the template's own words, and what does not belong here."""
        edges = [0, *(edge for span in sorted(self.taken) for edge in span), len(self.text)]
        return "\0".join(self.text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))


def _wordy(character: str) -> bool:
    return character.isalnum() or character == "_"


def _said(
    conversation: Conversation, k: int, message: Mapping[str, Any], region: _Region, rules: Rules
) -> Iterator[str]:
    """Find what a message says in its region; remarks on what may be missing."""
    moves = message["role"] in MOVED
    start = 0 if moves else region.cursor
    ends = [start]
    for kind, part in _parts(message, region, start):
        end = _take(region, kind, part, start, message["role"])
        if end is None and kind == "thought" and _may_lack(conversation, k, message, rules):
            yield THOUGHT_REMOVED
        elif end is None:
            raise left_out(conversation, k, kind, part)
        else:
            ends.append(end)
    if not moves:
        region.cursor = max(ends)


def _parts(message: Mapping[str, Any], region: _Region, start: int) -> Iterator[tuple[str, Any]]:
    """What a message says, piece by piece; a thought within the text may stand apart from it."""
    text = str(message.get("content") or "").strip()
    thought, found, answer = text.rpartition("</think>")
    whole = not found or message["role"] != "assistant" or region.has(text, start)
    for beside in thoughts(message):
        if whole or beside not in text:
            yield "thought", beside
    if not whole:
        for piece in re.split("</?think>", thought):
            yield "thought", piece.strip()
    yield "text", text if whole else answer.strip()
    yield "text", str(message.get("refusal") or "").strip()
    for call in message.get("tool_calls") or ():
        yield "call", call["function"]


def _take(region: _Region, kind: str, part: Any, start: int, role: str) -> int | None:
    """Where a piece ends that is found, or where to go on if there is nothing to find."""
    if kind == "call":
        return _take_call(region, part, start)
    if not part:
        return start
    forms = [part, *_escaped(part)] if role in ("tool", "function", "ipython") else [part]
    end = region.take(forms, start)
    return region.take(forms) if end is None else end


def _take_call(region: _Region, call: Mapping[str, Any], start: int) -> int | None:
    """End of a call: its name as a word, then its arguments in any syntax."""
    end = region.take([call["name"]], start, word=True)
    if end is None:
        return None
    arguments = call["arguments"]
    if isinstance(arguments, str):
        return region.take(_forms(arguments), end)
    after = region.take(_json_forms(arguments), end)
    if after is None:
        after = _take_json(region, arguments, start)
    return max(after, end) if after is not None else _take_values(region, arguments, end)


def _json_forms(value: object) -> list[str]:
    """JSON as templates write it, by itself or within a JSON text."""
    plain = [json.dumps(value, ensure_ascii=a) for a in (False, True)]
    tight = [json.dumps(value, ensure_ascii=a, separators=(",", ":")) for a in (False, True)]
    return [*plain, *tight, *(e for form in (*plain, *tight) for e in _escaped(form))]


def _take_json(region: _Region, value: object, start: int) -> int | None:
    """A JSON value equal to this one, however it is spaced and ordered."""
    decoder = json.JSONDecoder()
    for brace in re.finditer(r"\{", region.text[start:]):
        try:
            found, length = decoder.raw_decode(region.text[start + brace.start() :])
        except json.JSONDecodeError:
            continue
        if found == value:
            at = start + brace.start()
            region.taken.append((at, at + length))
            return at + length
    return None


def _take_values(region: _Region, arguments: object, start: int) -> int | None:
    """Every name and value by itself, as in XML or Python syntax; the longest first."""
    ends = [start]
    for forms in sorted(_leaves(arguments), key=lambda forms: -len(forms[0])):
        end = region.take(forms, start, word=True)
        if end is None:
            return None
        ends.append(end)
    return max(ends)


def _leaves(value: object) -> Iterator[list[str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield [key]
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, str):
        if value.strip():
            yield _forms(value)
    elif isinstance(value, float) and value.is_integer():
        yield [json.dumps(value), str(int(value))]
    else:
        yield [json.dumps(value), str(value)]


def _forms(text: str) -> list[str]:
    """A text as it stands, and as JSON or Python writes it between quotes."""
    slashed = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    quoted = [slashed.replace(quote, "\\" + quote) for quote in "'\""]
    twice = [again for form in _escaped(text) for again in _escaped(form)]
    return list(dict.fromkeys([text, text.strip(), *_escaped(text), slashed, *quoted, *twice]))


def _escaped(text: str) -> list[str]:
    return [json.dumps(text, ensure_ascii=a)[1:-1] for a in (False, True)]


def _may_lack(conversation: Conversation, k: int, message: Mapping[str, Any], rules: Rules) -> bool:
    """Whether a template removes the thought by design: from earlier turns, never from the last."""
    spoken = [i for i, m in enumerate(conversation.messages) if m["role"] == "assistant"]
    return k < max(spoken, default=-1) and rules.keeps_thought(message)


def left_out(conversation: Conversation, k: int, kind: str, part: Any) -> LeftOut:
    """The refusal of a row of which a template loses a piece."""
    role = conversation.messages[k]["role"]
    what = {"text": "", "thought": "the thought "}.get(kind, "the call of ")
    words = part["name"] if kind == "call" else part
    return LeftOut(
        k,
        kind,
        f"the chat template leaves out what the {role} says in turn {k} ({what}{quoted(words)}); "
        + REMEDY,
    )


def quoted(words: str) -> str:
    """A text's beginning on one line."""
    line = " ".join(words.split())
    return repr(line if len(line) <= 40 else line[:37] + "...")


def _nothing_else(conversation: Conversation, k: int, rest: str, rules: Rules) -> None:
    """LeftOut if the rest of a target turn holds what another turn says, or its header."""
    for text in filter(None, rules.forbidden):
        if text in rest:
            raise LeftOut(k, "syntax", _foreign(k, f"{text!r}, which begins another turn,"))
    least = 1 if rules.exact else LEAST
    for j, message in enumerate(conversation.messages):
        said = str(message.get("content") or "").strip()
        if j != k and message["role"] != "assistant" and len(said) >= least and said in rest:
            raise foreign(conversation, k, j)


def foreign(conversation: Conversation, k: int, j: int) -> LeftOut:
    """The refusal of a row of which a template makes another turn's text a target."""
    message = conversation.messages[j]
    whose = f"what the {message['role']} says in turn {j} ({quoted(message['content'])})"
    return LeftOut(k, "foreign", _foreign(k, whose), j)


def _foreign(k: int, what: str) -> str:
    return (
        f"the chat template puts {what} into the assistant's turn {k}, where it would be a target; "
        + REMEDY
    )
