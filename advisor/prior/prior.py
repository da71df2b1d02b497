r"""The prior: how much probability a model already gives the target tokens of a dataset.

`measure_prior(model, dataset) -> Prior`, forward passes only. The headline is the token micro-average
of Beyond Log Likelihood (arXiv:2510.00526, Eq. 5), $\frac{1}{N} \sum_i \sum_j p_\theta(y_{ij})$, with an
interval clustered by example; beside it stands what the average cannot see.

Targets that the data weigh 0 are none here. Other weights change no statistic: p says what the model knows of
a target, whatever that is worth, and the published cells and records that it is compared with are unweighted.

Examples are drawn in a seeded random order, a block at a time, sorted by length inside a block only,
so that after every block the examples seen are a random sample of the dataset. Measuring may stop when the
recommendation is the same everywhere in the anytime-valid intervals of the statistics it reads.

Those intervals, `Prior.intervals`, are not made wider for their number. To settle on an answer all the
cut-offs around it have to be excluded, so a wrong one is settled on only where the very cut-off that the
truth lies beyond is excluded by mistake: with a probability of 5 % at most, which is what each end of an
interval is given, whatever the other statistics do (an intersection-union test: Berger, Technometrics 1982).
Cut-offs that the answer does not hang on need not be excluded at all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from advisor.errors import InputError
from advisor.prior.intervals import Interval, mean_interval, ratio_interval
from advisor.prior.prior_json import CUT, READ, checked
from advisor.progress import Progress, untold

if TYPE_CHECKING:
    from advisor.data.dataset import SFTDataset
    from advisor.model.load import LoadedModel
    from advisor.prior.probe import Scored

LOW_P = 0.1
"""A target below this probability counts as improbable."""
SURE_NATS = 1.0
"""Below this entropy the model is sure: it chooses among fewer than e = 2.7 tokens."""
SMALLEST_BLOCK, LARGEST_BLOCK = 32, 128
"""Examples between two looks at the recommendation: a quarter of those seen, within these bounds."""
CEILING = 4096
"""Examples after which measuring stops though the recommendation is not settled."""
PERMUTED = 2**20
"""Rows up to which all numbers are shuffled, 8 bytes each; of more, only those drawn take memory."""
BINS = 20
"""Bins of the histogram of p."""
ENTROPY_EDGES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, math.inf)
"""Edges in nats of the joint histogram's entropy bins."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What forward passes tell of a model and a dataset; shares and means are over target tokens."""

    model: Mapping[str, Any]
    """Name, fingerprint, parameters, dtype, device and kind of the model, and the tokenizer's fingerprint."""
    dataset: Mapping[str, Any]
    """`DatasetInfo` as a dictionary."""
    examples: int
    """Examples measured."""
    target_tokens: int
    """Target tokens measured."""
    truncated: int
    """Examples looked at that were cut to `max_length`."""
    dropped: int
    """Examples looked at that have no target left and were not measured."""
    mean_p: float
    """Mean probability of a target token (micro-average)."""
    mean_p_interval: Interval
    """95 % interval of `mean_p` for the source of the examples, clustered by example."""
    anytime: bool
    """Whether the interval holds at every sample size (measuring stopped by itself)."""
    median_p: float
    """Median probability, to half a thousandth."""
    mean_log_p: float
    """Mean log-probability, natural log."""
    entropy: float
    """Mean entropy of the next-token distribution, nats."""
    top1: float
    """Share of targets that are the most probable token."""
    conflict_share: float
    """Share with p < 0.1 where the model is sure of something else (entropy below 1 nat)."""
    ignorance_share: float
    """Share with p < 0.1 where the model is unsure (entropy of 1 nat and more)."""
    p_eos: float | None
    """Mean p of the tokens that end a turn; None where no target ends one."""
    p_template: float | None
    """Mean p of the other special tokens and tokens of the template among the targets; None without any."""
    cll: float
    """Centred log-likelihood, mean of log p + entropy, nats (arXiv:2602.12222)."""
    dispersion: float
    """Standard deviation between examples of their mean p, net of the token noise inside them."""
    example_quantiles: Mapping[str, float]
    """Quantiles over examples of an example's mean p."""
    histogram: Sequence[int]
    """Target tokens by p, in 20 equal bins of [0, 1]."""
    joint_histogram: Sequence[Sequence[int]]
    """Target tokens by p (20 bins) and entropy (edges 0, .25, .5, 1, 2, 4, inf nats)."""
    bounds: Mapping[str, Interval]
    """Joint 95 % intervals of the statistics that the recommendation reads."""
    seed: int
    """Seed of the order in which examples were drawn."""
    seconds: float
    """Wall time of the measurement."""
    tokens: int | None = None
    """Tokens of the measured examples, prompts included; None in what an earlier version measured."""
    notes: Sequence[str] = field(default_factory=tuple)
    """What was assumed on the way, a sentence each."""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """What is not excluded of each statistic with a cut-off; the truth lies beyond an end with 5 % at most.

    `share_below` is the share with p < 0.1, `contradiction` is `conflict_share` less `ignorance_share`.
    Empty in what version 0.1 measured.
    """

    @property
    def share_below(self) -> float:
        """Share of target tokens with p < 0.1."""
        return self.conflict_share + self.ignorance_share

    @property
    def usable_rows(self) -> int:
        """Rows of the dataset that have a target, estimated from those that were looked at."""
        share = self.examples / (self.examples + self.dropped)
        return round(share * int(self.dataset["rows"]))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `share_p_below_0.1` is added."""
        return {**asdict(self), "share_p_below_0.1": self.share_below}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Prior:
        """The prior that `to_dict` made, read back from JSON or not.

        Raises:
            InputError: a field is missing or of another type; names it.
        """
        return cls(**checked(found, cls))


_COLUMNS = (
    "tokens", "p", "p_squared", "log_p", "entropy", "top1", "conflict", "ignorance",
    "eos_p", "eos_tokens", "template_p", "template_tokens",
)  # fmt: skip
Columns = Mapping[str, NDArray[np.float64]]
"""[examples] of every column, in the order of drawing."""
_PROVENANCE = (
    "name",
    "fingerprint",
    "parameters",
    "dtype",
    "device",
    "kind",
    "tokenizer_fingerprint",
)
ERROR = 0.05
"""Probability at most with which a cut-off is excluded though the truth lies beyond it, at any time."""


def _marks(tokenizer: Any, template: str) -> NDArray[np.int64]:
    """Ids of special tokens, and of added ones that the template writes itself; runs of space are neither."""
    return np.asarray(
        [
            i
            for i, token in tokenizer.added_tokens_decoder.items()
            if token.content.strip() and (token.special or token.content in template)
        ],
        dtype=np.int64,
    )


class _Sample:
    """Sums over each example's target tokens, and histograms over all of them."""

    def __init__(self, special: NDArray[np.int64]) -> None:
        self.special = special
        self.rows: list[list[float]] = []
        self.tokens = 0
        self.fine = np.zeros(1000, dtype=np.int64)
        self.joint = np.zeros((BINS, len(ENTROPY_EDGES) - 1), dtype=np.int64)

    def add(self, scored: Scored) -> None:
        """Take in one example, in the order of drawing: bets rest on the examples before."""
        p, entropy = scored.p, scored.entropy
        self.tokens += len(scored.example.input_ids)
        improbable, sure = p < LOW_P, entropy < SURE_NATS
        eos = np.isin(scored.positions, scored.example.terminators)
        ids = np.asarray(scored.example.input_ids)[scored.positions]
        template = np.isin(ids, self.special) & ~eos
        self.rows.append([
            len(p), p.sum(), np.square(p).sum(), scored.log_p.sum(), entropy.sum(), scored.top1.sum(),
            (improbable & sure).sum(), (improbable & ~sure).sum(),
            p[eos].sum(), eos.sum(), p[template].sum(), template.sum(),
        ])  # fmt: skip
        self.fine += np.histogram(p, bins=1000, range=(0, 1))[0]
        edges = np.linspace(0, 1, BINS + 1)
        self.joint += np.histogram2d(p, entropy.clip(min=0), bins=(edges, ENTROPY_EDGES))[0].astype(
            np.int64
        )

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """[examples] of every column."""
        table = np.asarray(self.rows, dtype=np.float64).reshape(-1, len(_COLUMNS))
        return {name: table[:, i] for i, name in enumerate(_COLUMNS)}


