"""Final answers in prompts' completions: where datasets write them, and when two of them are the same."""

import re
from collections.abc import Sequence

from advisor.errors import InputError

NUMBER = re.compile(r"-?\d+\.\d+")
ANSWER_PATTERNS = {
    "gsm8k": r"####[ \t]*(\S+)",
    "line": r"####[ \t]*(\S[^\n]*)",
    "boxed": r"\\boxed\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}",
    # At the very end, and not a word's own hash as of a heading, a hashtag or a directive.
    "ladder": r"(?:^|(?<=[^#\s]))#([^#$\n]+)\$?\s*\Z",
}
"""Ways to mark the final answer, which is the group; with at most two levels of braces in a box."""
WIDER = {"gsm8k": "line"}
"""A way that takes a word -> the one that takes the rest of the line, for where an answer has several."""


def find_answer_pattern(references: Sequence[str]) -> str | None:
    """The first of ANSWER_PATTERNS that finds the whole answer of every reference; None where none does."""
    for name, pattern in ANSWER_PATTERNS.items():
        found = [extract_answer(reference, re.compile(pattern)) for reference in references]
        if not all(found) or not found:
            continue
        if name in WIDER:
            wider = re.compile(ANSWER_PATTERNS[WIDER[name]])
            if found != [extract_answer(reference, wider) for reference in references]:
                continue
        return pattern
    return None


def compile_pattern(answer_pattern: str) -> re.Pattern[str]:
    """A user's regular expression; a broken one is an InputError."""
    try:
        return re.compile(answer_pattern)
    except re.error as error:
        raise InputError(
            f"--answer_regex {answer_pattern}: not a regular expression ({error})"
        ) from error


def extract_answer(text: str, pattern: re.Pattern[str]) -> str | None:
    """The normalised answer: the first group of the last match, or all of it; None where nothing matches."""
    matches = list(pattern.finditer(text))
    if not matches:
        return None
    groups = [group for group in matches[-1].groups() if group is not None]
    return normalise(groups[0] if groups else matches[-1][0])


def normalise(answer: str) -> str:
    """Without thousands separators, currency, closing full stop or comma, and superfluous white space.

    Numbers are written in one way: `18.00` is `18`.
    """
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", " ".join(answer.split())).rstrip(".,")
    bare = re.sub(r"^(-?)[$\u20ac\u00a3]\s?(?=[\d.])", r"\1", text)
    return re.sub(r"(\.\d*?)0+$", r"\1", bare).rstrip(".") if NUMBER.fullmatch(bare) else bare
