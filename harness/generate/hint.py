"""The prompt of the hinted stream: a question, its reference answer, and what to make of them.

A verified answer ends as the demonstrations do, so the hint says how: `{ending}` is the demonstration's final
answer as it is marked there (`#### 72`), `{ending:55}` another answer so marked, for an example in the hint.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from advisor.errors import InputError

HINT = """Below stand a question and an answer to it that is known to be right. Turn the answer into a full \
solution that reaches the same result in the same way.

Write two parts. Under the heading "# Analyze", go through the given answer line by line: say what the line \
does, why it holds, and what it leaves unsaid. Under the heading "# CoT", write the solution step by step, \
in the style in which you yourself would solve the question; it must not mention that an answer was given. \
Its last line is the final result, marked as in the given answer.

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
{ending:55}

Now yours:

# Question
{question}
# Answer
{answer}

Begin with the heading "# Analyze". After the analysis write the heading "# CoT" on a line of its own, then \
the solution. The last line of the solution is:
{ending}"""
SHORT = """{question}

The right solution is:
{answer}

Write this solution again, step by step and in your own words. Its last line is:
{ending}"""
"""In the place of HINT for a model that writes no analysis: without an example, which a small one copies."""
MARKER = "# CoT"
"""Ends the analysis that HINT asks for."""
_FIELD = re.compile(r"\{(question|answer|ending)(?::([^{}\n]*))?\}")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a demonstration marks its final answer."""

    before: str
    value: str
    """The final answer as it is written there."""
    after: str = ""

    def of(self, value: str | None = None) -> str:
        """The final answer with its mark; another one so marked."""
        return f"{self.before}{self.value if value is None else value}{self.after}"


def ending_of(answer: str, pattern: re.Pattern[str], splitter: str | None = None) -> Ending:
    """How an answer that the pattern matches marks its end: from the last splitter to the match's end.

    From where the match begins, where no splitter is given or none stands there.
    """
    found = list(pattern.finditer(answer))[-1]
    number = next((i for i in range(1, pattern.groups + 1) if found[i] is not None), 0)
    first, last = found.span(number)
    mark = answer.rfind(splitter, 0, first) if splitter else -1
    start = found.start() if mark < 0 else mark
    return Ending(
        before=answer[start:first], value=answer[first:last], after=answer[last : found.end()]
    )


def fill(hint: str, question: str, answer: str, ending: Ending) -> str:
    """The hint with a row's texts for `{question}`, `{answer}`, `{ending}` and `{ending:TEXT}`."""
    parts = {"question": question, "answer": answer}

    def filled(found: re.Match[str]) -> str:
        name, text = found.groups()
        if name == "ending":
            return ending.of(text)
        return parts[name] if text is None else found[0]

    # In one pass: a question may itself hold the word {answer}.
    return _FIELD.sub(filled, hint)


def read_hint(path: str | None, *, analysis: bool = True) -> str:
    """A user's hint from a file; without one HINT, or SHORT where no analysis is asked for.

    Raises:
        InputError: the file cannot be read, or lacks a place for the question or the answer.
    """
    if path is None:
        return HINT if analysis else SHORT
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
