"""An objective as the files that another trainer runs: its own settings, or a program with our loss in it.

Pure: gives texts and notes; `harness/cli/export.py` writes them. What is known of each trainer stands in
`neighbours.py`, how its files look in `trainer_files.py`, the programs in `programs.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from advisor.errors import InputError
from advisor.objectives.neighbours import NEIGHBOURS, Neighbour, known_bugs
from advisor.objectives.objective import Objective
from advisor.objectives.table import get_objective
from advisor.objectives.trainer_files import DEFAULTS, WRITERS, Job, Wanted, simplest

_LIGER_IN_AXOLOTL = {
    "plugins": ["axolotl.integrations.liger.LigerPlugin"],
    "liger_fused_linear_cross_entropy": True,
    "liger_use_token_scaling": True,
}
SETTINGS: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("trl", "neg_p"): (">= 0.23", {"loss_type": "dft"}),
    ("llamafactory", "neg_p"): (">= 0.9.4", {"use_dft_loss": True}),
    ("llamafactory", "eaft"): (">= 0.9.5", {"use_eaft_loss": True, "eaft_alpha": "alpha"}),
    ("llamafactory", "asft"): (">= 0.9.5", {"use_asft_loss": True, "asft_alpha": "kl"}),
    ("ms-swift", "neg_p"): (">= 3.8", {"enable_dft_loss": True}),
    ("axolotl", "neg_p"): (">= 0.13", _LIGER_IN_AXOLOTL),
    ("axolotl", "eaft"): (">= 0.14", {"use_eaft": True, "eaft_alpha": "alpha"}),
    ("unsloth", "neg_p"): ("with TRL >= 0.23", {"loss_type": "dft"}),
    ("liger", "neg_p"): (">= 0.8.2", {"use_token_scaling": True}),
}
"""(trainer, objective): releases that have it, and its settings; a text may name the parameter of the
objective whose value stands there. NLL needs none anywhere."""
LOSS_SCALE = "Its loss is not on NLL's scale: compare runs by their scores, not by their losses."


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The files for one trainer."""

    neighbour: Neighbour
    """Which."""
    objective: str
    """Its label."""
    how: Literal["setting", "code"]
    """Whether the trainer has the objective, or runs a program with our loss."""
    files: Mapping[str, str]
    """Name to text."""
    command: str
    """That runs them, in their folder."""
    notes: tuple[str, ...]
    """What else to know, one sentence each."""


def export_files(objective: str, to: str, wanted: Wanted = DEFAULTS) -> Exported:
    """What a trainer needs so that it trains with an objective.

    Args:
        objective: name, alias or `name(value)`.
        to: a name of `NEIGHBOURS`.
        wanted: model, data and rates.

    Raises:
        InputError: no such objective; one that the trainer cannot do even with our loss, naming the nearest
            that it can; data that it cannot read.
    """
    chosen, neighbour = get_objective(objective), NEIGHBOURS[to]
    own = own_settings(to, chosen)
    setting = own[1] if own else None
    if setting is None:
        _refuse(chosen, neighbour)
    _refuse_data(to, wanted)
    files, command = WRITERS[to](Job(objective=chosen, wanted=wanted, setting=setting))
    return Exported(
        neighbour=neighbour,
        objective=chosen.label,
        how="code" if setting is None else "setting",
        files=files,
        command=command,
        notes=tuple(_notes(neighbour, simplest(chosen), wanted, setting)),
    )


def own_settings(to: str, objective: Objective) -> tuple[str, dict[str, Any]] | None:
    """The releases of a trainer that have an objective and its own settings, or None where none has."""
    if objective.frozen or objective.scheduled or objective.by_quantile:
        return None
    name = simplest(objective)
    if name == "nll":
        return "any", {}
    if (to, name) not in SETTINGS:
        return None
    since, found = SETTINGS[to, name]
    values = objective.settings
    return since, {k: values.get(v, v) if isinstance(v, str) else v for k, v in found.items()}


def _refuse(objective: Objective, neighbour: Neighbour) -> None:
    """Refuse an objective that our loss cannot bring into a trainer."""
    mixed_in = neighbour.name in ("trl", "transformers")
    why = objective.beyond_a_batch
    if mixed_in and (objective.scheduled or "step" in objective.needs):
        measured = objective.by_quantile or objective.before_training or "anchor" in objective.needs
        why = "it compares with what is measured before the training" if measured else ""
    if not why and neighbour.seam == "logp" and not objective.of_logp_alone:
        why = f"its loss needs the whole distribution, and {neighbour.title} gives the targets' log p alone"
    if why:
        leans = "dft" if objective.leaning == "prior-leaning" else "nll"
        nearest = "p_pow(0.5)" if objective.name == "p_anneal" else leans
        raise InputError(
            f"{neighbour.title} cannot train with {objective.label}: {why}. Use `advisor train`, or "
            f"advisor.add_objective_head in a loop of your own. The nearest that {neighbour.title} takes is "
            f"{nearest}, which is another objective"
        )


def _refuse_data(to: str, wanted: Wanted) -> None:
    """Refuse what a trainer cannot do without, or cannot read."""
    if to == "axolotl" and wanted.learning_rate is None:
        raise InputError("axolotl has no default learning rate: give --learning_rate")
    if to == "unsloth" and wanted.layout == "messages":
        raise InputError(
            "Unsloth tokenises messages by itself, and its source shows no mask that leaves the other turns "
            "out: give rows with prompt and completion, and --layout prompt_completion"
        )
    if to == "verl" and wanted.layout != "messages":
        raise InputError(
            "verl reads a column messages from parquet files: rewrite prompt and completion"
        )


def _notes(
    neighbour: Neighbour, name: str, wanted: Wanted, setting: Mapping[str, Any] | None
) -> list[str]:
    """What else to know."""
    found = []
    if setting is None:
        found.append(
            f"{neighbour.title} has no setting for it: our loss comes in through {neighbour.place}."
        )
        if neighbour.name not in ("trl", "transformers", "liger"):
            found.append(
                "Install this tool beside the trainer without its dependencies (`pip install --no-deps .`): "
                "the loss needs torch alone."
            )
    found += known_bugs(neighbour, name if setting is not None else "")
    if name != "nll":
        found.append(LOSS_SCALE)
    if wanted.learning_rate is None:
        found.append("No learning rate was given: the trainer's default holds.")
    templated = ("llamafactory", "ms-swift", "nemo-rl")
    if wanted.layout == "prompt_completion" and neighbour.name in templated:
        found.append("prompt and completion become two turns of the chat template.")
    if neighbour.name == "nemo-rl":
        found.append(
            "Copy the files into NeMo RL's checkout and run them there: they name its examples/."
        )
    if wanted.layout == "messages" and neighbour.name == "trl":
        found.append(
            "assistant_only_loss needs a chat template with {% generation %} marks; TRL brings them for the "
            "templates it knows and refuses the others."
        )
    return found
