"""The named places: at each a process is killed, at once or after a random moment.

A place is prepared in the process that will be killed, which then goes on as a user's would.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

from harness.evaluate.user_scorer import Scorer
from harness.experiments.kills.journal import in_trainers
from harness.generate.provenance import Provenance
from harness.records.runs import Results
from harness.study import execute, fit_arm

Act = Callable[[], None]
Prepare = Callable[[Act], None]
PLAN, RACE, TRAIN, LOADED = "plan", "race", "train", "loaded"
REWRITE, DISTILL = "rewrite", "distill"
"""What is killed (see `works`)."""
FLAG = "ADVISOR_KILLS_FLAG"
"""Environment variable: a file whose word, `child` or `parent`, tells the scorer's command whom to kill."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where something is killed."""

    name: str
    """Of the table."""
    work: str
    """What is killed there."""
    prepare: Prepare
    """Has this process act when it comes to the place."""
    first: int = 1
    """The earliest of the times at which it comes there that counts."""
    last: int = 1
    """The latest one; drawn for every try."""
    within: float = 0.0
    """Seconds after which it is killed at the latest; 0: at once."""
    signal: str = "SIGKILL"
    """By which."""
    victim: str = "itself"
    """Who is killed: the process `itself`, its `worker`, or by the scorer's command `child` or `parent`."""

    @property
    def code(self) -> int:
        """How the process that was started ends, as `os.waitstatus_to_exitcode` has it."""
        if self.victim in ("child", "worker"):
            return 2  # one line says that its child has died
        number = int(getattr(signal, self.signal))
        return -number if self.signal == "SIGKILL" else 128 + number

    @property
    def line(self) -> str:
        """How the last line begins that it says; empty where it can say nothing."""
        if self.code < 0:
            return ""
        return "advisor: error: " if self.code == 2 else f"advisor: ended by {self.signal}"

    def arm(self, rng: Random) -> None:
        """Prepare this process to be killed."""
        self.prepare(self._kill(rng))

    def _kill(self, rng: Random) -> Act:
        left = rng.randint(self.first, self.last)
        delay = rng.uniform(0, self.within)
        number = getattr(signal, self.signal)

        def end() -> None:
            os.kill(os.getpid(), number)

        def act() -> None:
            nonlocal left
            left -= 1
            if left:
                return
            if self.victim in ("child", "parent"):
                Path(os.environ[FLAG]).write_text(self.victim, encoding="utf-8")
            elif self.victim == "worker":
                for worker in multiprocessing.active_children():
                    worker.kill()
            elif delay:
                threading.Timer(delay, end).start()
            else:
                end()

        return act


def _before(owner: Any, name: str) -> Prepare:
    """Act before a function is called."""

    def prepare(act: Act) -> None:
        old = getattr(owner, name)

        @functools.wraps(old)
        def new(*args: Any, **kwargs: Any) -> Any:
            act()
            return old(*args, **kwargs)

        setattr(owner, name, new)

    return prepare


def _after(owner: Any, name: str) -> Prepare:
    """Act after a function has returned."""

    def prepare(act: Act) -> None:
        old = getattr(owner, name)

        @functools.wraps(old)
        def new(*args: Any, **kwargs: Any) -> Any:
            found = old(*args, **kwargs)
            act()
            return found

        setattr(owner, name, new)

    return prepare


def _at(event: str) -> Prepare:
    """Act at an event of a training."""
    return lambda act: in_trainers(event, lambda state: act())


def _at_once(act: Act) -> None:
    act()


SCORING = _before(execute, "evaluate")
PLACES = (
    Place(name="`confirm`: before the first step", work=PLAN, prepare=_at("on_train_begin"), last=2),
    Place(name="`confirm`: inside training", work=PLAN, prepare=_at("on_step_begin"), last=6,
          within=0.02),
    Place(name="`confirm`: while a checkpoint is written", work=PLAN,
          prepare=_before(fit_arm, "save_whole"), last=2, within=0.02),
    Place(name="`confirm`: between checkpoint and scores", work=PLAN,
          prepare=_after(fit_arm, "save_whole"), last=2),
    Place(name="`confirm`: inside scoring", work=PLAN, prepare=SCORING, last=4, within=0.2),
    Place(name="`confirm`: between scores and record", work=PLAN, prepare=_before(Results, "write"),
          last=2),
    Place(name="`confirm`: while a record is written", work=PLAN, prepare=_before(os, "fsync"), first=2,
          last=3),
    Place(name="`confirm`: after a record, before checkpoints go", work=PLAN,
          prepare=_after(Results, "write"), last=2),
    Place(name="`confirm`: at any moment", work=PLAN, prepare=_at_once, within=8.0),
    Place(name="race: inside training", work=RACE, prepare=_at("on_step_begin"), last=4, within=0.02),
    Place(name="race: between a piece and its scores", work=RACE,
          prepare=_after(fit_arm, "train_piece"), last=3),
    Place(name="race: inside scoring", work=RACE, prepare=SCORING, last=4, within=0.2),
    Place(name="race: between scores and seal", work=RACE, prepare=_after(Results, "write_part"), last=3),
    Place(name="race: at any moment", work=RACE, prepare=_at_once, within=8.0),
    Place(name="`train`: before the first checkpoint", work=TRAIN, prepare=_at("on_step_begin"), last=3,
          within=0.02),
    Place(name="`train`: between two checkpoints", work=TRAIN, prepare=_at("on_step_begin"), last=5,
          within=0.02),
    Place(name="`train`: while a checkpoint is written", work=TRAIN, prepare=_before(torch, "save"),
          last=8, within=0.002),
    Place(name="parent alone, its scorer's command runs", work=PLAN, prepare=SCORING, last=4,
          victim="parent"),
    Place(name="the scorer's command alone", work=PLAN, prepare=SCORING, last=4, victim="child"),
    Place(name="parent alone, its data loader's worker runs", work=LOADED, prepare=_at("on_step_begin"),
          last=4),
    Place(name="a data loader's worker alone", work=LOADED, prepare=_at("on_step_begin"), last=4,
          victim="worker"),
    *(
        Place(name=f"{name} to `{command}`", work=work, prepare=prepare, last=last, within=0.02,
              signal=name)
        for name in ("SIGTERM", "SIGHUP")
        for command, work, prepare, last in (
            ("confirm", PLAN, SCORING, 4),
            ("train", TRAIN, _at("on_step_begin"), 5),
            ("rewrite", REWRITE, _after(Provenance, "append"), 3),
            ("distill", DISTILL, _at("on_step_begin"), 5),
        )
    ),
    *(
        Place(name=f"{name} to `confirm` while its scorer's command runs", work=PLAN,
              prepare=_before(Scorer, "score"), first=2, last=6, within=0.01, signal=name)
        for name in ("SIGTERM", "SIGHUP")
    ),
    Place(name="`distill`: between two checkpoints", work=DISTILL, prepare=_at("on_step_begin"), last=5,
          within=0.02),
)  # fmt: skip
"""In the order of the table."""
