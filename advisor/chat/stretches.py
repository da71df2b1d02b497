"""Where stretches of a turn's content stand in the rendered conversation, to the character.

The content is rendered once more with stand-ins for its words, a thought between <think> and </think> apart
from the answer. What a template writes between the stand-ins it must write around the words too; one that
changes the words themselves is refused, since a stretch of them would be a guess.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from advisor.chat.template import ChatTemplate, Conversation, Marked, Span
from advisor.errors import InputError

Weight = tuple[int, int, float]
TAG = re.compile(r"(</?think>)")


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """Words of a content without outer white space."""

    start: int
    """Its first character in the content."""
    end: int
    """The first after it."""
    at: int
    """Where it begins in the rendered text."""

    @property
    def until(self) -> int:
        """Where it ends in the rendered text."""
        return self.at + self.end - self.start


def stretches(
    template: ChatTemplate, conversation: Conversation, marked: Marked
) -> tuple[Weight, ...]:
    """Ranges of the rendered text with the factors of the spans of its target turns.

    Args:
        template: That rendered it.
        conversation: As it was rendered; `spans` have the words that the row has there.
        marked: What was rendered.

    Raises:
        InputError: The words of a stretch are not what the template was given, or it changes them.
    """
    found: list[Weight] = []
    targets = conversation.targets()
    for k, spans in conversation.spans.items():
        if k not in targets:
            continue
        content = str(conversation.messages[k].get("content") or "")
        for span in spans:
            said = content[span.start : span.end]
            if not said or not span.text.startswith(said):
                raise InputError(_unplaced(k, span))
        pieces = _pieces(template, conversation, k, content, marked.text)
        if not pieces:
            raise InputError(_unplaced(k, spans[0]))
        begin = pieces[0].at
        if len(marked.spans) == len(targets):
            begin = min(begin, marked.spans[targets.index(k)][0])
        place = _Places(content, marked.text, pieces, begin)
        found += [
            (place.of(s.start, start=True), place.of(s.end, start=False), s.weight) for s in spans
        ]
    return tuple(found)


def _pieces(
    template: ChatTemplate, conversation: Conversation, k: int, content: str, text: str
) -> list[_Piece]:
    """The pieces of a content and where they stand; InputError where the template changes them."""
    parts = TAG.split(content)
    stand_ins, words, starts, at = list[str](), list[tuple[str, str]](), list[int](), 0
    for part in parts:
        word = "" if TAG.fullmatch(part) else part.strip()
        if word:
            stand_in = f"zq{len(words)}stretch{k}qz"
            stand_ins.append(part.replace(word, stand_in, 1))
            starts.append(at + part.index(word))
            words.append((word, stand_in))
        else:
            stand_ins.append(part)
        at += len(part)
    messages = list(conversation.messages)
    messages[k] = {**messages[k], "content": "".join(stand_ins)}
    rest = template.render(conversation, messages)
    found, end = [], 0
    for (word, stand_in), start in zip(words, starts, strict=True):
        before, there, rest = rest.partition(stand_in)
        end += len(before)
        if not there or text[end - len(before) : end + len(word)] != before + word:
            raise InputError(_changed(k))
        found.append(_Piece(start=start, end=start + len(word), at=end))
        end += len(word)
    if text[end:] != rest:
        raise InputError(_changed(k))
    return found


class _Places:
    """Characters of a content to those of the rendered text."""

    def __init__(self, content: str, text: str, pieces: Sequence[_Piece], begin: int) -> None:
        """`begin` is where the turn's target begins."""
        self.content, self.text, self.pieces, self.begin = content, text, pieces, begin

    def of(self, position: int, *, start: bool) -> int:
        """Where a character stands, of a stretch that starts or ends there.

        Between two pieces, where the template has its own marks and white space, a stretch that has all of
        the row's marks there has all of the template's, and another has none.
        """
        before = next((p for p in reversed(self.pieces) if p.start <= position), None)
        if before and position <= before.end:
            return before.at + position - before.start
        after = next((p for p in self.pieces if p.start > position), None)
        first, last = before.end if before else 0, after.start if after else len(self.content)
        gap = self.content[first:last]
        if before:
            low = before.until
        else:
            same = after is not None and self.text.endswith(gap, 0, after.at)
            low = after.at - len(gap) if after and same else self.begin
        high = after.at if after else low + len(gap) * self.text.startswith(gap, low)
        if self.text[low:high] == gap:
            return low + position - first
        other = self.content[first:position] if start else self.content[position:last]
        whole = not TAG.search(other)
        return low if whole == start else high


def _unplaced(k: int, span: Span) -> str:
    words = " ".join(span.text.split())
    return (
        f"turn {k} weighs its characters {span.start} to {span.end} ({words[:30]!r}), which the template is "
        "not given as they stand: keep a thought in one place, and end tokens out of the text"
    )


def _changed(k: int) -> str:
    return (
        f"the chat template changes the words of turn {k}, so that its spans cannot be placed; "
        "give another with --chat_template FILE, or use --chat_template none"
    )
