"""What a process that may be killed has begun and kept: a line each, written before and after the work.

Of a study `begin ID` before a run is executed and `kept ID` after its record is written, of a piece of a race
with the share of its steps behind the ID; of a training `step N` before each optimiser step, with the steps
that lie behind, and `saved N` after each checkpoint.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import transformers

import harness.study.plan_study
import harness.study.run_study  # noqa: F401  (imported once, before the forks)
from harness.records.runs import Results
from harness.study import confirm, executors, run_race, study
from harness.study.execute import Trial, execute

BEGIN, KEPT, KILL, STEP, SAVED = "begin", "kept", "kill", "step", "saved"
TRIAL = Trial(loading=0.1, step=0.1, answer=0.01)
"""What a trial finds here: what a race decides then does not hang on how busy the machine is."""


def note(path: Path, line: str) -> None:
    """Append a line in one write, so that a kill cannot split it."""
    with path.open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


def watch(journal: Path, *, to_the_end: bool = False) -> None:
    """Make this process note what it executes and keeps.

    Args:
        journal: the file.
        to_the_end: have a plan make all of its runs, though its task is too small to tell them apart.
    """

    def executed(spec: Any, problem: Any, until: float | None = None) -> Any:
        note(journal, f"{BEGIN} {spec.id}" if until is None else f"{BEGIN} {spec.id} {until:g}")
        return execute(spec, problem, until)

    write, write_part = Results.write, Results.write_part

    def written(self: Results, run: Any) -> Path:
        path = write(self, run)
        if run.error is None:
            note(journal, f"{KEPT} {run.spec.id} 1" if run.curve else f"{KEPT} {run.spec.id}")
        return path

    def part_written(self: Results, run: Any) -> None:
        write_part(self, run)
        note(journal, f"{KEPT} {run.spec.id} {run.curve[-1].share:g}")

    for module in (confirm, executors, run_race):
        vars(module)["execute"] = executed
    vars(confirm)["trial"] = lambda *rest: TRIAL
    if to_the_end:
        vars(study)["ending"] = lambda *rest, **more: None
    Results.write = written  # type: ignore[method-assign]
    Results.write_part = part_written  # type: ignore[method-assign]


def watch_training(journal: Path) -> None:
    """Make the trainers of this process note their steps and checkpoints."""
    in_trainers("on_step_begin", lambda state: note(journal, f"{STEP} {state.global_step}"))
    in_trainers("on_save", lambda state: note(journal, f"{SAVED} {state.global_step}"))


def in_trainers(event: str, act: Callable[[Any], None]) -> None:
    """Have every trainer of this process call `act` with its state at an event, after its own callbacks."""
    start = transformers.Trainer.__init__

    class Acts(transformers.TrainerCallback):
        pass

    setattr(Acts, event, lambda self, args, state, control, **more: act(state))

    @functools.wraps(start)
    def begun(self: Any, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        self.add_callback(Acts())

    transformers.Trainer.__init__ = begun  # type: ignore[method-assign]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a journal says came of some kills."""

    begun: frozenset[str]
    """What was begun at all."""
    kept: frozenset[str]
    """What was kept."""
    kills: int
    """Kills."""
    in_hand: int
    """Pieces that were begun again because a kill hit them."""
    repeated: int
    """Pieces, or of a training steps, that were made again though they had been kept."""


def read(journal: Path) -> Told:
    """A journal, of a study or of a training."""
    lines = journal.read_text(encoding="utf-8").splitlines()
    words = [(word, key) for word, _, key in (line.partition(" ") for line in lines)]
    begun: Counter[str] = Counter()
    kept: set[str] = set()
    repeated = 0
    for word, key in words:
        if word == BEGIN:
            repeated += key in kept
            begun[key] += 1
        elif word in (KEPT, SAVED):
            kept.add(key)
    kills = sum(word == KILL for word, _ in words)
    again = begun.total() - len(begun)
    steps = list(_steps_again(words))
    return Told(
        begun=frozenset(begun),
        kept=frozenset(kept),
        kills=kills,
        in_hand=again + sum(1 for cut, _ in steps if cut),
        repeated=max(repeated, again - kills) + sum(kept_ones for _, kept_ones in steps),
    )


def _steps_again(words: list[tuple[str, str]]) -> Iterator[tuple[bool, int]]:
    """Of each start after a kill: whether steps are made again, and how many of them had been saved."""
    done, saved = -1, 0
    for (before, _), (word, key) in pairwise([(KILL, ""), *words]):
        if word == STEP:
            if before == KILL:
                yield int(key) <= done, max(0, saved - int(key))
            done = int(key)
        elif word == SAVED:
            saved = max(saved, int(key))
