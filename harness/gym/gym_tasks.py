"""Problems of reasoning-gym in three parts without a common one, and how answers to them are scored.

Every problem belongs to one part, by a hash of what is kept apart, so that demonstrations drawn with any seed
hold no problem of a task. A problem is right or wrong: the partial credit that some verifiers give is none.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from datasets import Dataset

from advisor.errors import InputError
from harness.gym import GENERATORS

SIZES = {"development": 100, "test": 300}
"""Problems of a task's parts."""
DEVELOPMENT, TEST = 32, 128
"""Hashes (of 256) below the first are development's, others below the second test's, the rest train's."""
FUTILE = 1000
"""Draws in a row without a new problem after which a generator has no more."""

Row = dict[str, str]


def problem_sets(generator: str, **_: Any) -> dict[str, Dataset]:
    """Parts of distinct problems with `prompt`, `completion` and `entry`, the same on every call.

    What else lm-eval passes, the task file's metadata, is ignored.

    Raises:
        InputError: reasoning-gym is not installed.
    """
    return {part: Dataset.from_list(rows) for part, rows in task_rows(generator).items()}


def demonstrations(generator: str, rows: int, *, seed: int) -> list[Row]:
    """Distinct problems with `prompt` and `completion`, none of them in a task.

    Raises:
        InputError: an unknown generator, one with fewer problems, or reasoning-gym is not installed.
    """
    if generator not in GENERATORS:
        raise InputError(f"generator {generator}: not one of {', '.join(GENERATORS)}")
    found = _draw(generator, {"train": rows}, seed=seed)["train"]
    return [{name: row[name] for name in ("prompt", "completion")} for row in found]


def score(document: Mapping[str, str], results: Sequence[str]) -> dict[str, float]:
    """1 where the generator's own verifier finds the answer entirely right, else 0.

    Verifiers differ in strictness: that of `number_sorting` lets sorted numbers be off by 1.
    """
    return {"exact_match": float(_is_right(json.loads(document["entry"]), results[0].strip()))}


def _is_right(entry: Mapping[str, Any], answer: str | None = None) -> bool:
    """Whether an answer, or the reference, is entirely right."""
    verify = _verifier(entry["metadata"]["source_dataset"])
    return verify(entry["answer"] if answer is None else answer, entry) == 1.0


@lru_cache
def task_rows(generator: str) -> dict[str, list[Row]]:
    """Kept, since lm-eval asks again for every score, and figlet's problems take seconds."""
    return _draw(generator, SIZES, seed=0)


def _draw(generator: str, sizes: Mapping[str, int], *, seed: int) -> dict[str, list[Row]]:
    """The first problems of every part that come up.

    One whose reference its own verifier rejects is passed over: `base_conversion` gives none for 0.
    """
    found: dict[str, dict[str, Row]] = {part: {} for part in sizes}
    futile, kept_apart = 0, GENERATORS[generator].kept_apart
    for entry in _entries(generator, f"{' '.join(sizes)} {seed}"):
        short = [part for part, rows in found.items() if len(rows) < sizes[part]]
        if not short or futile == FUTILE:
            break
        futile += 1
        part = _part(entry[kept_apart])
        if part in short and entry["question"] not in found[part] and _is_right(entry):
            found[part][entry["question"]] = _row(entry)
            futile = 0
    for part, rows in found.items():
        if len(rows) < sizes[part]:
            raise InputError(
                f"{generator}: {sizes[part]} {part} problems asked, hardly more than {len(rows)} exist"
            )
    return {part: list(rows.values()) for part, rows in found.items()}


def _row(entry: Mapping[str, Any]) -> Row:
    return {
        "prompt": f"{entry['question'].rstrip()}\nAnswer:",
        "completion": f" {entry['answer']}",
        "entry": json.dumps(entry),
    }


def _part(content: str) -> str:
    byte = hashlib.sha256(content.encode()).digest()[0]
    if byte < DEVELOPMENT:
        return "development"
    return "test" if byte < TEST else "train"


def _entries(generator: str, seed: str) -> Iterator[dict[str, Any]]:
    """Endless; reasoning-gym seeds problem i with seed + i, so that seeds must lie far apart."""
    create = _reasoning_gym().create_dataset
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4])
    sets = [
        create(generator, seed=number, **settings) for settings in GENERATORS[generator].settings
    ]
    index = 0
    while True:
        yield sets[index % len(sets)][index]
        index += 1


@lru_cache
def _verifier(generator: str) -> Callable[[str, Mapping[str, Any]], float]:
    verify: Callable[[str, Mapping[str, Any]], float]
    verify = _reasoning_gym().get_score_answer_fn(generator)
    return verify


def _reasoning_gym() -> Any:
    try:
        import reasoning_gym
    except ImportError as error:
        raise InputError(
            f'the gym\'s problems need reasoning-gym ({error}): pip install "objective-advisor[gym]"'
        ) from error
    return reasoning_gym
