"""What was assumed or lost in single rows, counted over a dataset: a code each, and its sentence."""

from collections.abc import Iterator, Mapping

THOUGHT_REMOVED = "thought_removed"
TRAINING_VERSION = "training_version"
TOOL_USE = "tool_use"
TOOLS_LEFT_OUT = "tools_left_out"
NULLS = "nulls"
END_GIVEN = "end_given"
BEGINNING_GIVEN = "beginning_given"
PROMPT_REPEATED = "prompt_repeated"
CONTROL_CONTEXT = "control_context"
CONTROL_ANSWER = "control_answer"

UNREAD = "unread "
"""Beginning of the code of a key of messages that nothing reads; the key follows."""

_SENTENCES = {
    THOUGHT_REMOVED: "by its design the chat template removes the thoughts of earlier turns: they "
    "are neither targets nor context.",
    TRAINING_VERSION: "the chat template leaves out a thought or a call, or does not say where "
    "the turns lie; TRL's training version of it is used for them.",
    TOOL_USE: "tools are given; the tokenizer's template tool_use renders them, as in transformers.",
    TOOLS_LEFT_OUT: "the template leaves the definitions of the tools out.",
    NULLS: "a call's arguments hold nulls, which Arrow writes where a key is absent: they are read "
    "as absent (arguments as JSON text keep theirs).",
    END_GIVEN: "the text itself ends with an end token, which is added anyway: it stands there once.",
    BEGINNING_GIVEN: "the text itself begins with the beginning-of-sequence token: it stands there "
    "once and is no target.",
    PROMPT_REPEATED: "the completion repeats the prompt at its start: it is read once, as the prompt.",
    CONTROL_CONTEXT: "a special token is spelled out inside a prompt, a user's or a tool's text; it "
    "becomes that token.",
    CONTROL_ANSWER: "a special token is spelled out inside an answer; it becomes that token, and a "
    "target.",
}


def sentences(counts: Mapping[str, int], rows: int) -> Iterator[str]:
    """One sentence for each remark, with the number of rows it holds for."""
    for code, text in _SENTENCES.items():
        if counts.get(code):
            yield f"In {counts[code]:,} of {rows:,} rows {text}"
    for code, number in counts.items():
        if code.startswith(UNREAD):
            key = code.removeprefix(UNREAD)
            yield f"In {number:,} of {rows:,} rows messages hold {key!r}, which is not read."
