"""What an arm does beside an objective on the demonstrations: preference pairs, own answers, a teacher.

A method is written like an objective:

- `dpo` or `dpo(0.5)`, with its beta;
- `OBJECTIVE@own` or `OBJECTIVE@own(8)`: an objective on the model's own verified answers, with the answers
  sampled per prompt;
- `cadft@resampled` or `cadft@resampled(0.1)`: CADFT with its second stage (see `resampling`), with the share
  of the examples chosen at a time;
- `opd` and `fire`: on-policy distillation and FiRe-OPD (see `distill`), `opd(sampled)` with the loss of the
  drawn token alone, `fire(percentile=0)` or `fire(per_teacher)` with other settings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from advisor.errors import InputError
from advisor.objectives.table import get_objective
from harness.distill.fire_settings import Fire
from harness.records.arm import DPO, FIRE, NLL, OPD, PAIRS, ROLLOUTS
from harness.train.resampling import Resampling

BETA = 0.1
OWN, SAMPLES = "own", 4
RESAMPLED, SHARE = "resampled", Resampling.share
SAMPLED = "sampled"
FIRE_NUMBERS = ("alpha", "beta", "percentile")
FIRE_SETTINGS = {name: name for name in FIRE_NUMBERS} | {"per_teacher": "filter_per_teacher"}
"""Word to field of `Fire`."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """Where the targets come from, and what is minimised on them."""

    objective: str
    """Label in the table of objectives, or "dpo", "opd", "fire"."""
    targets: Literal["demonstrations", "pairs", "own", "resampled", "rollouts"] = "demonstrations"
    """"own": answers of the untouched model that are verified to be right; "resampled": some, in training;
    "rollouts": the student's own answers, and at each of their tokens what a teacher makes of it."""
    beta: float = BETA
    """Of DPO (arXiv:2305.18290, eq. 7)."""
    samples: int = SAMPLES
    """Answers sampled per prompt, where the targets are the model's own."""
    share: float = SHARE
    """Of the examples that are chosen at a time, where targets are resampled in training."""
    form: Literal["full", "sampled"] = "full"
    """Of the loss on rollouts, see `on_policy.FORMS`."""
    fire: Fire | None = None
    """Filter and weights of rollouts; None: neither."""

    @property
    def label(self) -> str:
        """As `read_method` reads it back; a number at its default is left out."""
        if self.targets == PAIRS:
            return DPO if self.beta == BETA else f"{DPO}({_shortest(self.beta)})"
        if self.targets == ROLLOUTS:
            inside: list[str] = [SAMPLED] if self.form == SAMPLED else []
            for word, field in FIRE_SETTINGS.items():
                value = getattr(self.fire or Fire(), field)
                if value != getattr(Fire(), field):
                    inside.append(f"{word}={_shortest(value)}" if word in FIRE_NUMBERS else word)
            return f"{self.objective}({', '.join(inside)})" if inside else self.objective
        if self.targets == OWN:
            number = "" if self.samples == SAMPLES else f"({self.samples})"
            return f"{self.objective}@{OWN}{number}"
        if self.targets == RESAMPLED:
            number = "" if self.share == SHARE else f"({_shortest(self.share)})"
            return f"{self.objective}@{RESAMPLED}{number}"
        return self.objective


def read_method(text: str) -> Method:
    """A method as the user writes it.

    Raises:
        InputError: an unknown objective or source of targets; a number outside its range.
    """
    if match := re.fullmatch(rf"({OPD}|{FIRE})(?:\s*\((.*)\))?", text.strip().lower()):
        return _distillation(text, match[1], match[2] or "")
    name, at, source = text.strip().partition("@")
    if not at and (
        match := re.fullmatch(rf"{DPO}(?:\s*\(\s*(?:beta\s*=)?\s*(.*?)\s*\))?", name.lower())
    ):
        beta = BETA if match[1] is None else _number(text, match[1])
        if not 0 < beta < float("inf"):
            raise InputError(f"objective {text}: beta is a number above 0")
        return Method(objective=DPO, targets="pairs", beta=beta)
    label = get_objective(name).label
    if not at:
        return Method(objective=label)
    if source.strip().lower().startswith("rewritten"):
        raise InputError(f"objective {text}: rewritten is now {RESAMPLED}")
    if match := re.fullmatch(rf"{RESAMPLED}(?:\s*\(\s*(.*?)\s*\))?", source.strip().lower()):
        if get_objective(name).name != "cadft":
            raise InputError(
                f"objective {text}: resampling is the second stage of cadft, not of {label}"
            )
        share = SHARE if match[1] is None else _number(text, match[1])
        if not 0 < share <= 1:
            raise InputError(f"objective {text}: the share is a number above 0, at most 1")
        return Method(objective=label, targets="resampled", share=share)
    if (
        match := re.fullmatch(rf"{OWN}(?:\s*\(\s*([1-9]\d*)\s*\))?", source.strip().lower())
    ) is None:
        raise InputError(
            f"objective {text}: unknown targets {source!r}: after @ stands {OWN}, or {OWN}(K) for K answers "
            f"per prompt, or {RESAMPLED}, or {RESAMPLED}(SHARE) of the examples at a time"
        )
    return Method(objective=label, targets="own", samples=int(match[1] or SAMPLES))


def _distillation(text: str, name: str, inside: str) -> Method:
    """`opd` or `fire` with the words between its parentheses."""
    words = [word.strip() for word in inside.split(",") if word.strip()]
    known = (SAMPLED, *(FIRE_SETTINGS if name == FIRE else ()))
    found: dict[str, Any] = {}
    for word in words:
        setting, equals, value = (part.strip() for part in word.partition("="))
        number = setting in FIRE_NUMBERS
        if setting not in known or setting in found or bool(equals) != number:
            forms = (f"{x}=NUMBER" if x in FIRE_NUMBERS else x for x in known)
            raise InputError(f"objective {text}: {word!r}: {name} takes {', '.join(forms)}")
        found[setting] = _number(text, value) if number else True
    form: Literal["full", "sampled"] = "sampled" if found.pop(SAMPLED, False) else "full"
    settings = {FIRE_SETTINGS[setting]: value for setting, value in found.items()}
    fire = replace(Fire(), **settings) if name == FIRE else None
    return Method(objective=name, targets="rollouts", form=form, fire=fire)


def _shortest(number: float) -> str:
    """The shortest digits that are read back as the same number."""
    return repr(float(number)).removesuffix(".0")


def _number(text: str, value: str) -> float:
    try:
        return float(value) + 0.0  # -0 is 0
    except ValueError:
        raise InputError(f"objective {text}: {value!r} is not a number") from None


def default_objectives(recommended: str, *, pairs: bool, teacher: bool = False) -> tuple[str, ...]:
    """NLL, -p, the threshold, CADFT, what was recommended; DPO and distillation where they can be."""
    more = [*([DPO] if pairs else []), *([OPD, FIRE] if teacher else [])]
    return tuple(dict.fromkeys((NLL, "neg_p", "threshold", "cadft", recommended, *more)))


def labels_of(objectives: Sequence[str]) -> tuple[str, ...]:
    """Methods as the user typed them to labels, each once, `nll` first: aliases are one arm."""
    labels = [read_method(text).label for text in objectives]
    return tuple(dict.fromkeys((NLL, *labels)))
