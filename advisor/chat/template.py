"""Conversations to token ids with the target tokens marked: templates, turn boundaries, turn ends.

A template with `{% generation %}` says itself what the assistant writes. For one without, the text
before each assistant turn (rendered with the generation prompt) must be the beginning of the whole;
where a template rewrites earlier turns, a placeholder put in the turn's place shows where it lies.
What cannot be located is refused: a mask of nothing would train on nothing, silently.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from advisor.chat.bounded_sandbox import TooMuchWork, bound_templates
from advisor.chat.plain import plain_template
from advisor.chat.template_source import training_version
from advisor.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

PLACEHOLDER = "zq0turn0qz"
PROBE = tuple(
    {"role": role, "content": text}
    for role, text in (
        ("user", "qone"),
        ("assistant", "qtwo"),
        ("user", "qsix"),
        ("assistant", "qten"),
    )
)
THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
"""Keys of a message under which thoughts stand beside its content."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of a text with a weight of its own."""

    start: int
    """Character of the text, from 0."""
    end: int
    """The first character after it."""
    weight: float
    """0: no target."""
    text: str
    """Its characters."""


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Messages of one row, in the role/content form."""

    messages: list[dict[str, Any]]
    """Each has `role` (system, user, assistant, tool, ...) and `content`."""
    first: int = 0
    """Assistant turns before this index belong to the prompt and are not targets."""
    tools: list[Any] | None = None
    """JSON schemas of the tools, passed to the template."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further variables of the template (TRL's `chat_template_kwargs` column)."""
    skip: frozenset[int] = frozenset()
    """Turns that the row marks as no target; they stay as context."""
    weight: float = 1.0
    """Of all its targets."""
    weights: Mapping[int, float] = field(default_factory=dict)
    """Of single turns, by their index; 1 where none stands."""
    spans: Mapping[int, tuple[Span, ...]] = field(default_factory=dict)
    """Stretches of the content of single turns, by their index."""
    remarks: tuple[str, ...] = ()
    """Codes of what was assumed in reading the row (`advisor.chat.remarks`)."""

    def targets(self) -> list[int]:
        """Indices of the assistant turns that have something to learn."""
        return [
            k
            for k, m in enumerate(self.messages)
            if k >= self.first and k not in self.skip and m["role"] == "assistant" and _speaks(m)
        ]


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A row of plain strings; the completion is the target."""

    prompt: str
    """Empty where the whole text is the target."""
    completion: str
    """Without the end-of-sequence token."""
    weight: float = 1.0
    """Of all its targets."""
    spans: tuple[Span, ...] = ()
    """Stretches of the completion."""


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A text and the characters of it that are targets."""

    text: str
    """What is tokenised, special tokens spelled out."""
    spans: tuple[tuple[int, int], ...]
    """Half-open character ranges, in order."""
    ends: tuple[tuple[int, int], ...] = ()
    """Character ranges of ordinary text that ends a turn."""
    verify: bool = True
    """Whether the text before a target, tokenised by itself, must be the beginning of the whole."""
    remarks: tuple[str, ...] = ()
    """Codes of what was assumed for the row or lost by design (`advisor.chat.remarks`)."""
    weights: tuple[tuple[int, int, float], ...] = ()
    """Half-open character ranges, each with a factor on the weight of its characters, which is 1 at first."""


def _speaks(message: Mapping[str, Any]) -> bool:
    said = (message.get(key) for key in ("content", "refusal", *THOUGHT_KEYS))
    calls = message.get("tool_calls") or message.get("function_call")
    return any(str(text or "").strip() for text in said) or bool(calls)


def common_prefix_length(a: Sequence[object], b: Sequence[object]) -> int:
    """Number of leading items that two sequences share."""
    for n, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return n
    return min(len(a), len(b))


