"""Problems of reasoning-gym with its own verifiers: lm-eval tasks (`gym_gcd`, ...) and demonstrations.

`python -m harness.gym write gcd --rows 2000 --seed 1 --output_path FILE` writes demonstrations to fine-tune
on; no problem of a task is among them. Needs the extra `gym`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Generator:
    """How one of reasoning-gym's generators is used."""

    settings: tuple[Mapping[str, Any], ...] = ({},)
    """Of its configuration, taken in turn; the rest is as reasoning-gym has it."""
    kept_apart: str = "question"
    """What no two parts have in common: the "question", or the "answer" where it can be learned by heart."""


FONTS = ("mini", "small", "smslant", "smshadow", "shadow", "slant", "standard")
"""Of figlet; reasoning-gym's own list of 400 is in the order of the file system."""

GENERATORS = {
    "base_conversion": Generator(),
    "caesar_cipher": Generator(kept_apart="answer"),
    "chain_sum": Generator(),
    "figlet_font": Generator(
        settings=tuple({"static_font": font} for font in FONTS), kept_apart="answer"
    ),
    "gcd": Generator(),
    "letter_counting": Generator(),
    "number_sorting": Generator(),
    "spell_backward": Generator(),
    "word_sorting": Generator(),
}
"""By reasoning-gym's names, which are also the tasks' after `gym_`.

Without `syllogism`: a tenth of its references is wrong (docs/defects.md).
"""
