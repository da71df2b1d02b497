"""The plan: which few fine-tunes to run, how to choose between them, what that costs and may lose.

Pure, and free of torch. Forward passes do not tell a systematic error from a new notation, scored answers do:
so the answer to "which objective?" is a few runs and a way to choose. What a plan is expected to lose against
trying everything comes from a replay of the measured cells (see `replayed`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor.advice.learning_rates import learning_rate
from advisor.advice.machines import BYTES, Elsewhere, Machine, elsewhere
from advisor.advice.replayed import Decoding, PlannedRun, Replay

if TYPE_CHECKING:
    from advisor.prior.prior import Prior

DEFAULT = "three"
"""The plan that is recommended."""
LIKELY = 0.1
"""Chance of losing more than five points below which a plan is decided."""
FEW_DOCUMENTS = 50
"""Documents that choose, below which a plan loses more than it promises: it was replayed with 100.

On the ladder's 108 cells it lost 0.3, 0.8 and 1.5 points more with 50, 25 and 10 of them, the mean of twenty
draws, greedily 0.1, 0.5 and 1.0.
"""
LADDER, LADDER_DOCUMENTS = "ladder:", (100, 300)
"""How an embedded model is called, and the problems of its task: those that choose a run, and the others."""
HELD_OUT, AT_MOST = 0.2, 400
"""Share of the rows that `confirm` keeps back where no `--tasks` are given, and at most so many."""
ENOUGH = 100
"""Documents that choose, beyond which more of them change few choices."""
FEWEST = 2
"""Documents without which nothing is chosen: one says nothing of noise."""
DRAWS, CURVE = 4, 5
"""Answers to a document that chooses where they are sampled; temperatures at which the others are scored."""
BACKWARD = 3.0
"""Time of a training step over that of the forward pass of the same rows: two passes back for one forth."""
ANSWER, ANSWER_ON_CPU = 4.0, 0.8
"""Time of one answer over that of the forward pass of an example: on the ladder's 0.8M parameters, and on a
CPU of a model that is `LARGE`, where a token takes its arithmetic and little beside it.

On the 18 cells of a model of 135M parameters it lay between 0.57 and 1.26, in the middle at 0.77, with 2 to
16 target tokens.
"""
LARGE = 1e7
"""Parameters."""


@dataclass(frozen=True, kw_only=True)
class ArmRun:
    """A fine-tune of the plan."""

    objective: str
    """Label in the table of objectives."""
    targets: str
    """Source of the targets; "demonstrations" are the dataset's own."""
    learning_rate: float
    """Peak of the schedule."""
    decoding: float
    """Temperature at which its answers are scored; 0 is greedy."""
    below: float | None = None
    """Made where the best run before it scores below this, points; None: in any case."""


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """Another plan, in short."""

    name: str
    """As `advisor confirm --plan` takes it."""
    runs: float
    """Fine-tunes, where some are made only if they are needed."""
    minutes: float
    """On this machine, about."""
    regret: float
    """Points that it is expected to lose against trying everything."""
    chance_over_5: float
    """Chance that it loses more than five."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run, and what is expected of it."""

    name: str
    """As `advisor confirm --plan` takes it."""
    runs: tuple[ArmRun, ...]
    """Fine-tunes, in the order in which they are made."""
    choose_by: str
    """How the checkpoint to keep is chosen, in words."""
    documents: int
    """On how many it is, where no `--tasks` are given."""
    minutes: float
    """Training and scoring on the machine that measured the prior, estimated from the probe's own speed."""
    disk: int
    """Bytes of two checkpoints: the best so far and the one that is trained."""
    regret: float
    """Points that it is expected to lose against trying every run that was tried on the measured cells."""
    chance_over_5: float
    """Chance that it loses more than five points."""
    cells: int
    """Measured cells that this rests on."""
    models: str
    """Of which models they are, in words: those nearest in size."""
    measured: bool
    """Whether cells enough are of this size to decide by; else it is not known whether the numbers hold."""
    alone: ArmRun
    """The one run to take where nothing can be scored."""
    alone_regret: float | None
    """Points that it is expected to lose; None where it is by the user's own records or by published ones."""
    cheaper: Alternative | None
    """The next plan with fewer runs."""
    dearer: Alternative | None
    """The next plan with more."""
    elsewhere: Elsewhere | None
    """What it takes on the machine that was asked for; None where none was."""
    cooler: float
    """Share of these cells in which NLL at the high rate does as well greedily as the best run sampled.

    As well: at most 2 points worse.
    """

    @property
    def decided(self) -> bool:
        """Whether it is unlikely to lose more than five points by acting on it."""
        enough = self.documents >= FEW_DOCUMENTS
        return self.measured and enough and self.chance_over_5 < LIKELY


