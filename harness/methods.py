"""What an arm does beside an objective on the demonstrations: preference pairs, the model's own answers.

A method is written like an objective: `dpo` or `dpo(0.5)` with its beta, `OBJECTIVE@own` or
`OBJECTIVE@own(8)` for an objective on the model's own verified answers, with the answers sampled per prompt,
and `cadft@rewritten` for CADFT with its second stage (see `targets`). Pure, without torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from advisor.errors import InputError
from advisor.objectives import get_objective
from harness.study import NLL

DPO, BETA = "dpo", 0.1
OWN, SAMPLES = "own", 4
REWRITTEN = "rewritten"


@dataclass(frozen=True, kw_only=True)
class Method:
    """Where the targets come from, and what is minimised on them."""

    objective: str
    """Label in the table of objectives, or "dpo"."""
    targets: Literal["demonstrations", "pairs", "own", "rewritten"] = "demonstrations"
    """"own": answers of the untouched model that are verified to be right; "rewritten": some, in training."""
    beta: float = BETA
    """Of DPO (arXiv:2305.18290, eq. 7)."""
    samples: int = SAMPLES
    """Answers sampled per prompt, where the targets are the model's own."""

    @property
    def label(self) -> str:
        """As `read_method` reads it back; a number at its default is left out."""
        if self.targets == "pairs":
            return DPO if self.beta == BETA else f"{DPO}({self.beta:g})"
        if self.targets == OWN:
            number = "" if self.samples == SAMPLES else f"({self.samples})"
            return f"{self.objective}@{OWN}{number}"
        return f"{self.objective}@{REWRITTEN}" if self.targets == REWRITTEN else self.objective


def read_method(text: str) -> Method:
    """A method as the user writes it.

    Raises:
        InputError: an unknown objective or source of targets; a number outside its range.
    """
    name, at, source = text.strip().partition("@")
    if not at and (
        match := re.fullmatch(rf"{DPO}(?:\(\s*(?:beta\s*=)?\s*(.*?)\s*\))?", name.lower())
    ):
        beta = BETA if match[1] is None else _number(text, match[1])
        if not 0 < beta < float("inf"):
            raise InputError(f"objective {text}: beta is a number above 0")
        return Method(objective=DPO, targets="pairs", beta=beta)
    label = get_objective(name).label
    if not at:
        return Method(objective=label)
    if source.strip().lower() == REWRITTEN:
        if get_objective(name).name != "cadft":
            raise InputError(
                f"objective {text}: rewriting is the second stage of cadft, not of {label}"
            )
        return Method(objective=label, targets="rewritten")
    if (match := re.fullmatch(rf"{OWN}(?:\(\s*([1-9]\d*)\s*\))?", source.strip().lower())) is None:
        raise InputError(
            f"objective {text}: unknown targets {source!r}: after @ stands {OWN}, or {OWN}(K) for K answers "
            f"per prompt, or {REWRITTEN}"
        )
    return Method(objective=label, targets="own", samples=int(match[1] or SAMPLES))


def _number(text: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InputError(f"objective {text}: {value!r} is not a number") from None


def default_objectives(recommended: str, *, pairs: bool) -> tuple[str, ...]:
    """NLL, -p, the threshold, CADFT, what was recommended, and DPO where there are pairs."""
    arms = (NLL, "neg_p", "threshold", "cadft", recommended, *([DPO] if pairs else []))
    return tuple(dict.fromkeys(arms))


def labels_of(objectives: Sequence[str]) -> tuple[str, ...]:
    """Methods as the user typed them to labels, each once, `nll` first: aliases are one arm."""
    labels = [read_method(text).label for text in objectives]
    return tuple(dict.fromkeys((NLL, *labels)))
