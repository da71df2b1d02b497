"""Other trainers that an objective can be taken to: what each is, and what is known of it.

Facts and argument names were read in the sources at the commits named; `export_files.py` writes the files.
Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Seam = Literal["trainer", "logits", "logp"]
"""Where an objective that a trainer has no setting for comes in: our own mix-in in the place of its loss, a
function of logits and labels (`advisor.objective_loss`), or of the targets' log-probabilities alone."""


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """Another trainer."""

    name: str
    """As `advisor export --to` takes it."""
    title: str
    """As its users write it."""
    repository: str
    """owner/name on GitHub."""
    version: str
    """That was read, or that the tests run."""
    commit: str
    """Twelve digits; empty for a release that is installed for the tests."""
    seam: Seam
    """Where an objective without a setting comes in."""
    place: str
    """The same in its own words: the argument, function or class that is replaced."""
    bugs: Mapping[str, str]
    """By objective, `*` for all: what differs from the published formula or is broken, one sentence each."""


_NO_TARGET = "A micro-batch without a target returns a constant, and the step stops there."
NEIGHBOURS = {
    one.name: one
    for one in (
        Neighbour(
            name="trl", title="TRL", repository="huggingface/trl", version="1.16.0", commit="",
            seam="trainer", place="a subclass of SFTTrainer with our ObjectiveLoss",
            bugs={"*": "Columns prompt and completion that are texts are joined without the chat template."},
        ),
        Neighbour(
            name="transformers", title="transformers", repository="huggingface/transformers",
            version="5.23.0", commit="", seam="logits", place="Trainer(compute_loss_func=...)", bugs={},
        ),
        Neighbour(
            name="llamafactory", title="LLaMA-Factory", repository="hiyouga/LLaMA-Factory",
            version="0.9.6.dev0", commit="ff6d4d12eeb0", seam="logits",
            place="trainer_utils.dft_loss_func, which use_dft_loss calls",
            bugs={
                "neg_p": _NO_TARGET,
                "eaft": _NO_TARGET,
                "asft": "It takes the mean of each micro-batch, so that the update grows with "
                "gradient_accumulation_steps: keep that at 1.",
            },
        ),
        Neighbour(
            name="ms-swift", title="ms-swift", repository="modelscope/ms-swift", version="4.6.0.dev0",
            commit="3602360a5623", seam="logits", place="loss_map, by --external_plugins and --loss_type",
            bugs={"neg_p": "It switches Liger's cross-entropy off, so that the full logits need memory."},
        ),
        Neighbour(
            name="axolotl", title="axolotl", repository="axolotl-ai-cloud/axolotl", version="0.18.0",
            commit="067b021c8b87", seam="logits", place="a plugin's post_trainer_create",
            bugs={
                "neg_p": "Where its log says that Liger was not applied to your model, it trains plain "
                "NLL; p is computed in the dtype of the logits.",
                "eaft": "Its weight is the entropy itself, not divided by 3 as is published, so that "
                "the loss is 3^alpha times as large.",
            },
        ),
        Neighbour(
            name="verl", title="verl", repository="volcengine/verl", version="0.8.0.dev",
            commit="b178a3cd56f5", seam="logp", place="verl.workers.utils.losses.sft_loss",
            bugs={},
        ),
        Neighbour(
            name="nemo-rl", title="NeMo RL", repository="NVIDIA-NeMo/RL", version="0.6.0",
            commit="7ea279abfbeb", seam="logp", place="nemo_rl.algorithms.sft.NLLLossFn",
            bugs={"*": "Its example configuration has a chat template of its own: "
                  "policy.tokenizer.chat_template=default takes the tokenizer's."},
        ),
        Neighbour(
            name="unsloth", title="Unsloth", repository="unslothai/unsloth", version="2026.8.19",
            commit="015bdef0d94a", seam="logits", place="SFTTrainer(compute_loss_func=...)",
            bugs={
                "*": "It takes TRL up to 0.24, which is older than the one this tool needs: the two share no "
                "environment unless this tool is installed there without its dependencies. Rows need prompt "
                "and completion: it tokenises messages by itself, and no mask of the other turns was found.",
                "neg_p": "Needs TRL 0.23, and 0.24 to evaluate.",
            },
        ),
        Neighbour(
            name="liger", title="Liger Kernel", repository="linkedin/Liger-Kernel", version="0.8.2",
            commit="ead96b618e5c", seam="logits",
            place="compute_loss_func of transformers' Trainer, beside Liger's other kernels",
            bugs={"neg_p": "p is computed in the dtype of the logits."},
        ),
    )
}  # fmt: skip
"""Every trainer that `advisor export --to` knows, in the order of its help."""


def known_bugs(neighbour: Neighbour, objective: str) -> tuple[str, ...]:
    """What is known of an objective in a trainer, one sentence each."""
    return tuple(neighbour.bugs[key] for key in (objective, "*") if key in neighbour.bugs)
