"""How many examples the prior reads until the recommendation is settled, and how often it is settled wrongly.

    python -m harness.experiments.prior_reading pairs SHARED      # ten real pairs, before and after
    python -m harness.experiments.prior_reading simulate          # coverage and wrong answers under peeking

`pairs` runs `advisor recommend` on every pair twice: in a worktree of the commit before intervals were made
by bets, and in this one; SHARED is the folder of real models and data. Each step writes its part of
`results/prior-reading.json`, which `docs/speed.md` shows. Until then the interval was an asymptotic
confidence sequence (Waudby-Smith et al., arXiv:2103.06476, Theorem 2.2) with three imaginary examples, joint
over six statistics by Bonferroni, looked at after every 128 examples; it stands here for the simulation.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advisor.advice.published_rule import case_of, choices, is_settled
from advisor.prior.intervals import Interval, ratio_interval
from advisor.prior.prior import ERROR, intervals_of
from advisor.prior.prior_json import CUT, READ

Array = NDArray[np.float64]
Draw = tuple[Array, Array]
Columns = dict[str, Array]
BEFORE = "590e6fa"
"""The commit that is measured as "before"."""
RECORD = Path("results/prior-reading.json")
ROOT = Path(__file__).parents[2]
PAIRS: dict[str, tuple[str, ...]] = {
    "ladder:strong": ("ladder:strong",),
    "ladder:mid": ("ladder:mid",),
    "ladder:weak": ("ladder:weak",),
    "260k, gsm8k": ("models/tinystories-260k", "data/gsm8k/test.jsonl"),
    "260k, svamp": (
        "models/tinystories-260k", "data/svamp/SVAMP.json",
        "--prompt_field", "Body", "--completion_field", "Question",
    ),
    "260k, dolly": ("models/tinystories-260k", "data/dolly-5k/dolly_5k.jsonl"),
    "260k, tinystories": ("models/tinystories-260k", "data/tinystories/tinystories_sft.jsonl"),
    "bytechar-969k, gsm8k": ("models/tinystories-bytechar-969k", "data/gsm8k/test.jsonl"),
    "bytechar-969k, tinystories": (
        "models/tinystories-bytechar-969k", "data/tinystories/tinystories_sft.jsonl",
    ),
    "279k-early, dolly": ("models/tinystories-279k-early", "data/dolly-5k/dolly_5k.jsonl"),
}  # fmt: skip
"""Words of the command line; models and data lie in SHARED."""
LOOKS = {
    "before": tuple(range(128, 1025, 128)),
    "after": (32, 64, 96, 128, 160, 200, 250, 312, 390, 487, 608, 736, 864, 992),
}
"""Examples after which each rule looks, in the simulations."""
SIMULATIONS = 400


def read_pair(checkout: Path, shared: Path, words: tuple[str, ...]) -> dict[str, Any]:
    """What `advisor recommend` of a checkout measures of a pair, on one thread."""
    where = [str(shared / word) if "/" in word else word for word in words]
    command = [sys.executable, "-m", "advisor", "recommend", *where, "--temperature", "0", "--json"]
    threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
    ran = subprocess.run(
        command,
        cwd=checkout,
        env={**os.environ, **threads},
        capture_output=True,
        check=True,
        text=True,
    )
    prior = json.loads(ran.stdout)["prior"]
    return {name: prior[name] for name in ("examples", "seconds", "mean_p")}


def pairs(shared: Path) -> dict[str, Any]:
    """Every pair before and after."""
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "before"
        git = ("git", "-C", str(ROOT), "worktree")
        subprocess.run([*git, "add", "--detach", str(old), BEFORE], check=True, capture_output=True)
        try:
            found = {}
            for name, words in PAIRS.items():
                found[name] = {
                    "before": read_pair(old, shared, words),
                    "after": read_pair(ROOT, shared, words),
                }
                sys.stderr.write(f"{name}: {found[name]}\n")
            return found
        finally:
            subprocess.run([*git, "remove", "--force", str(old)], check=True)


def sequence_before(a: Array, b: Array, alpha: float) -> Interval:
    """The interval of then for sum(a) / sum(b): narrowest, relative to its best, at 512 examples."""
    examples, ratio = len(a), float(a.sum() / b.sum())
    square = float(np.square(a - ratio * b).sum()) + 3 * float(np.square(b).mean())
    rho2 = (2 * math.log(1 / alpha) + math.log(1 + 2 * math.log(1 / alpha))) / 512
    scale = examples * rho2 + 1
    radius = math.sqrt(square / examples) * math.sqrt(
        2 * scale / (examples**2 * rho2) * math.log(math.sqrt(scale) / alpha)
    )
    return ratio - radius / float(b.mean()), ratio + radius / float(b.mean())


def like(rng: np.random.Generator, n: int) -> Draw:
    """Examples of like length whose mean p varies mildly."""
    tokens = rng.integers(20, 40, n).astype(float)
    return tokens * rng.beta(6, 4, n), tokens


def clustered(rng: np.random.Generator, n: int) -> Draw:
    """Long examples are the improbable ones."""
    long = rng.random(n) < 0.2
    tokens = np.where(long, 200.0, 10.0)
    return tokens * np.where(long, rng.beta(2, 8, n), rng.beta(9, 1, n)), tokens


def rare(share: float) -> Callable[[np.random.Generator, int], Draw]:
    """A share of the examples is wholly of a kind that the others do not show."""

    def draw(rng: np.random.Generator, n: int) -> Draw:
        tokens = rng.integers(5, 50, n).astype(float)
        return tokens * (rng.random(n) < share), tokens

    return draw


def long_and_deviant(rng: np.random.Generator, n: int) -> Draw:
    """Lengths of a heavy tail (lognormal, sd 1); of those of over 148 tokens one in twenty is deviant."""
    tokens = np.exp(rng.normal(4, 1, n))
    deviant = (tokens > math.exp(5)) & (rng.random(n) < 0.05)
    return tokens * np.where(deviant, 0.0, 0.9), tokens


KINDS: dict[str, tuple[Callable[[np.random.Generator, int], Draw], float]] = {
    "examples alike": (like, 0.6),
    "long examples are the improbable ones": (clustered, 15.2 / 48),
    "one example in 33 is of another kind": (rare(0.03), 0.03),
    "one in 100": (rare(0.01), 0.01),
    "one in 300": (rare(1 / 300), 1 / 300),
    "lengths of a heavy tail, one long one in 20 is of another kind": (
        long_and_deviant, 0.9 * (1 - 0.05 / 2),
    ),
}  # fmt: skip
"""What examples are like -> how they are drawn, and the true ratio."""


def coverage() -> dict[str, dict[str, float]]:
    """Share of samples in which an interval of 95 % misses the truth at one look or another."""
    found = {}
    for kind, (draw, truth) in KINDS.items():
        rng, missed = np.random.default_rng(0), dict.fromkeys(LOOKS, 0)
        for _ in range(SIMULATIONS):
            a, b = draw(rng, max(LOOKS["before"]))
            for rule, looks in LOOKS.items():
                ends = (
                    sequence_before(a[:n], b[:n], 0.05)
                    if rule == "before"
                    else ratio_interval(a[:n], b[:n], alpha=0.05, anytime=True)
                    for n in looks
                )
                missed[rule] += any(not low <= truth <= high for low, high in ends)
        found[kind] = {rule: count / SIMULATIONS for rule, count in missed.items()}
        sys.stderr.write(f"{kind}: {found[kind]}\n")
    return found


def columns(
    rng: np.random.Generator, n: int, *, p: float, conflict: float, ignorance: float, spread: float
) -> Columns:
    """Examples as the prior sums them up: [examples] of every column that intervals are made of.

    The tokens of an example have one p, so that its mean has no noise of theirs.

    Args:
        rng: randomness.
        n: examples.
        p: mean of an example's mean p; its deviation between examples is `spread`.
        conflict: share of the tokens.
        ignorance: likewise.
        spread: standard deviation of an example's mean p.
    """
    tokens = np.ceil(np.exp(rng.normal(4, 0.5, n)))
    size = p * (1 - p) / spread**2 - 1
    mean = rng.beta(p * size, (1 - p) * size, n)
    low = rng.binomial(tokens.astype(int), conflict), rng.binomial(tokens.astype(int), ignorance)
    one = np.ones(n)
    return {
        "tokens": tokens, "p": tokens * mean, "p_squared": tokens * mean**2,
        "conflict": low[0].astype(float), "ignorance": low[1].astype(float),
        "eos_p": 0.9 * one, "eos_tokens": one, "template_p": 0 * one, "template_tokens": 0 * one,
    }  # fmt: skip


def between(c: Columns) -> Array:
    """[examples] squared deviations of mean p from the mean of all, less the noise of the tokens inside."""
    mean, n = c["p"] / c["tokens"], c["tokens"]
    inside = (c["p_squared"] - n * mean**2) / np.maximum(n - 1, 1)
    return np.where(n > 1, (mean - mean.mean()) ** 2 - inside / n, 0.0)


def seen(c: Columns, rule: str) -> Any:
    """What the published rule reads of a prior: estimates, and what each rule did not exclude."""
    total = c["tokens"].sum()
    shares = {name: float(c[name].sum() / total) for name in ("conflict", "ignorance")}
    values = between(c)
    found = SimpleNamespace(
        mean_p=float(c["p"].sum() / total), conflict_share=shares["conflict"],
        ignorance_share=shares["ignorance"], p_eos=0.9, p_template=None,
        dispersion=math.sqrt(max(0.0, float(values.mean()))),
        model={"parameters": 7e9, "kind": "base"}, dataset={"rows": 50_000}, bounds={}, intervals={},
    )  # fmt: skip
    if rule == "after":
        found.intervals = intervals_of(c, CUT, alpha=2 * ERROR, anytime=True)
        return found
    alpha = 0.05 / len(READ)
    of = {"mean_p": "p", "conflict_share": "conflict", "ignorance_share": "ignorance"}
    found.bounds = {name: sequence_before(c[by], c["tokens"], alpha) for name, by in of.items()}
    found.bounds["p_eos"] = sequence_before(c["eos_p"], c["eos_tokens"], alpha)
    ends = sequence_before(values, np.ones(len(values)), alpha)
    found.bounds["dispersion"] = tuple(math.sqrt(min(max(end, 0.0), 0.25)) for end in ends)
    return found


EDGES: dict[str, dict[str, float]] = {
    "mean p .677, cut-off .675": {"p": 0.677, "conflict": 0.06, "ignorance": 0.02, "spread": 0.1},
    "mean p .287, cut-off .285": {"p": 0.287, "conflict": 0.2, "ignorance": 0.3, "spread": 0.05},
    "conflict .0302, ignorance .0298": {
        "p": 0.8,
        "conflict": 0.0302,
        "ignorance": 0.0298,
        "spread": 0.08,
    },
    "spread .151, cut-off .15": {"p": 0.8, "conflict": 0.06, "ignorance": 0.02, "spread": 0.151},
    "three of these at once": {
        "p": 0.677,
        "conflict": 0.0302,
        "ignorance": 0.0298,
        "spread": 0.151,
    },
    "far from every cut-off": {"p": 0.8, "conflict": 0.06, "ignorance": 0.02, "spread": 0.08},
}
"""Populations of a 7B base model with 50,000 examples, most of them beside a cut-off."""


def answers(found: Any) -> tuple[Any, ...]:
    """Regime and first arm, greedy and sampled."""
    cases = (case_of(temperature=t, kind="base") for t in (0.0, 1.0))
    here = (choices(found, case)[0] for case in cases)
    return tuple((choice.regime, choice.order[0]) for choice in here)


def stopping(simulations: int = SIMULATIONS // 4) -> dict[str, dict[str, dict[str, float]]]:
    """By population and rule: share of samples settled on a wrong answer, on any, and mean examples read."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, edge in EDGES.items():
        truth = answers(seen(columns(np.random.default_rng(1), 400_000, **edge), "none"))
        rng = np.random.default_rng(2)
        runs: dict[str, list[tuple[bool, bool, int]]] = {rule: [] for rule in LOOKS}
        for _ in range(simulations):
            c = columns(rng, max(LOOKS["before"]), **edge)
            for rule in LOOKS:
                runs[rule].append(_stopped(c, rule, truth))
        found[name] = {
            rule: dict(
                zip(("wrong", "settled", "examples"), np.mean(each, axis=0).tolist(), strict=True)
            )
            for rule, each in runs.items()
        }
        sys.stderr.write(f"{name}: {found[name]}\n")
    return found


def _stopped(c: Columns, rule: str, truth: tuple[Any, ...]) -> tuple[bool, bool, int]:
    """Whether a measurement was settled on a wrong answer, or on any, and the examples it read."""
    for n in LOOKS[rule]:
        found = seen({name: column[:n] for name, column in c.items()}, rule)
        if is_settled(found, "base"):
            return answers(found) != truth, True, n
    return False, False, max(LOOKS[rule])


def main() -> None:
    """Run a step and write its part of the record."""
    parser = argparse.ArgumentParser(description="What the prior reads until it is settled.")
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("pairs").add_argument("shared", type=Path)
    steps.add_parser("simulate")
    args = parser.parse_args()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if args.step == "pairs":
        record["pairs"] = pairs(args.shared.resolve())
    else:
        record |= {"coverage": coverage(), "stopping": stopping()}
    RECORD.write_text(f"{json.dumps(record, indent=1)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
