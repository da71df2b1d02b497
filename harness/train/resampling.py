r"""CADFT's second stage: the model samples the targets of incompatible examples anew while it trains.

An example's compatibility is its mean NLL, standardised over the optimiser step. Where its moving average
stays among the highest, the model writes a new target from the prompt alone, by nucleus sampling (p 0.9,
T 0.7), which replaces the old one with probability 0.5 (arXiv:2606.11206, from secondary notes; no code).

The published times, the first resampling after 3000 steps and then every 1000, never come in short runs: the
protocol that goes with them has 100,000 examples in batches of 256, 390 steps in one epoch, and 3000 steps
are 768,000 examples. In one epoch moreover each example is seen once, so that a new target is never
trained on. Here times are fractions of the training, 1/2 and every 1/6, in the published ratio of 3 to 1: a
training of N steps resamples before steps N/2, 2N/3 and 5N/6, and has to have more than one epoch.

What the notes leave open is decided so:

- The average is of the standardised NLL, so that examples seen early and late can be compared; its decay is
  0.9 and it is divided by 1 - 0.9^visits, as Adam's are. After a replacement it begins anew.
- The coin is tossed before the answer is sampled: the same distribution at half the cost.
- The last target of an example is resampled; an answer that does not end, or says nothing, is thrown away.
- No answer is checked, as published; `verify` keeps only those with the final answer of the demonstration.

Nothing here samples, trains or saves: `resampling_trainer.py` does. (`advisor rewrite` is another thing: it
changes a dataset before a training, by hinted decoding.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advisor.errors import InputError

REPLACED, SAME, UNFINISHED, WRONG = "replaced", "same", "unfinished", "wrong"

Row = dict[str, Any]
"""A row of the training set, as the collator takes it."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """When and how targets are sampled anew; the published values where there are any."""

    warmup: float = 1 / 2
    """Share of the optimiser steps before the first resampling; published: 3000 steps."""
    interval: float = 1 / 6
    """Share of the steps between two; published: 1000 steps."""
    share: float = 0.005
    """Share of the examples chosen at a time: those with the highest averages, at least one."""
    probability: float = 0.5
    """With which a chosen example is replaced."""
    top_p: float = 0.9
    """Of nucleus sampling."""
    temperature: float = 0.7
    """Of sampling."""
    decay: float = 0.9
    """Of the moving averages; ours."""
    verify: bool = False
    """Whether a new answer has to be that of the demonstration; not published."""
    answer_pattern: str | None = None
    """Finds the final answer, in one group; None: a known form."""

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("warmup", self.warmup, 0.0, 1.0),
            ("interval", self.interval, 1e-6, 1.0),
            ("share", self.share, 0.0, 1.0),
            ("probability", self.probability, 0.0, 1.0),
            ("decay", self.decay, 0.0, 0.9999),
        ):
            if not low <= value <= high:
                raise InputError(f"resampling: {name} = {value:g} lies outside {low:g} to {high:g}")

    def planned(self, number: int, steps: int) -> int:
        """Optimiser steps, of `steps`, that resampling `number`, counted from 0, comes after."""
        return max(1, round(steps * (self.warmup + number * self.interval)))


def read_resampling(
    resample: bool, verify: bool, answer_pattern: str | None, share: float | None = None
) -> Resampling | None:
    """What the flags of the command line ask for; InputError for parts of it without the whole."""
    if resample and (verify or not answer_pattern):
        share = Resampling.share if share is None else share
        return Resampling(verify=verify, answer_pattern=answer_pattern, share=share)
    if share is not None and not resample:
        raise InputError("--resample_share says how much --resample samples: give --resample too")
    if verify and not resample:
        raise InputError("--resample_verify checks what --resample samples: give --resample too")
    if answer_pattern:
        raise InputError(
            "--answer_regex is for --resample --resample_verify: give both, or leave it out"
        )
    return None


class Averages:
    """Moving averages of compatibility, one a source row; not a number before the first visit."""

    def __init__(self, rows: int, decay: float) -> None:
        self.decay = decay
        self.sums = np.zeros(rows)
        self.visits = np.zeros(rows, dtype=np.int64)

    def update(self, rows: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
        """Adds one score to each of these rows, which are distinct."""
        self.sums[rows] = self.decay * self.sums[rows] + (1 - self.decay) * scores
        self.visits[rows] += 1

    def forget(self, row: int) -> None:
        """Begins a row anew: its target is another."""
        self.sums[row], self.visits[row] = 0.0, 0

    @property
    def values(self) -> NDArray[np.float64]:
        """[rows] the averages, corrected for having begun at 0."""
        values = np.full(len(self.sums), np.nan)
        seen = self.visits > 0
        values[seen] = self.sums[seen] / (1 - self.decay ** self.visits[seen])
        return values

    def worst(self, count: int) -> list[int]:
        """The rows seen with the highest averages, at most `count`, the highest first."""
        values = self.values
        seen = np.flatnonzero(self.visits)
        order = np.argsort(-values[seen], kind="stable")  # of equals the first row
        return [int(row) for row in seen[order[:count]]]


def compatibility(
    rows: NDArray[np.int64], nll: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Distinct source rows of an optimiser step and their standardised mean NLL, from [tokens] of both.

    Population standard deviation plus 1e-6, as in the weight of `cadft`.
    """
    distinct, place = np.unique(rows, return_inverse=True)
    means = np.bincount(place, nll) / np.bincount(place)
    return distinct, (means - means.mean()) / (means.std() + 1e-6)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What became of one example that was to be resampled."""

    step: int
    """Optimiser steps done before it."""
    row: int
    """Source row, counted from 0."""
    average: float
    """Its average then."""
    outcome: str
    """`replaced`, `same` (as the old), `unfinished` or empty, or `wrong` (another final answer)."""
    before: str
    """Text of the old target."""
    after: str
    """Text of the sampled one."""


class Resampler:
    """Averages, resampled rows and what happened: all that a resampling remembers.

    Its randomness is seeded by `seed` and the number of resamplings so far, so that this number is all the
    random state there is to save.
    """

    def __init__(self, settings: Resampling, *, rows: int, examples: int, seed: int) -> None:
        """`rows` in the source, of which `examples` are trained on."""
        self.settings = settings
        self.seed = seed
        self.count = max(1, round(settings.share * examples))
        self.averages = Averages(rows, settings.decay)
        self.resampled: dict[int, Row] = {}
        self.steps: list[int] = []
        self.chosen = 0
        self.trained = 0
        self.attempts: list[Attempt] = []

    def observe(self, rows: NDArray[np.int64], nll: NDArray[np.float64]) -> None:
        """Adds an optimiser step, [tokens] source row and NLL, to the averages."""
        if len(rows):
            distinct, scores = compatibility(rows, nll)
            self.averages.update(distinct, scores)
            self.trained += len(self.resampled.keys() & set(distinct.tolist()))

    def due(self, step: int, steps: int) -> bool:
        """Whether to resample now, after `step` of `steps` optimiser steps."""
        return step >= self.settings.planned(len(self.steps), steps)

    def choose(self) -> tuple[list[int], list[int]]:
        """The rows whose averages are the worst, and those of them that the coin has fallen for."""
        worst = self.averages.worst(self.count)
        coin = self.random("coin")
        return worst, [row for row in worst if coin.random() < self.settings.probability]

    def random(self, purpose: str) -> Random:
        """A fresh random state of the next resampling."""
        # The word decides what is drawn: a new one would change every training.
        return Random(f"rewriting {self.seed} {len(self.steps)} {purpose}")

    def record(
        self, step: int, worst: Sequence[int], answers: Iterable[tuple[Attempt, Row]]
    ) -> None:
        """Takes over what one resampling sampled: replaced rows begin anew."""
        self.steps.append(step)
        self.chosen += len(worst)
        for attempt, row in answers:
            self.attempts.append(attempt)
            if attempt.outcome == REPLACED:
                self.resampled[attempt.row] = row
                self.averages.forget(attempt.row)

    def summary(self) -> dict[str, Any]:
        """How often it fired and what that changed, in counts."""
        outcomes = Counter(attempt.outcome for attempt in self.attempts)
        return {
            "steps": list(self.steps),
            "chosen": self.chosen,
            "sampled": len(self.attempts),
            **{name: outcomes[name] for name in (REPLACED, SAME, UNFINISHED, WRONG)},
            "rows_resampled": len(self.resampled),
            "trained_on_resampled": self.trained,
        }

    def describe(self) -> str:
        """The summary in a sentence."""
        found = self.summary()
        times = ", ".join(map(str, self.steps))
        when = f" (after steps {times})" if times else ""
        return (
            f"Resampling fired {len(self.steps)} times{when}: {found['chosen']} examples chosen, "
            f"{found['sampled']} sampled anew, {found[REPLACED]} replaced, {found[SAME]} the same, "
            f"{found[UNFINISHED]} unfinished, {found[WRONG]} with another answer; resampled rows were "
            f"trained on {self.trained} times."
        )

    def state(self) -> dict[str, Any]:
        """Everything a resumed training needs, as plain data; numbers come back to the last bit."""
        return {
            "settings": {**asdict(self.settings), "seed": self.seed},
            "summary": self.summary(),
            "attempts": [asdict(attempt) for attempt in self.attempts],
            "resampled": list(self.resampled.values()),
            "sums": self.averages.sums.tolist(),
            "visits": self.averages.visits.tolist(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state()`; ValueError where it is one of other settings or data."""
        state = _of_today(state)
        same = state["settings"] == {**asdict(self.settings), "seed": self.seed}
        if not same or len(state["sums"]) != len(self.averages.sums):
            raise ValueError("other settings or another dataset")
        summary = state["summary"]
        self.steps, self.chosen = list(summary["steps"]), summary["chosen"]
        self.trained = summary["trained_on_resampled"]
        self.attempts = [Attempt(**attempt) for attempt in state["attempts"]]
        self.resampled = {row["row"]: row for row in state["resampled"]}
        self.averages.sums = np.array(state["sums"])
        self.averages.visits = np.array(state["visits"], dtype=np.int64)


def _of_today(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state that may have been saved when resampling was called rewriting."""
    found = {key.replace("rewritten", "resampled"): value for key, value in state.items()}
    counts = found["summary"].items()
    found["summary"] = {key.replace("rewritten", "resampled"): value for key, value in counts}
    return found


def with_answer(row: Row, start: int, answer: list[int], ends: int = 1) -> Row:
    """The row with `answer`, whose last `ends` tokens end a turn, from `start` on."""
    return {
        "input_ids": row["input_ids"][:start] + answer,
        "labels": row["labels"][:start] + answer,
        "terminator": row["terminator"][:start] + [0] * (len(answer) - ends) + [1] * ends,
        "row": row["row"],
    }