def _between(columns: Columns) -> NDArray[np.float64]:
    """One unbiased-in-the-mean estimate an example of the variance between examples of mean p.

    The squared deviation of an example's mean, less the variance of that mean over its own tokens.
    """
    several = columns["tokens"] > 1  # one token alone does not tell its noise from its example
    if not several.any():
        return np.zeros(1)
    n, p, p_squared = (columns[name][several] for name in ("tokens", "p", "p_squared"))
    mean = p / n
    inside = (p_squared - n * mean**2).clip(min=0) / (n - 1)
    between: NDArray[np.float64] = (mean - mean.mean()) ** 2 - inside / n
    return between


def _ratios(c: Columns) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Statistic -> [examples] numerators and denominators of a share; one without tokens is absent.

    The contradiction lies between -1 and 1 and is brought to a share here.
    """
    tokens = c["tokens"]
    ratios = {
        "mean_p": (c["p"], tokens),
        "conflict_share": (c["conflict"], tokens),
        "ignorance_share": (c["ignorance"], tokens),
        "share_below": (c["conflict"] + c["ignorance"], tokens),
        "contradiction": ((c["conflict"] - c["ignorance"] + tokens) / 2, tokens),
        "p_eos": (c["eos_p"], c["eos_tokens"]),
        "p_template": (c["template_p"], c["template_tokens"]),
    }
    return {name: (a, b) for name, (a, b) in ratios.items() if b.sum()}


def intervals_of(
    c: Columns, names: Sequence[str], *, alpha: float, anytime: bool
) -> dict[str, Interval]:
    """Statistic -> interval.

    Args:
        c: what was seen.
        names: of the statistics.
        alpha: one minus the coverage of each interval by itself.
        anytime: whether they must hold at every sample size at once.
    """
    found = {
        name: ratio_interval(a, b, alpha=alpha, anytime=anytime)
        for name, (a, b) in _ratios(c).items()
        if name in names
    }
    if "contradiction" in found:
        low, high = found["contradiction"]
        found["contradiction"] = (2 * low - 1, 2 * high - 1)
    found["dispersion"] = _dispersion(c, alpha=alpha, anytime=anytime)
    return found


def _dispersion(c: Columns, *, alpha: float, anytime: bool) -> Interval:
    """Interval of the standard deviation between examples."""
    # An example's mean p lies in [0, 1], so it deviates from the mean of all by this much at most.
    mean = float((c["p"] / c["tokens"]).mean())
    largest = max(mean, 1 - mean) ** 2 if anytime else 1.0
    ends = mean_interval(_between(c), alpha=alpha, anytime=anytime, largest=largest)
    low, high = (min(max(variance, 0.0), 0.25) for variance in ends)  # of shares: at most 1/4
    return math.sqrt(low), math.sqrt(high)


def _median(fine: NDArray[np.int64]) -> float:
    """Median from the fine histogram, interpolated inside its bin."""
    cumulative = fine.cumsum()
    half = cumulative[-1] / 2
    index = int(np.searchsorted(cumulative, half))
    before = cumulative[index - 1] if index else 0
    return float((index + (half - before) / fine[index]) / len(fine))


def _summarise(sample: _Sample, *, anytime: bool, **provenance: Any) -> Prior:
    c = sample.columns()
    tokens = c["tokens"].sum()
    share = {name: float(c[name].sum() / tokens) for name in _COLUMNS}
    eos, template = c["eos_tokens"].sum(), c["template_tokens"].sum()
    example_p = c["p"] / c["tokens"]
    return Prior(
        examples=len(example_p),
        target_tokens=int(tokens),
        tokens=sample.tokens,
        mean_p=share["p"],
        mean_p_interval=ratio_interval(c["p"], c["tokens"], alpha=0.05, anytime=anytime),
        anytime=anytime,
        median_p=_median(sample.fine),
        mean_log_p=share["log_p"],
        entropy=share["entropy"],
        top1=share["top1"],
        conflict_share=share["conflict"],
        ignorance_share=share["ignorance"],
        p_eos=float(c["eos_p"].sum() / eos) if eos else None,
        p_template=float(c["template_p"].sum() / template) if template else None,
        cll=share["log_p"] + share["entropy"],
        dispersion=math.sqrt(max(0.0, float(_between(c).mean()))),
        example_quantiles={
            str(q): float(np.quantile(example_p, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)
        },
        histogram=sample.joint.sum(axis=1).tolist(),
        joint_histogram=sample.joint.tolist(),
        bounds=intervals_of(c, READ, alpha=0.05 / len(READ), anytime=anytime),
        intervals=intervals_of(c, CUT, alpha=2 * ERROR, anytime=anytime),
        **provenance,
    )


def _block(seen: int) -> int:
    """How many examples to read before the next look."""
    return min(max(SMALLEST_BLOCK, seen // 4), LARGEST_BLOCK)


def drawn(rows: int, at_most: int, seed: int) -> NDArray[np.int64]:
    """[min(rows, at_most)] numbers of rows, distinct and in random order."""
    draw = np.random.default_rng(seed)
    if rows <= PERMUTED or at_most >= rows:
        return draw.permutation(rows)[:at_most]
    return draw.choice(rows, size=at_most, replace=False)


def measure_prior(
    loaded: LoadedModel,
    dataset: SFTDataset,
    *,
    limit: int | None = None,
    exact: bool = False,
    seed: int = 0,
    batch_tokens: int | None = None,
    settled: Callable[[Prior], bool] | None = None,
    on_progress: Progress = untold,
) -> Prior:
    """Measure a model's prior over a dataset.

    Args:
        loaded: the model with its tokenizer.
        dataset: tokenised by that tokenizer.
        limit: measure this many examples, no fewer and no more (fixed-sample interval).
        exact: measure every example (fixed-sample interval).
        seed: of the order in which examples are drawn.
        batch_tokens: tokens, padding included, that the model reads at a time; see `Probe`.
        settled: given the prior so far, whether to stop (`advisor.advice.published_rule.is_settled`). At
            most 4,096 examples are measured unless `limit` or `exact` says more.
        on_progress: told after every batch the examples looked at, and those that will be if it does not
            stop earlier.

    Raises:
        InputError: no example has a target, a token id lies outside the vocabulary, or the model's
            log-probabilities are not numbers.
    """
    from advisor.prior.probe import Probe

    fixed = exact or limit is not None
    at_most = limit if limit is not None else len(dataset) if exact else CEILING
    order = drawn(len(dataset), at_most, seed)
    if len(order) <= CEILING:
        dataset.expect(order.tolist())
    probe = Probe(loaded, batch_tokens=batch_tokens)
    sample = _Sample(_marks(loaded.tokenizer, dataset.info.template_text))
    start = time.monotonic()

    def prior() -> Prior:
        return _summarise(
            sample,
            anytime=not fixed,
            model={name: getattr(loaded, name) for name in _PROVENANCE},
            dataset=asdict(dataset.info),
            truncated=truncated,
            dropped=dropped,
            seed=seed,
            seconds=time.monotonic() - start,
            notes=(*loaded.notes, *probe.notes, *dataset.notes, *dataset.dropped()),
        )

    first = truncated = dropped = 0
    while first < len(order):
        block = order[first : first + _block(first)].tolist()
        dataset.tokenize(block)
        looked_at = [dataset[index] for index in block]
        kept = [example for example in looked_at if example.target_tokens]
        truncated += sum(example.truncated for example in looked_at)
        dropped += len(looked_at) - len(kept)
        done = first + len(block) - len(kept)
        scores: list[Scored] = []
        for batch in probe.score(kept):
            scores += batch
            on_progress(done + len(scores), len(order))
        place = {id(example): at for at, example in enumerate(kept)}  # they come shortest first
        for scored in sorted(scores, key=lambda scored: place[id(scored.example)]):
            sample.add(scored)
        first += len(block)
        if not fixed and settled is not None and sample.rows and settled(prior()):
            break
    if not sample.rows:
        dataset.require_targets()
        raise InputError(
            f"{dataset.info.name}: none of the {len(order)} rows that were drawn has a target left: give a "
            "higher --limit or --max_length"
        )
    return prior()
