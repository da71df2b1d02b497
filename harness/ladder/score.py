"""What a rung can do: probability of its demonstrations and greedy answers to fresh problems."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.ladder.skills import SKILLS

BATCH = 100
ANSWER_LENGTH = 48


@dataclass(frozen=True, kw_only=True)
class PriorScore:
    """How probable a model finds demonstrations."""

    mean_p: float
    """Mean probability over all completion tokens, terminators included."""
    mean_log_p: float
    """Mean natural log-probability over the same tokens."""
    target_tokens: int
    """Number of those tokens."""


def demonstration_prior(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict[str, str]]
) -> PriorScore:
    """Scores the completions of `rows`, each followed by the terminator."""
    parts = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    logp = torch.cat([_target_logp(model, tokenizer, part) for part in parts])
    return PriorScore(
        mean_p=logp.exp().mean().item(),
        mean_log_p=logp.mean().item(),
        target_tokens=logp.numel(),
    )


def greedy_accuracy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, skill: str, n: int, seed: int
) -> float:
    """Share of `n` fresh problems whose greedy answer is right."""
    rng = Random(f"evaluate {skill} {seed}")
    problems = [SKILLS[skill](rng) for _ in range(n)]
    answers = greedy_answers(model, tokenizer, [f"{problem.prompt}|" for problem in problems])
    return sum(map(str.__eq__, answers, [problem.answer for problem in problems])) / n


def greedy_answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]
) -> list[str]:
    """What stands between `#` and the terminator in each greedy completion; empty if unended."""
    encoded = tokenizer(list(prompts), padding=True, padding_side="left", return_tensors="pt")
    start = encoded["input_ids"].shape[1]
    ids = model.generate(  # type: ignore[operator]  # a mix-in that the base class does not name
        input_ids=encoded["input_ids"],
        attention_mask=encoded["attention_mask"],
        do_sample=False,
        temperature=None,
        max_new_tokens=ANSWER_LENGTH,
    )
    return [_answer(text, tokenizer) for text in tokenizer.batch_decode(ids[:, start:])]


def _answer(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    solution, end, _ = text.partition(str(tokenizer.eos_token))
    return solution.rpartition("#")[2] if end else ""


@torch.no_grad()
def _target_logp(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict[str, str]]
) -> torch.Tensor:
    texts = [row["prompt"] + row["completion"] + str(tokenizer.eos_token) for row in rows]
    encoded = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    ids = encoded["input_ids"]
    starts = torch.tensor([len(tokenizer(row["prompt"])["input_ids"]) for row in rows])
    position = torch.arange(ids.shape[1])
    target = (position >= starts[:, None]) & encoded["attention_mask"].bool()
    logits = model(input_ids=ids, attention_mask=encoded["attention_mask"]).logits.float()
    logp: torch.Tensor = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return logp[target[:, 1:]]