class ChatTemplate:
    """A chat template that renders conversations and says which characters are targets."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, kind: str, text: str, eos_token: str | None
    ) -> None:
        self.kind, self.text = kind, text
        self.variables: dict[str, Any] = dict(tokenizer.special_tokens_map)
        self.variables["eos_token"] = eos_token or ""
        self.notes: tuple[str, ...] = ()
        self.parts = self._reads_parts()
        self.opener, self.unprompted = self._openers()
        self.terminator = ""
        if self.kind == "plain":
            return
        if not self.marked:
            self._prepare(tokenizer)
        added = {t.content for t in tokenizer.added_tokens_decoder.values() if t.content.strip()}
        if not any(token in self.ending for token in {*added, eos_token or PLACEHOLDER}):
            self.terminator = self.ending.rstrip()
        self.notes += tuple(self._probe_notes(tokenizer))

    def _reads_parts(self) -> bool:
        """Whether the template shows a content only as a list of parts, as those for images do."""
        shown = []
        for self.parts in (False, True):
            try:
                shown.append("qten" in self.render(Conversation(messages=list(PROBE))))
            except InputError:
                shown.append(False)
        return shown == [False, True]

    @property
    def marked(self) -> bool:
        """Whether the template says itself what the assistant writes."""
        return self.kind == "plain" or bool(re.search(r"\{%-?\s*generation\s*-?%\}", self.text))

    def _prepare(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take TRL's training version of a template whose turns cannot be located."""
        try:
            self._located_turns(Conversation(messages=list(PROBE)))
            ends = bool(self.ending.strip())
        except InputError as error:
            logger.debug("turns of the chat template are not located: %s", error)
            ends = False
        training = None if ends else training_version(tokenizer, self.text)
        if training:
            self.text = training
            self.opener, self.unprompted = self._openers()
            self.notes = (
                "The chat template does not say where assistant turns lie or end; TRL's training "
                "version of it is used.",
            )

    def _probe_notes(self, tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
        probe = Conversation(messages=list(PROBE))
        try:
            prompt = self.render(probe, PROBE[:-1], prompt=True)
            same = self.render(probe).startswith(prompt)
        except InputError:
            return
        if self.terminator:
            ids = tokenizer(self.terminator, add_special_tokens=False)["input_ids"]
            yield (
                f"{self.terminator!r}, which ends a turn, is no special token of this tokenizer but "
                f"{len(ids)} ordinary ones; p of the end of a turn is the mean over all of them."
            )
        elif not self.ending.strip():
            yield (
                "The chat template puts nothing after an assistant turn, so the end of a turn is "
                "not scored."
            )
        if not same:
            yield (
                "The chat template's generation prompt is not what stands before the answers of "
                "the data (a thought it opens, perhaps); targets start where the two part."
            )
        if self.unprompted and not self.marked:
            yield (
                "The chat template ignores add_generation_prompt; what it puts before an answer, "
                f"{self.unprompted!r}, is taken as part of the prompt."
            )

    def mark(self, conversation: Conversation) -> Marked:
        """Render a conversation and mark its targets; InputError if they cannot be located.

        Whether every word is there, and in its place, is for `advisor.chat.accounting` to say.
        """
        if not conversation.targets():
            text = self.render(conversation) if conversation.messages else ""
            return Marked(text=text, spans=())
        found = self._generation_spans if self.marked else self._located_turns
        marked = found(conversation)
        spans = tuple(self._after_header(marked.text, span) for span in marked.spans)
        weights = _turn_weights(conversation, marked.text, spans)
        marked = replace(marked, spans=spans, weights=weights)
        return replace(marked, ends=tuple(self._ends(marked)))

    def _ends(self, marked: Marked) -> Iterator[tuple[int, int]]:
        """Where ordinary text ends a turn: the last of its span, or what follows it."""
        for start, stop in marked.spans if self.terminator else ():
            end = start + len(marked.text[start:stop].rstrip())
            if not marked.text[:end].endswith(self.terminator):
                end = stop + len(self.terminator)
            if marked.text[:end].endswith(self.terminator):
                yield end - len(self.terminator), end

    def render(
        self,
        conversation: Conversation,
        messages: Sequence[dict[str, Any]] | None = None,
        *,
        prompt: bool = False,
    ) -> str:
        """Text of the conversation, or of other messages in its stead."""
        return self._render(conversation, messages, prompt=prompt)[0]

    def _render(
        self,
        conversation: Conversation,
        messages: Sequence[dict[str, Any]] | None = None,
        *,
        prompt: bool = False,
        generation: bool = False,
    ) -> tuple[str, list[tuple[int, int]]]:
        chosen = conversation.messages if messages is None else messages
        template = self.text
        if self.kind == "plain":
            template = plain_template(conversation.messages)
        from transformers.utils.chat_template_utils import render_jinja_template

        bound_templates()
        try:
            rendered: Any = render_jinja_template(
                conversations=[[_in_parts(m) for m in chosen] if self.parts else list(chosen)],
                tools=conversation.tools,
                chat_template=template,
                return_assistant_tokens_mask=generation,
                add_generation_prompt=prompt,
                **{**self.variables, **conversation.options},
            )
        except TooMuchWork:
            raise  # what does this once is not asked again in another spelling
        except Exception as error:  # a template is a program: it may fail in any way
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"the chat template refuses the conversation ({reason}); change the row, or give "
                "another template with --chat_template FILE"
            ) from error
        texts, spans = rendered
        return texts[0], (spans[0] if generation else [])

    def _generation_spans(self, conversation: Conversation) -> Marked:
        text, spans = self._render(conversation, generation=True)
        turns = [k for k, m in enumerate(conversation.messages) if m["role"] == "assistant"]
        if len(turns) == len(spans):
            targets = conversation.targets()
            spans = [
                (self._trimmed(conversation, text, k, span), span[1])
                for k, span in zip(turns, spans, strict=True)
                if k in targets
            ]
        elif conversation.skip:
            raise InputError(
                f"the chat template marks {len(spans)} stretches of {len(turns)} assistant turns, so "
                "those that the row marks as no target cannot be told from the others; give another "
                "template with --chat_template FILE"
            )
        begin = 0
        if conversation.first:
            head = conversation.messages[: conversation.first]
            begin = common_prefix_length(self.render(conversation, head, prompt=True), text)
        kept = tuple((max(a, begin), b) for a, b in spans if b > max(a, begin))
        if not kept:
            raise InputError(
                "the chat template's {% generation %} block marks no token of the assistant's "
                "turns; correct the template, or give another with --chat_template FILE"
            )
        return Marked(text=text, spans=kept, verify=False)

    def _trimmed(self, conversation: Conversation, text: str, k: int, span: tuple[int, int]) -> int:
        """Where turn k starts within its mark, which may hold what the generation prompt writes."""
        if not self.opener or self.unprompted or text.endswith(self.opener, 0, span[0]):
            return span[0]
        start = self._direct_start(conversation, text, k)
        return start if start is not None and span[0] < start < span[1] else span[0]

    def _after_header(self, text: str, span: tuple[int, int]) -> tuple[int, int]:
        """The span without the assistant's header, which some templates write where no prompt has it."""
        begun = common_prefix_length(text[span[0] : span[1]], self.opener)
        header = self.opener.partition("<think")[0].rstrip()
        return (span[0] + begun, span[1]) if begun >= len(header) > 2 else span

    def _located_turns(self, conversation: Conversation) -> Marked:
        text = self.render(conversation)
        spans = tuple(self._turn(conversation, text, k) for k in conversation.targets())
        ends = [0, *(end for _, end in spans)]
        for k, previous, (a, b) in zip(conversation.targets(), ends, spans, strict=False):
            if a < previous or a >= b:
                raise InputError(_unlocated(f"turn {k} overlaps another"))
        return Marked(text=text, spans=spans)

    def _turn(self, conversation: Conversation, text: str, k: int) -> tuple[int, int]:
        """Character range of turn k, from the generation prompt to what ends the turn."""
        messages = conversation.messages
        start = self._direct_start(conversation, text, k)
        upto = self.render(conversation, messages[: k + 1])
        if start is not None and text.startswith(upto):
            return start, len(upto)
        stand_in = {**messages[k], "content": PLACEHOLDER}
        whole = self.render(conversation, [*messages[:k], stand_in, *messages[k + 1 :]])
        alone = self.render(conversation, [*messages[:k], stand_in])
        before, found, after = whole.partition(PLACEHOLDER)
        rest = after.removeprefix(alone.partition(PLACEHOLDER)[2])
        if start is None:
            at = before.rfind(self.opener) if self.opener else -1
            start = at + len(self.opener) if at >= 0 else len(before)
        if not found or not text.endswith(rest) or text[:start] != whole[:start]:
            raise InputError(_unlocated(f"turn {k} is not found in the rendered text"))
        return start, len(text) - len(rest)

    def _direct_start(self, conversation: Conversation, text: str, k: int) -> int | None:
        """Where turn k starts if the text before it is the beginning of the whole."""
        if k == 0:
            return None
        head = conversation.messages[:k]
        prompt = self.render(conversation, head, prompt=True)
        if text.startswith(prompt):
            own = text.startswith(self.unprompted, len(prompt))
            return len(prompt) + own * len(self.unprompted)
        bare = self.render(conversation, head)
        shared = common_prefix_length(prompt, text)
        # Some generation prompts open a thought that the full text leaves out.
        return shared if text.startswith(bare) and shared > len(bare) else None

    def _openers(self) -> tuple[str, str]:
        """What stands before the assistant's turn, and how much the generation prompt lacks of it."""
        probe = Conversation(messages=list(PROBE))
        try:
            bare = self.render(probe, PROBE[:1])
            prompt = self.render(probe, PROBE[:1], prompt=True)
            wholes = [self.render(probe), self.render(probe, PROBE[:2])]
        except InputError:
            return "", ""
        if prompt == bare and wholes[1].startswith(bare):
            opener = wholes[1][len(bare) :].partition("qtwo")[0]
            return opener, opener
        # Rather as in an earlier turn: the last may hold a thought.
        found = (prompt[len(bare) : common_prefix_length(prompt, whole)] for whole in wholes)
        return next(filter(None, found), ""), ""

    @property
    def header(self) -> str:
        """What stands before a user's turn: its special tokens begin a turn, not end one."""
        return self._around("qone")[0]

    @property
    def ending(self) -> str:
        """What the template puts after the last turn."""
        return self._around("qten")[1]

    @property
    def turn_header(self) -> str:
        """What stands between an answer's end and the next user's text, without white space."""
        try:
            text = self.render(Conversation(messages=list(PROBE)))
        except InputError:
            return ""
        between = text.partition("qtwo")[2].partition("qsix")[0]
        shared = common_prefix_length(between, self.ending)
        return between[shared:].strip()

    def after(self, word: str) -> str:
        """What follows a word of the probe: an answer, up to the next user's text or the end."""
        return self._around(word)[1]

    def _around(self, word: str) -> tuple[str, str]:
        try:
            before, _, after = self.render(Conversation(messages=list(PROBE))).partition(word)
        except InputError:
            return "", ""
        return before, after


def _turn_weights(
    conversation: Conversation, text: str, spans: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int, float], ...]:
    """The factors of turns: each holds up to the next target, and so for what ends the turn."""
    if not conversation.weights:
        return ()
    targets = conversation.targets()
    if len(targets) != len(spans):
        raise InputError(
            f"the chat template marks {len(spans)} stretches of {len(targets)} target turns, so that the "
            "weights of turns cannot be placed; give another template with --chat_template FILE"
        )
    stops = [*(start for start, _ in spans[1:]), len(text)]
    return tuple(
        (start, stop, conversation.weights.get(k, 1.0))
        for k, (start, _), stop in zip(targets, spans, stops, strict=True)
    )


def _in_parts(message: dict[str, Any]) -> dict[str, Any]:
    """The message with its content as a list of one text."""
    text = message.get("content")
    return (
        {**message, "content": [{"type": "text", "text": text}]}
        if isinstance(text, str)
        else message
    )


def _unlocated(reason: str) -> str:
    return (
        f"the chat template rewrites earlier turns and {reason}; give a template with "
        "{% generation %} marks by --chat_template FILE, or use --chat_template none"
    )
