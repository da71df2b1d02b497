"""A thought that stands both within a message's content and beside it: it was thought once."""

import re
from dataclasses import replace

from advisor.chat.calls import Message, thoughts
from advisor.chat.template import THOUGHT_KEYS, Conversation
from advisor.errors import InputError


def thought_once(conversation: Conversation, template: str) -> Conversation:
    """The conversation with every thought in one place, the one that the template reads.

    Args:
        conversation: In tidy form.
        template: Its text; one that names a key of thoughts reads them there, else in the content.

    Raises:
        InputError: The thought within a content is another than the one beside it.
    """
    beside = any(key in template for key in THOUGHT_KEYS) or not template
    messages = [_once(k, m, beside=beside) for k, m in enumerate(conversation.messages)]
    return replace(conversation, messages=messages)


def _once(k: int, message: Message, *, beside: bool) -> Message:
    found = thoughts(message) if message["role"] == "assistant" else []
    content = str(message.get("content") or "")
    within, close, answer = content.rpartition("</think>")
    if not found or not close:
        return message
    pieces = [piece.strip() for piece in re.split("</?think>", within)]
    pieces = list(dict.fromkeys(filter(None, pieces)))
    if pieces and pieces != found:
        if not content.lstrip().startswith("<think>"):  # the answer speaks of the mark
            return message
        raise InputError(
            f"turn {k} has one thought in its content and another beside it; keep one of them"
        )
    if beside or not pieces:
        return {**message, "content": answer.lstrip()}
    return {key: value for key, value in message.items() if key not in THOUGHT_KEYS}
