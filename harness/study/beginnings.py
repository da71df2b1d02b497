"""Beginnings that arms share: a staged arm goes on from where the arm of its first stage was at the switch.

Until then both make the same optimiser steps. What a training keeps, and what it finds, is
`harness/train/kept_beginning.py`; here is who wants what of whom, and where it stands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from math import isinf
from pathlib import Path
from typing import Any

import torch

from advisor.model.loaded import LoadedModel
from advisor.objectives.schedules import THEN, Staged
from advisor.objectives.table import get_objective
from harness.records.arm import arm_of
from harness.records.runs import RunSpec
from harness.records.training_texts import settled
from harness.runtime.environment import Environment
from harness.study.study import Study
from harness.train.kept_beginning import Beginning, is_exact, remove

Wanted = Mapping[str, Mapping[str, float]]
"""Id of a run to the runs that begin as it does: their ids, each with the share of steps of its switch."""


def begins_as(spec: RunSpec) -> tuple[RunSpec, float] | None:
    """The run that a staged run is until its first switch, with the share at which that comes; else None.

    None also of a switch that finds its own time: it counts what no other run's checkpoint holds.
    """
    if THEN not in spec.arm.objective:
        return None
    staged = get_objective(spec.arm.objective)
    assert isinstance(staged, Staged)
    first, second = staged.stages[:2]
    if isinf(second.start):
        return None
    return replace(spec, arm=replace(spec.arm, objective=first.label)), second.start


def wanted_by(specs: Iterable[RunSpec]) -> Wanted:
    """Which beginnings some runs want."""
    wanted: dict[str, dict[str, float]] = {}
    for spec in specs:
        if (begin := begins_as(spec)) is not None:
            wanted.setdefault(begin[0].id, {})[spec.id] = begin[1]
    return wanted


def folder_in(results: Path | str) -> Path:
    """Where the beginnings of the studies of a folder of records stand, wherever a run is executed."""
    return Path(results).resolve() / "beginnings"


@dataclass(frozen=True, kw_only=True)
class Beginnings:
    """What the runs of a study may share."""

    folder: Path
    """See `folder_in`; where a machine has no such folder, its runs share nothing."""
    wanted: Wanted
    """By runs that are not finished."""

    def of(
        self, spec: RunSpec, training: Mapping[str, Any], loaded: LoadedModel
    ) -> Beginning | None:
        """What a run may take over and keep; None where nobody is served by it.

        Args:
            spec: as the study has it.
            training: its settings with the batches that fit into memory.
            loaded: its model.
        """
        begin, until = begins_as(spec) or (spec, 1.0)
        takers = self.wanted.get(begin.id, {})
        if not takers or not is_exact(training) or not self.folder.is_dir():
            return None
        others = {share for taker, share in takers.items() if taker != spec.id}
        return Beginning(
            place=self.folder / begin.id / as_trained(training, loaded),
            label=begin.arm.method,
            until=until,
            wanted=tuple(sorted(share for share in others if share <= until)),
        )


def forget(study: Study, folder: Path) -> None:
    """Remove what the runs of a study may have kept, also before it was killed."""
    arms = [
        arm_of(method, learning_rate=rate)
        for method in study.objectives
        for rate in study.learning_rates
    ]
    for begun in wanted_by(study.spec(arm, seed) for arm in arms for seed in study.seeds):
        remove(folder / begun)
    for left in folder.glob(".*"):  # of a removal that was killed
        remove(left)
    with suppress(OSError):  # another study's stand in it, or nothing ever did
        folder.rmdir()


def as_trained(training: Mapping[str, Any], loaded: LoadedModel) -> str:
    """16 hex digits of all that a specification leaves open and that may move a bit of the weights."""
    here = Environment.here(device=loaded.device, dtype=loaded.dtype)
    cuda = loaded.device.startswith("cuda")
    machine = torch.cuda.get_device_name() if cuda else torch.backends.cpu.get_cpu_capability()
    content = [settled(training), asdict(here), machine]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
