"""Conversations to marked text, every word accounted for: which template, in which spelling.

Rows with tools take the tokenizer's `tool_use` template where it has one, as in transformers. What a
template loses is tried in other spellings of the same row and in TRL's training version of the
template; the first that shows everything is taken. That is decided once for all rows of one shape,
on words that occur nowhere else, and every row is checked besides.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from transformers import PreTrainedTokenizerBase

from advisor.chat import remarks
from advisor.chat.accounting import LeftOut, Rules, account, anywhere, foreign, left_out
from advisor.chat.calls import shape, spellings, stand_in, thoughts, tidy
from advisor.chat.messages import unread
from advisor.chat.plain import PLAIN_TEXT
from advisor.chat.stretches import stretches
from advisor.chat.template import ChatTemplate, Conversation, Marked
from advisor.chat.template_source import given_source, own_source, training_version
from advisor.chat.thoughts import thought_once
from advisor.errors import InputError


class Renderer:
    """Renders conversations by a chat template; refuses what the template would lose."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, source: str | None, eos_token: str | None
    ) -> None:
        tools: str | None = None
        if source is None and tokenizer.chat_template:
            kind = "tokenizer"
            text, tools = own_source(tokenizer)
        elif source is None or source == "none":
            kind, text = "plain", PLAIN_TEXT
        else:
            kind, text = given_source(source)
        self.default = _Version(
            tokenizer, ChatTemplate(tokenizer, kind, text, eos_token), eos_token
        )
        self.tool_use: _Version | None = None
        if tools is not None:
            self.tool_use = _Version(
                tokenizer, ChatTemplate(tokenizer, kind, tools, eos_token), eos_token
            )
        self.control = control_tokens(tokenizer)

    @property
    def kind(self) -> str:
        """`tokenizer`, `file`, `string` or `plain`."""
        return self.default.template.kind

    @property
    def text(self) -> str:
        """The template of rows without tools, or a readable form of the plain one."""
        return self.default.template.text

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed of the template, whatever the rows."""
        return self.default.template.notes

    @property
    def templates(self) -> list[ChatTemplate]:
        """All that may be used."""
        versions = [self.default, *([self.tool_use] if self.tool_use else [])]
        return [t for version in versions for t in version.templates]

    def mark(self, conversation: Conversation) -> Marked:
        """Render a conversation and mark its targets; InputError if a word is lost or misplaced."""
        conversation = tidy(conversation)
        chosen = self.tool_use if self.tool_use and conversation.tools else self.default
        found = list(conversation.remarks)
        if chosen is self.tool_use:
            found.append(remarks.TOOL_USE)
        conversation = thought_once(conversation, chosen.template.text)
        conversation, ended = chosen.once_ended(conversation)
        marked = chosen.mark(conversation)
        found += ended
        found += marked.remarks
        found += self._control(conversation)
        found += (
            remarks.UNREAD + key for key in unread(conversation.messages, chosen.template.text)
        )
        return replace(marked, remarks=tuple(dict.fromkeys(found)))

    def _control(self, conversation: Conversation) -> Iterator[str]:
        """Which side of a conversation spells special tokens out."""
        for message in conversation.messages:
            if self.control.search(str(message.get("content") or "")):
                own = message["role"] == "assistant"
                yield remarks.CONTROL_ANSWER if own else remarks.CONTROL_CONTEXT


class _Version:
    """One template, TRL's training version of it, and what is known of the shapes of rows."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, template: ChatTemplate, eos_token: str | None
    ) -> None:
        self.template = template
        self.templates = [template]
        training = None if template.kind == "plain" else training_version(tokenizer, template.text)
        if training and training != template.text:
            self.templates.append(ChatTemplate(tokenizer, template.kind, training, eos_token))
        self.ends = _ends(template, tokenizer, eos_token)
        self.rules = [self._rules(t, tokenizer) for t in self.templates]
        self.kept: dict[object, bool] = {}
        self.shown: dict[object, bool] = {}
        self.plans: dict[object, tuple[int, int] | LeftOut | None] = {}

    def _rules(self, template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> Rules:
        special = tokenizer.special_tokens_map
        bos = str(tokenizer.bos_token or "")
        if bos in (special.get("eos_token"), *self.ends):
            bos = ""
        header = "" if template.kind == "plain" else template.turn_header
        header = header if len(header) > 2 else ""
        return Rules(
            forbidden=tuple(filter(None, (header, bos))),
            keeps_thought=lambda message: self._keeps_thought(template, message),
        )

    def _keeps_thought(self, template: ChatTemplate, message: Mapping[str, Any]) -> bool:
        """Whether the template shows the thoughts of such a message where it is the last."""
        probe = Conversation(messages=[{"role": "user", "content": "qone"}, dict(message)])
        key = (id(template), shape(probe))
        if key not in self.kept:
            try:
                account(stand_in(probe), template.mark(stand_in(probe)), Rules())
                self.kept[key] = True
            except InputError:
                self.kept[key] = False
        return self.kept[key]

    def once_ended(self, conversation: Conversation) -> tuple[Conversation, list[str]]:
        """The conversation without end tokens that the template writes as well."""
        messages = list(conversation.messages)
        for k, message in enumerate(messages):
            ends = self.ends[k == len(messages) - 1]
            text = str(message.get("content") or "")
            cut = without_ends(text, ends) if message["role"] == "assistant" and ends else text
            if cut != text:
                messages[k] = {**message, "content": cut}
        if messages == conversation.messages:
            return conversation, []
        return replace(conversation, messages=messages), [remarks.END_GIVEN]

    def mark(self, conversation: Conversation) -> Marked:
        """The first version and spelling that shows every word; else the refusal of the first."""
        if not conversation.targets():
            return self.template.mark(conversation)
        plan = self._plan(conversation)
        errors: list[InputError] = []
        for version, other in self._tries(conversation, plan):
            try:
                marked = self._attempt(other, version)
            except InputError as error:
                errors.append(error)
            else:
                if isinstance(plan, LeftOut):
                    raise _in_words_of(conversation, plan)
                placed = stretches(self.templates[version], other, marked)
                return replace(marked, weights=(*marked.weights, *placed))
        raise next((e for e in errors if isinstance(e, LeftOut)), errors[0])

    def _tries(
        self, conversation: Conversation, plan: tuple[int, int] | LeftOut | None
    ) -> Iterator[tuple[int, Conversation]]:
        """Versions and spellings of a row, those that hold for its shape first."""
        if isinstance(plan, tuple):
            yield plan[0], next(islice(spellings(conversation), plan[1], None), conversation)
        for version in range(len(self.templates)):
            for other in spellings(conversation):
                yield version, other

    def _attempt(self, conversation: Conversation, version: int, *, exact: bool = False) -> Marked:
        template, rules = self.templates[version], replace(self.rules[version], exact=exact)
        try:
            marked = template.mark(conversation)
        except InputError:
            # A word that is lost says more than a turn that is not found.
            anywhere(conversation, template.render(conversation), rules)
            raise
        found = account(conversation, marked, rules)
        if version:
            found = (*found, remarks.TRAINING_VERSION)
        if conversation.tools and not self._shows_tools(conversation, version, marked.text):
            found = (*found, remarks.TOOLS_LEFT_OUT)
        return replace(marked, remarks=found)

    def _shows_tools(self, conversation: Conversation, version: int, text: str) -> bool:
        """Whether the text would be another without the tools; asked once for each beginning."""
        tools = conversation.tools or []
        key = (version, conversation.messages[0]["role"], "function" in tools[0])
        if key not in self.shown:
            bare = replace(conversation, tools=None)
            self.shown[key] = self.templates[version].render(bare) != text
        return self.shown[key]

    def _plan(self, conversation: Conversation) -> tuple[int, int] | LeftOut | None:
        """Version and spelling for rows of this shape; None where the row itself must tell."""
        key = shape(conversation)
        if key not in self.plans:
            self.plans[key] = self._find_plan(stand_in(conversation))
        return self.plans[key]

    def _find_plan(self, conversation: Conversation) -> tuple[int, int] | LeftOut | None:
        lost: LeftOut | None = None
        for version in range(len(self.templates)):
            for n, other in enumerate(spellings(conversation)):
                try:
                    self._attempt(other, version, exact=True)
                    return version, n
                except LeftOut as error:
                    lost = lost or error
                except InputError:  # what a template refuses may be the words: the row will tell
                    continue
        return lost


def _in_words_of(conversation: Conversation, lost: LeftOut) -> InputError:
    """What was found on words that occur nowhere else, in the words of the row."""
    message = conversation.messages[lost.turn]
    if lost.kind == "foreign":
        return foreign(conversation, lost.turn, lost.other)
    if lost.kind not in ("text", "thought"):
        return lost
    text = str(message.get("content") or message.get("refusal") or "")
    beside = thoughts(message) if lost.kind == "thought" else []
    words = beside[0] if beside else text.split("</think>")[-1 if lost.kind == "text" else 0]
    return left_out(conversation, lost.turn, lost.kind, words)


def without_ends(text: str, ends: tuple[str, ...]) -> str:
    """A text without the end tokens and the white space around them at its end."""
    cut = text.rstrip()
    while end := next((end for end in ends if cut.endswith(end)), ""):
        text = cut = cut.removesuffix(end).rstrip()
    return text


def _ends(
    template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, eos_token: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tokens that the template writes after an earlier turn and after the last one."""
    if template.kind == "plain":
        return ((eos_token,), (eos_token,)) if eos_token else ((), ())
    added = {t.content for t in tokenizer.added_tokens_decoder.values() if t.content.strip()}
    found = []
    for after in (template.after("qtwo"), template.after("qten")):
        start = after.lstrip()
        own = {
            token for token in {*added, template.terminator} if token and start.startswith(token)
        }
        found.append((*own, *([eos_token] if own and eos_token and eos_token not in own else [])))
    return found[0], found[1]


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """A pattern of the special tokens as they would be spelled out in a text."""
    added = tokenizer.added_tokens_decoder.values()
    words = sorted({t.content for t in added if t.special and len(t.content.strip()) > 1})
    return re.compile("|".join(map(re.escape, words)) or "(?!)")
