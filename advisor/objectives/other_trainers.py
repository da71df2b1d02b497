"""Settings to paste into other trainers for an objective, or the plain word that they have none.

Facts about TRL are from its source; those about the others from theirs (LLaMA-Factory 0.9.5,
ms-swift 4, axolotl 0.18, Liger-Kernel 0.8.2) and from their issue threads. No torch.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from advisor.objectives.table import Objective, get_objective


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """What to tell one trainer so that it trains with one objective."""

    trainer: str
    """Its name as users write it."""
    version: str
    """Which releases can do it; empty where none can."""
    supported: bool
    """Whether a setting exists; False means that it takes code of your own."""
    settings: str
    """Text to paste (Python, YAML or flags); empty where unsupported."""
    notes: tuple[str, ...]
    """What else to know, one sentence each."""


LOSS_SCALE = "The loss it reports is smaller than NLL and must not be compared with it."
LEARNING_RATE = (
    "A learning rate tuned for NLL may be too low: gradients shrink with p, so tune it again."
)
TRL_DATA = (
    "String columns prompt and completion are joined as they are, without the chat template; for "
    "messages set assistant_only_loss=True, or the user's turns are trained on as well."
)

_NLL = (
    TrainerSettings(
        trainer="TRL",
        version="any",
        supported=True,
        settings='SFTConfig(loss_type="nll")  # the default',
        notes=(TRL_DATA,),
    ),
    TrainerSettings(
        trainer="LLaMA-Factory",
        version="any",
        supported=True,
        settings="# nothing to set: NLL is the default",
        notes=(),
    ),
    TrainerSettings(
        trainer="ms-swift",
        version="any",
        supported=True,
        settings="# nothing to set: NLL is the default",
        notes=(),
    ),
    TrainerSettings(
        trainer="axolotl",
        version="any",
        supported=True,
        settings="# nothing to set: NLL is the default",
        notes=(),
    ),
)

_NEG_P = (
    TrainerSettings(
        trainer="TRL",
        version=">= 0.23 (evaluation works since 0.24)",
        supported=True,
        settings='SFTConfig(loss_type="dft")',
        notes=(LOSS_SCALE, LEARNING_RATE, TRL_DATA),
    ),
    TrainerSettings(
        trainer="LLaMA-Factory",
        version=">= 0.9.4",
        supported=True,
        settings="use_dft_loss: true",
        notes=(
            "Set neither use_asft_loss nor use_eaft_loss beside it: nothing checks for that.",
            LOSS_SCALE,
            LEARNING_RATE,
        ),
    ),
    TrainerSettings(
        trainer="ms-swift",
        version=">= 3.8",
        supported=True,
        settings="--enable_dft_loss true",
        notes=(
            "It switches Liger's cross-entropy off, so the full logits need memory.",
            LOSS_SCALE,
            LEARNING_RATE,
        ),
    ),
    TrainerSettings(
        trainer="axolotl",
        version=">= 0.13",
        supported=True,
        settings=(
            "plugins:\n"
            "  - axolotl.integrations.liger.LigerPlugin\n"
            "liger_fused_linear_cross_entropy: true\n"
            "liger_use_token_scaling: true"
        ),
        notes=(
            'If its log says "Liger not applied" for your model, it trains plain NLL.',
            "p is computed in the logits' dtype: bfloat16 leaves two or three digits.",
            LOSS_SCALE,
            LEARNING_RATE,
        ),
    ),
)

# Trainer -> why it refuses, what `advisor export --to` calls it, and the nearest it has.
_NO_SETTING = {
    "TRL": (
        'it refuses any loss_type but "nll" and "dft" (1.16)',
        "trl",
        'loss_type="dft"',
    ),
    "LLaMA-Factory": (
        "beyond NLL it has DFT, EAFT and ASFT (0.9.5)",
        "llamafactory",
        "use_dft_loss: true",
    ),
    "ms-swift": (
        "beyond NLL it has DFT",
        "ms-swift",
        "--enable_dft_loss true",
    ),
    "axolotl": (
        "beyond NLL it has EAFT, and DFT through Liger (0.18)",
        "axolotl",
        "liger_use_token_scaling: true",
    ),
}


def export(
    objective: str, parameters: Mapping[str, float] | None = None
) -> tuple[TrainerSettings, ...]:
    """Each trainer's settings for an objective, by name, alias or `name(value)`; this tool's first.

    Raises:
        InputError: no such objective or parameter.
    """
    chosen = get_objective(objective).with_parameters(**(parameters or {}))
    own = TrainerSettings(
        trainer="objective-advisor",
        version="this one",
        supported=True,
        settings=f"advisor train MODEL DATASET --objective {shlex.quote(chosen.label)} --output_dir DIR",
        notes=(),
    )
    name = "" if chosen.frozen else _simplest(chosen.name, chosen.settings)
    if name in ("nll", "neg_p"):
        return (own, *(_NLL if name == "nll" else _NEG_P))
    others = (_elsewhere(trainer, chosen) for trainer in _NO_SETTING)
    return (own, *others)


def _simplest(name: str, settings: Mapping[str, float]) -> str:
    """The parameters at which an objective is another one with a setting."""
    same = {
        ("p_pow", "k", 1.0): "neg_p",
        ("threshold", "tau", 0.0): "nll",
        ("cadft", "beta", 0.0): "neg_p",
        ("cadft_mean", "beta", 0.0): "neg_p",
    }
    for key, value in settings.items():
        name = same.get((name, key, value), name)
    return name


def _elsewhere(trainer: str, objective: Objective) -> TrainerSettings:
    """A trainer's setting for an objective that few have, or the word that it has none."""
    if (trainer, objective.name) in _RARE and not objective.frozen:
        text, version, notes = _RARE[trainer, objective.name]
        settings = text.format(**objective.settings)
        return TrainerSettings(
            trainer=trainer, version=version, supported=True, settings=settings, notes=notes
        )
    why, name, nearest = _NO_SETTING[trainer]
    return TrainerSettings(
        trainer=trainer,
        version="",
        supported=False,
        settings="",
        notes=(
            f"{trainer} has no setting for {objective.label}: {why}.",
            f"It takes code: `advisor export {shlex.quote(objective.label)} --to {name}` writes it, or says "
            "why there is none.",
            f"The nearest it has is -p (DFT), which is another objective: {nearest}.",
        ),
    )


_RARE = {
    ("LLaMA-Factory", "eaft"): (
        "use_eaft_loss: true\neaft_alpha: {alpha:g}",
        ">= 0.9.5",
        ("A fully masked batch returns a loss without a graph.",),
    ),
    ("LLaMA-Factory", "asft"): (
        "use_asft_loss: true\nasft_alpha: {kl:g}",
        ">= 0.9.5",
        (
            "It takes the mean of each micro-batch and leaves out the number of accumulated ones, so "
            "its gradient grows with gradient_accumulation_steps: keep that at 1.",
        ),
    ),
    ("axolotl", "eaft"): (
        "use_eaft: true\neaft_alpha: {alpha:g}",
        ">= 0.14",
        ("Its weight is the entropy itself, not divided by ln 20: up to 3 times as large.",),
    ),
}
"""(trainer, objective): text with the objective's parameters, releases, notes."""
