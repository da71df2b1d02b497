"""Final answers in prompts' completions: where datasets write them, and when two of them are the same."""

import re
from collections.abc import Sequence

from advisor.errors import InputError

NUMBER = re.compile(r"-?\d+\.\d+")
ANSWER_PATTERNS = {
    "gsm8k": r"####[ \t]*(\S+)",
    "boxed": r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}",
    # At the very end, and not a word's own hash as of a heading, a hashtag or a directive.
    "ladder": r"(?:^|(?<=[^#\s]))#([^#$\n]+)\$?\s*\Z",
}
"""Ways to mark the final answer; in the group, with at most one level of braces in a box."""


def find_answer_pattern(references: Sequence[str]) -> str | None:
    """The first of ANSWER_PATTERNS that finds an answer in every reference; None where none does."""
    for pattern in ANSWER_PATTERNS.values():
        compiled = re.compile(pattern)
        if references and all(extract_answer(reference, compiled) for reference in references):
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
