"""A prompt beside a completion that may hold the prompt as well: read once, or refused."""

from collections.abc import Mapping, Sequence
from typing import Any

from advisor.errors import InputError

Messages = Sequence[Mapping[str, Any]]


def start_of_completion(prompt: Messages, completion: Messages) -> int:
    """Number of messages of the completion that are the prompt; 0 where it does not repeat it.

    The completion may put a system text before the prompt's turns.

    Raises:
        InputError: The prompt ends with a user's turn and the completion begins with another.
    """
    said = [_words(m) for m in prompt]
    own = [_words(m) for m in completion]
    systems = next((k for k, m in enumerate(completion) if m["role"] != "system"), len(own))
    for skipped in {0, systems}:
        if said and own[skipped : skipped + len(said)] == said:
            return skipped + len(said)
    begins = next((m["role"] for m in completion if m["role"] != "system"), "assistant")
    if prompt and prompt[-1]["role"] == begins == "user":
        raise InputError(
            "the prompt ends with a user's turn and the completion begins with another one; leave "
            "one of them out, or put both into one column of messages"
        )
    return 0


def _words(message: Mapping[str, Any]) -> tuple[str, str]:
    return str(message["role"]), str(message.get("content") or "").strip()
