"""Other trainers' own settings for an objective, or the word that they have none, in a few lines each."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from advisor.objectives.export_files import LOSS_SCALE, own_settings
from advisor.objectives.neighbours import NEIGHBOURS, Neighbour, known_bugs
from advisor.objectives.table import Objective, get_objective
from advisor.objectives.trainer_files import simplest


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
    """Text to paste, YAML or a command; empty where unsupported."""
    notes: tuple[str, ...]
    """What else to know, one sentence each."""


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
    return (own, *(_elsewhere(neighbour, chosen) for neighbour in NEIGHBOURS.values()))


def _elsewhere(neighbour: Neighbour, objective: Objective) -> TrainerSettings:
    """Another trainer's settings, or the word that it has none and the command that writes a program."""
    found = own_settings(neighbour.name, objective)
    if found is None:
        command = f"advisor export {shlex.quote(objective.label)} --to {neighbour.name}"
        return TrainerSettings(
            trainer=neighbour.title,
            version="",
            supported=False,
            settings="",
            notes=(
                f"{neighbour.title} has no setting for {objective.label}: `{command}` writes a program, or "
                "says why there is none.",
            ),
        )
    since, values = found
    name = simplest(objective)
    return TrainerSettings(
        trainer=neighbour.title,
        version=since,
        supported=True,
        settings=yaml.safe_dump(values, sort_keys=False).strip()
        if values
        else "# nothing to set: NLL is the default",
        notes=(*known_bugs(neighbour, name), *(() if name == "nll" else (LOSS_SCALE,))),
    )
