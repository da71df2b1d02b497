"""What a fine-tune may forget: two guard tasks that are never trained on, and general text.

A guard's answer counts as right where it contains the word that is asked for: the untouched model answers in
a sentence, and whether a tuned one still knows is the question, not in which words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from advisor.data.dataset import Example, load_dataset
from advisor.errors import InputError
from advisor.model.load import LoadedModel
from advisor.prior.probe import Probe
from harness.generate.decoding import continuations, prompt_of, stops_of

CAPITALS = (
    "Austria Vienna|Belgium Brussels|China Beijing|Cuba Havana|Egypt Cairo|France Paris|Germany Berlin|"
    "Greece Athens|Hungary Budapest|Iran Tehran|Iraq Baghdad|Ireland Dublin|Italy Rome|Japan Tokyo|"
    "Kenya Nairobi|Norway Oslo|Peru Lima|Poland Warsaw|Portugal Lisbon|Russia Moscow|Spain Madrid|"
    "Sweden Stockholm|Thailand Bangkok|Turkey Ankara"
)
PLURALS = (
    "mouse mice|child children|foot feet|tooth teeth|goose geese|man men|woman women|knife knives|"
    "leaf leaves|wife wives|wolf wolves|life lives|city cities|baby babies|story stories|party parties|"
    "box boxes|bus buses|church churches|dish dishes|potato potatoes|hero heroes|brush brushes|fox foxes"
)
QUESTIONS: Mapping[str, tuple[str, str]] = {
    "capital": ("What is the capital of {}?", CAPITALS),
    "plural": ("What is the plural of {}?", PLURALS),
}
"""Guard -> its question, and what is asked for with the answers."""
SYSTEM = "Answer briefly."
"""What every chat begins with; the template's own line is longer than many a row."""
NEW_TOKENS = 10
"""Of an answer to a guard: one sentence."""
ROWS, TOKENS, LEAST = 200, 24, 200
"""Of general text: passages, tokens that are read of each, characters of the shortest."""


def documents(guard: str) -> list[tuple[str, str]]:
    """Questions of a guard, each with the word that answers it."""
    question, pairs = QUESTIONS[guard]
    found = (pair.split(" ") for pair in pairs.split("|"))
    return [(question.format(about), answer) for about, answer in found]


def chat(question: str, answer: str) -> dict[str, Any]:
    """A question with its answer as a row."""
    turns = ("system", SYSTEM), ("user", question)
    prompt = [{"role": role, "content": text} for role, text in turns]
    return {"prompt": prompt, "completion": [{"role": "assistant", "content": answer}]}


def guarded(loaded: LoadedModel, guard: str) -> list[bool]:
    """Whether each document of a guard is answered rightly, greedily."""
    asked = documents(guard)
    rows = load_dataset([chat(text, word) for text, word in asked], loaded)
    found = continuations(
        loaded.model, [prompt_of(example) for example in rows],
        stops_of(loaded.model, loaded.tokenizer), max_new_tokens=NEW_TOKENS,
        pad_token_id=loaded.tokenizer.pad_token_id, do_sample=False,
    )  # fmt: skip
    answers = (str(loaded.tokenizer.decode(tokens, skip_special_tokens=True)) for tokens in found)
    return [contains(text, word) for text, (_, word) in zip(answers, asked, strict=True)]


def contains(text: str, word: str) -> bool:
    """Whether a text has a word as a whole, in whatever case."""
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def passages(file: Path, field: str) -> list[dict[str, str]]:
    """The passages of general text that are read, drawn from a file of rows, the same on every call.

    Raises:
        InputError: the file cannot be read, or has too few long texts in this column.
    """
    import json

    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file}: not JSON lines of text ({error}): give another --text"
        ) from error
    texts = [str(row[field]) for row in rows if len(str(row.get(field) or "")) >= LEAST]
    if len(texts) < ROWS:
        raise InputError(
            f"{file}: {len(texts)} rows have {LEAST} characters or more in {field!r}, and {ROWS} are read: "
            "give another --text or --text_field"
        )
    return [{"text": text} for text in Random("general text").sample(texts, ROWS)]


def read(loaded: LoadedModel, texts: Sequence[Mapping[str, str]]) -> list[Example]:
    """Passages as examples, cut to `TOKENS`."""
    return list(load_dataset(list(texts), loaded, max_length=TOKENS))


def text_nll(loaded: LoadedModel, examples: Sequence[Example]) -> float:
    """Mean NLL of general text, nats a token."""
    scored = [one.log_p for batch in Probe(loaded).score(examples) for one in batch]
    return -float(np.concatenate(scored).mean(dtype=np.float64))