def make_plan(
    prior: Prior,
    replay: Replay,
    *,
    temperature: float,
    decoding: Decoding,
    measured: bool,
    alone: PlannedRun | None,
    machine: Machine | None = None,
) -> Plan:
    """The plan for a pair.

    Args:
        prior: what was measured; its speed says what runs cost.
        replay: plans and what they lost.
        temperature: of use.
        decoding: whether that counts as sampled.
        measured: whether cells enough are of models of the pair's size.
        alone: the run to take where nothing can be scored; None: the one that lost least by itself.
        machine: another one on which to say what the plan takes.

    Raises:
        InputError: as of `machines.elsewhere`.
    """
    parameters = float(prior.model["parameters"])
    evidence = replay.near(parameters)

    def run(planned: PlannedRun) -> ArmRun:
        return ArmRun(
            objective=planned.objective,
            targets=planned.targets,
            learning_rate=learning_rate(parameters, planned.rate),
            decoding=temperature,
            below=planned.below,
        )

    def other(found: str | None) -> Alternative | None:
        if found is None:
            return None
        said = replay.expected(found, decoding, parameters)
        return Alternative(
            name=found,
            runs=said.runs,
            minutes=minutes_of(prior, said.runs, temperature),
            regret=said.regret,
            chance_over_5=said.chance_over_5,
        )

    runs = tuple(run(planned) for planned in replay.plans[DEFAULT])
    before, after = neighbours(list(replay.plans), DEFAULT)
    said = replay.expected(DEFAULT, decoding, parameters)
    there = None
    if machine is not None:
        answers = answers_of(prior, temperature)
        there = elsewhere(machine, prior, runs=said.runs, answers=answers)
    return Plan(
        name=DEFAULT,
        runs=runs,
        choose_by=_choice(prior),
        documents=documents_of(prior)[0],
        minutes=minutes_of(prior, said.runs, temperature),
        disk=2 * int(parameters) * BYTES.get(str(prior.model.get("dtype")), 4),
        regret=said.regret,
        chance_over_5=said.chance_over_5,
        cells=said.cells,
        models=evidence.models,
        measured=measured,
        alone=run(alone or replay.alone[decoding]),
        alone_regret=None if alone else evidence.alone_regret[decoding],
        cheaper=other(before),
        dearer=other(after),
        elsewhere=there,
        cooler=evidence.cooler,
    )


def _choice(prior: Prior) -> str:
    if cannot_choose(prior):
        return "score every run on a task of yours (the rows are too few to keep some back), keep the best"
    choose, report = documents_of(prior)
    return f"score every run on {choose} documents, keep the best, and score that one on {report} others"


def documents_of(prior: Prior) -> tuple[int, int]:
    """Documents that choose and that do not, where no `--tasks` are given: rows that are kept back."""
    model = str(prior.model["name"])
    if model.startswith(LADDER) and prior.dataset["name"] == f"{model.removeprefix(LADDER)}.jsonl":
        return LADDER_DOCUMENTS
    kept = min(AT_MOST, int(HELD_OUT * prior.usable_rows))
    return choosing(kept), kept - choosing(kept)


def cannot_choose(prior: Prior) -> bool:
    """Whether the rows that are kept back are too few to choose by, so that `--tasks` have to be given."""
    return documents_of(prior)[0] < FEWEST


def choosing(documents: int) -> int:
    """Of so many documents that are kept back, those that choose: half, but no more than are enough."""
    return min(ENOUGH, documents // 2)


def neighbours(names: Sequence[str], name: str) -> tuple[str | None, str | None]:
    """The names before and after one."""
    padded = [None, *names, None]
    at = padded.index(name)
    return padded[at - 1], padded[at + 1]


def answers_of(prior: Prior, temperature: float) -> int:
    """Answers that a run is scored on, over all temperatures."""
    choose, report = documents_of(prior)
    return choose * DRAWS + report * CURVE if temperature > 0 else choose + 2 * report


def minutes_of(prior: Prior, runs: float, temperature: float) -> float:
    """About how long some runs take here: an epoch over all rows, and the scored answers of each."""
    forward = prior.seconds / prior.examples
    answers = answers_of(prior, temperature)
    answer = _answer(prior.model)
    return runs * forward * (BACKWARD * prior.usable_rows + answer * answers) / 60


def _answer(model: Mapping[str, Any]) -> float:
    """The factor for a model; on accelerators, which single tokens leave idle, that of the small ones."""
    on_cpu = model.get("device") == "cpu" and model["parameters"] >= LARGE
    return ANSWER_ON_CPU if on_cpu else ANSWER
