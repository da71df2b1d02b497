"""Tasks for `evaluate` of a user's own rows.

Their final answers; answers that a scorer of the user's judges; else a choice among their completions.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from advisor.advice.plan import choosing
from advisor.errors import InputError
from harness.evaluate.final_answers import compile_pattern, extract_answer
from harness.evaluate.user_scorer import ScoredLater, Scorer

LONGEST_CHOICE = 32
"""Characters of a completion that are a choice: whole stories can be told apart by a name in them alone."""
DISTRACTORS = 3
CHOOSING = "choosing"
"""Under `metadata` of such a task: how many of its documents are the development part."""
TOKENS = "tokens"
"""Under `metadata` of such a task: its prompts and choices in the tokens that are trained on."""
SENTENCE_END = re.compile(r"""[.!?]["')\]]*\s+|\n+""")


def held_out_task(
    rows: Sequence[tuple[str, str]],
    *,
    answer_pattern: str,
    max_gen_toks: int = 256,
) -> dict[str, Any]:
    """A task of (prompt, reference completion) rows: exact match of the final answer.

    Args:
        rows: the end-of-sequence token need not be in the reference.
        answer_pattern: regular expression, applied to prediction and reference alike: the first group of
            its last match is the answer, compared after `answers.normalise`.
        max_gen_toks: longest answer in tokens.

    Raises:
        InputError: a broken pattern, or a reference in which it finds nothing.
    """
    pattern = compile_pattern(answer_pattern)
    for number, (_, reference) in enumerate(rows):
        if extract_answer(reference, pattern) is None:
            raise InputError(
                f"--answer_regex {answer_pattern}: finds no answer in the completion of held-out row {number}"
            )

    def compare(document: Mapping[str, str], results: Sequence[str]) -> dict[str, float]:
        wanted = extract_answer(document["reference"], pattern)
        return {"exact_match": float(extract_answer(results[0], pattern) == wanted)}

    return {
        "task": "held_out",
        **_generated(rows, max_gen_toks),
        "process_results": compare,
        "metric_list": [_mean_of("exact_match")],
    }


def scored_task(
    rows: Sequence[tuple[str, str]], *, scorer: Scorer, max_gen_toks: int = 256
) -> dict[str, Any]:
    """A task of (prompt, reference completion) rows: what a scorer of the user's makes of the answers.

    Args:
        rows: the texts that the scorer gets.
        scorer: is tried on the first rows.
        max_gen_toks: longest answer in tokens.

    Raises:
        ScorerFailed: the scorer fails on these rows.
    """
    scorer.check(rows)
    return {
        "task": "held_out_scored",
        **_generated(rows, max_gen_toks),
        "process_results": ScoredLater(scorer=scorer),
        "metric_list": [_mean_of(scorer.name)],
    }


def _generated(rows: Sequence[tuple[str, str]], max_gen_toks: int) -> dict[str, Any]:
    """What tasks of (prompt, reference) rows that are answered freely have in common."""
    return {
        "custom_dataset": _one_split(
            [{"prompt": prompt, "reference": reference} for prompt, reference in rows]
        ),
        "test_split": "test",
        "metadata": {CHOOSING: choosing(len(rows))},
        "fewshot_split": "test",  # lm-eval leaves the document itself out
        "output_type": "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": "reference",
        "target_delimiter": "",
        "generation_kwargs": {"until": [], "max_gen_toks": max_gen_toks},
    }


def choice_task(rows: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A task of (prompt, completion) rows without a final answer: the likeliest of four completions.

    A row's own completion stands among three of other rows, the nearest to it in length, all cut to their
    first words. Right is a row whose own has the highest log-likelihood per character given the prompt
    (acc_norm, which decides), or the highest in sum (acc). Where all rows have four completions or fewer
    between them, as labels do, all of these are the choices.

    What it sees: whether the prompt helps the model to tell its completion from others. A model that makes
    all completions likelier by as much per character, as training on likelihood does, gains nothing, unlike
    in raw NLL. What it cannot see: whether generated text is good, ends or varies. It is no full protection
    against sharpening, which changes what one unlikely token weighs in a completion, and with that a choice;
    and it still asks for the likelihood of text like that which NLL is trained on. Generated answers that
    can be checked are better evidence: give `--answer_regex` or `--tasks` where there are any. A completion
    occurs in several documents, which are therefore not quite independent.

    Args:
        rows: where the prompt is blank, the completion is split: see `split_text`.

    Raises:
        InputError: no two different completions.
    """
    pairs = [chosen_pair(*row) for row in rows]
    pool = sorted({text for _, text in pairs if text.strip()}, key=_by_length)
    if len(pool) < 2:
        raise InputError(
            "no benchmark: the held-out rows have no two different completions to choose from; give --tasks "
            "(lm-eval names or a YAML file)"
        )
    documents = [
        {"prompt": prompt, **_choices(completion, pool)}
        for prompt, completion in pairs
        if completion.strip()
    ]
    return {
        "task": "held_out_choice",
        "custom_dataset": _one_split(documents),
        "test_split": "test",
        "metadata": {CHOOSING: choosing(len(documents))},
        "fewshot_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "prompt",
        "doc_to_target": "gold",
        "doc_to_choice": "choices",
        "target_delimiter": "",
        "metric_list": [_mean_of("acc_norm"), _mean_of("acc")],  # the first decides,
    }


def chosen_pair(prompt: str, completion: str) -> tuple[str, str]:
    """What a choice follows, and the choice: of a row without a prompt, both parts of its completion."""
    before, text = (prompt, completion) if prompt.strip() else split_text(completion)
    return before, _cut(text)


def split_text(text: str) -> tuple[str, str]:
    """A text at the end of the sentence nearest to its middle, else at white space, else in the middle."""
    middle = len(text) / 2
    for pattern in (SENTENCE_END, re.compile(r"\s+")):
        ends = [match.end() for match in pattern.finditer(text.rstrip())]
        if ends:
            at = min(ends, key=lambda end: abs(end - middle))
            return text[:at], text[at:]
    return text[: len(text) // 2], text[len(text) // 2 :]


def _by_length(text: str) -> tuple[int, float]:
    """Order among equally long ones is drawn from the content: neighbours in the alphabet begin alike."""
    return len(text), random.Random(text).random()


def _cut(completion: str) -> str:
    """The first words, at most LONGEST_CHOICE characters of them; a longer first word is cut."""
    if len(completion) <= LONGEST_CHOICE:
        return completion
    head = completion[:LONGEST_CHOICE]
    words = re.match(r"(?s)(.*\S)\s", head)
    return words[1] if words and not completion[LONGEST_CHOICE].isspace() else head


def _choices(own: str, pool: Sequence[str]) -> dict[str, Any]:
    """A completion among its neighbours in a pool sorted by length, at a place drawn from its content."""
    at = pool.index(own)
    near = [text for text in pool[max(0, at - DISTRACTORS) : at + DISTRACTORS + 1] if text != own]
    near = sorted(near, key=lambda text: abs(len(text) - len(own)))[:DISTRACTORS]
    gold = random.Random(own).randrange(len(near) + 1)
    return {"choices": [*near[:gold], own, *near[gold:]], "gold": gold}


def _one_split(documents: Sequence[Mapping[str, Any]]) -> Callable[..., Any]:
    """What lm-eval calls for a task's data."""
    from datasets import Dataset

    return lambda **_: {"test": Dataset.from_list([dict(document) for document in documents])}


def _mean_of(metric: str) -> dict[str, Any]:
    return {"metric": metric, "aggregation": "mean", "higher_is_better": True}
