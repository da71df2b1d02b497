"""The prompt of the hinted stream: a question, its reference answer, and what to make of them."""

from __future__ import annotations

import re
from pathlib import Path

from advisor.errors import InputError

HINT = """Below stand a question and an answer to it that is known to be right. Turn the answer into a full \
solution that reaches the same result in the same way.

Write two parts. Under the heading "# Analyze", go through the given answer line by line: say what the line \
does, why it holds, and what it leaves unsaid. Under the heading "# CoT", write the solution step by step, \
in the style in which you yourself would solve the question; it must not mention that an answer was given. \
It ends with the final result, marked as in the given answer.

An example:

# Question
What is 1 + 2 + ... + 10?
# Answer
5 * 11 = 55
# Analyze
Line 1: "5 * 11 = 55" pairs the first number with the last, the second with the last but one, and so on. \
There are 10 / 2 = 5 pairs, and each makes 1 + 10 = 11; neither is said.
# CoT
I look for a way that is shorter than adding one by one. The first and the last number make 1 + 10 = 11, the \
second and the last but one 2 + 9 = 11, and so does every such pair. Ten numbers are five pairs, so the sum \
is 5 * 11 = 55.

Now yours:

# Question
{question}
# Answer
{answer}"""
MARKER = "# CoT"
"""Ends the analysis that HINT asks for."""
_FIELD = re.compile(r"\{(?:question|answer)\}")


def fill(hint: str, question: str, answer: str) -> str:
    """The hint with a row's texts in the place of `{question}` and `{answer}`."""
    parts = {"{question}": question, "{answer}": answer}
    # In one pass: a question may itself hold the word {answer}.
    return _FIELD.sub(lambda found: parts[found[0]], hint)


def read_hint(path: str | None) -> str:
    """A user's hint from a file, HINT where there is none; InputError where it lacks the answer's place."""
    if path is None:
        return HINT
    try:
        hint = Path(path).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"--hint {path}: cannot be read ({reason}); give a text file") from None
    missing = [word for word in ("{question}", "{answer}") if word not in hint]
    if missing:
        raise InputError(
            f"--hint {path}: {' and '.join(missing)} must stand in it, where the row's text goes"
        )
    return hint
