"""How often an untouched model answers rightly, and what published rules make of it.

Sixteen answers are sampled to each of some prompts whose final answer can be checked. Reinforcement
learning learns from what such answers differ in, demonstrations teach what they lack. The rules are those of
papers and threads on models of 0.5B parameters and more:

- A prompt whose answers are all right or all wrong has no gradient in GRPO (arXiv:2402.03300; DAPO,
  arXiv:2503.14476, leaves such prompts out), so that what can be learnt is within the prompts between.
- Reinforcement learning brings pass@1 nearer to pass@k and seldom beyond it, while distillation from a better
  model does go beyond (arXiv:2504.13837); pass@large k of a start tells better than its pass@1 what
  reinforcement learning will reach (arXiv:2510.01624).
- Between 10 and 70 % of the answers right, reinforcement learning; below, demonstrations first
  (https://github.com/huggingface/trl/discussions/7534, an answer there, without figures).
- Items between .05 and .95 are those on which a fine-tune can lose and gain (TailSFT, arXiv:2608.25756).

That pass@16 below .1 is next to nothing, and pass@1 of .95 next to all, is ours. What our own models of 0.15M
parameters did is in docs/afterwards.md: two skills, which is too few to hold the rules against.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from advisor.prior.intervals import Interval

FEW, MANY, NEARLY_ALL = 0.1, 0.7, 0.95
"""Shares of right answers at which the rules change their mind."""

Way = Literal["nothing", "reinforcement", "fine-tuning first", "demonstrations", "fine-tuning"]
WAYS: dict[Way, str] = {
    "nothing": "nearly every answer is right: neither training on these prompts has much to win",
    "reinforcement": "reinforcement learning on final answers has what it needs, and may do more than "
    "demonstrations do (advisor confirm --then grpo tries it)",
    "fine-tuning first": "right answers are too rare to learn from alone: fine-tune first, and reinforcement "
    "learning after it may do more (advisor confirm --then grpo tries it)",
    "demonstrations": "there is next to nothing to reward: demonstrations, or distillation from a model that "
    "can, before any reinforcement learning",
    "fine-tuning": "most answers are right, and reinforcement learning has few prompts to learn from: "
    "fine-tuning, or decoding at a lower temperature",
}
"""What the rules say, and how it is told."""


@dataclass(frozen=True, kw_only=True)
class PassRates:
    """What sampled answers of the untouched model came to."""

    prompts: int
    """That were answered."""
    samples: int
    """Answers to each."""
    pass_at_1: float
    """Share of all answers that are right."""
    pass_at_1_interval: Interval
    """95 % interval over prompts."""
    pass_at_k: float
    """Share of prompts with a right answer among them."""
    pass_at_k_interval: Interval
    """95 % interval (Wilson)."""
    between: float
    """Share of prompts of whose answers more than 5 % and less than 95 % are right."""

    @property
    def way(self) -> Way:
        """What the published rules say."""
        if self.pass_at_1 >= NEARLY_ALL:
            return "nothing"
        if self.pass_at_k < FEW:
            return "demonstrations"
        if self.pass_at_1 < FEW:
            return "fine-tuning first"
        return "reinforcement" if self.pass_at_1 <= MANY else "fine-tuning"

    @property
    def words(self) -> str:
        """The figures and what the rules say, for a reader."""
        return (
            f"of {self.samples} answers to each of {self.prompts} prompts {self.pass_at_1:.0%} are right "
            f"(pass@1), {self.pass_at_k:.0%} of the prompts have a right one (pass@{self.samples}), and "
            f"{self.between:.0%} are right between 5 and 95 % of the time. By rules that were published for "
            f"large models, and that are not measured here, {WAYS[self.way]}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `way` is added."""
        return {**asdict(self), "way": self.way}
