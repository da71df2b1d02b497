"""What the deep probe found, as plain data: what forward passes alone cannot see of improbable targets.

A target that the model finds improbable is noise or something to learn. The quick probe cannot tell; a
short NLL run can, because what is learnable carries over to demonstrations that were not trained on. Where
answers can be checked, several are sampled to each prompt (see `pass_rates`).

- **Recovery.** Share of a held-out part's improbable targets (p < .1) that a short NLL run on other rows
  lifts above p = .5.
- **Coherence.** Cosine between the summed NLL gradients of two halves of the improbable targets, before the
  run: knowledge and conventions pull one way, random errors apart.

Provenance of the cut-offs: 64 pairs of a tiny model and a dataset (406 fine-tunes of 0.8M parameters). "-p
where recovery is below .5, else NLL" lost .2 points on average when sampled at temperature 1, and 1.1 when
decoded greedily. Recovery was .77 to 1 for unknown skills, 0 to .31 for known skills with random noise, .02
to .23 with systematic errors; coherence .86 to .99, .34 to .66, .47 to .82. Recovery moves with the learning
rate and the number of steps: on the shipped ladder, five draws of rows, this probe finds .36 to .49 at the
strong end, where part of the noise is a habit that can be learned, and .67 to .69 at the weak; a third of
that at a third of the rate. Coherence is steadier, .30 to .54 and .85 to .92. Both were measured on small
models only: the forecast reads recovery for models of the ladder's sizes (see `forecast`); for others these
numbers never decide, they can only take a decision back.

A systematic error and a new convention look alike to every gradient statistic; only trusted answers tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from advisor.prior.intervals import Interval
    from advisor.prior.pass_rates import PassRates

RECOVERED = 0.5
"""Probability above which an improbable target counts as recovered."""
RECOVERY_CUT = 0.5
"""Recovery from which the improbable targets count as learnable."""
COHERENCE_CUT = 0.76
"""Coherence from which they count as learnable: midway between random noise and unknown skills."""
HALF = 150
"""Improbable targets in each half for which coherence is given: it grows with their number."""

Reading = Literal["learnable", "noise", "unclear"]


@dataclass(frozen=True, kw_only=True)
class Deep:
    """What a short NLL run, gradients and sampled answers tell of a model and a dataset."""

    recovery: float | None
    """Share of the held-out improbable targets above p = .5 after the run; None where there are none."""
    recovery_interval: Interval | None
    """95 % interval, clustered by example."""
    improbable: int
    """Held-out targets with p < .1 before the run."""
    nll_before: float
    """Mean NLL of a held-out target before the run, nats."""
    nll_after: float
    """After it."""
    coherence: float | None
    """Expected cosine of two halves of 150 targets; None where too few examples have improbable ones."""
    coherence_interval: Interval | None
    """95 % interval, jackknife over examples."""
    coherence_examples: int
    """Examples with an improbable target whose gradients were taken, one target each."""
    coherence_parameters: str
    """"all" or "last block": what the gradients were taken with respect to."""
    accuracy: float | None
    """Share of sampled answers of the untouched model that equal the demonstration's; None: no answer."""
    accuracy_interval: Interval | None
    """95 % interval (Wilson)."""
    answers: int
    """Answers sampled, one a held-out prompt."""
    temperature: float
    """At which they were sampled; 0 is greedy."""
    training_rows: int
    """Rows of the short run."""
    held_out_rows: int
    """Rows kept back from it."""
    steps: int
    """Optimiser steps of the short run, of 8 rows."""
    learning_rate: float
    """Peak of the short run."""
    trained: str
    """"all" parameters or an "adapter"."""
    seed: int
    """Of the choice of rows, the run and the answers."""
    seconds: float
    """Wall time."""
    pass_rates: PassRates | None = None
    """What several answers to each prompt came to; None where none can be checked."""
    notes: Sequence[str] = field(default_factory=tuple)
    """What was assumed on the way, a sentence each."""

    @property
    def reading(self) -> Reading | None:
        """What the improbable targets look like; None where there are too few to say.

        "learnable" and "noise" need recovery and coherence on the same side of their cut-offs, and the whole
        interval of at least one of them.
        """
        if self.recovery is None or self.coherence is None:
            return None
        sides = {self.recovery >= RECOVERY_CUT, self.coherence >= COHERENCE_CUT}
        clear = _beside(self.recovery_interval, RECOVERY_CUT) or _beside(
            self.coherence_interval, COHERENCE_CUT
        )
        if len(sides) == 2 or not clear:
            return "unclear"
        return "learnable" if True in sides else "noise"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `reading` is added."""
        rates = None if self.pass_rates is None else self.pass_rates.to_dict()
        return {**asdict(self), "pass_rates": rates, "reading": self.reading}


def _beside(interval: Interval | None, cut: float) -> bool:
    """Whether a cut-off lies outside an interval."""
    return interval is not None and not interval[0] <= cut <= interval[1]
