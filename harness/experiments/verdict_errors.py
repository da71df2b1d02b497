"""How often a verdict is wrong, and how often it finds what is there, in simulated studies.

    python -m harness.experiments.verdict_errors [--studies 240] [--output_path results/verdict-errors.json]

A study has the untouched base, NLL, NLL at a tenth of its rate and four other objectives; 300 test
documents scored 0 or 1 that share their difficulty (a probit model); and the score of a seed differs from
that of its objective by a normal deviate of 0, 3 or 10 points. Errors are of a whole study: one false word
among its comparisons counts. `docs/verdicts.md` shows the record.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from harness.records.arm import BASE, NLL
from harness.records.runs import Run, RunSpec, Score
from harness.runtime.environment import Environment
from harness.study.study import Study, next_runs
from harness.study.verdict import Verdict, settle

DOCUMENTS = 300
OBJECTIVES = (NLL, "cadft", "idft", "neg_p", "threshold")
SEEDS = (1, 2, 3, 4, 5)
DEVIATIONS = (0.0, 0.03, 0.10)
MARGIN = 0.01
CLAIMS = ("better", "worse")
RECORD = Path("results/verdict-errors.json")
SHARES = "shares"
"""In the record of a case: points by which seeds differ -> number of seeds -> share of studies."""

Accuracies = Mapping[str, float]
"""True accuracy by method; of NLL at a tenth as of NLL."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is true, and what is counted."""

    key: str
    """Of its record."""
    name: str
    """What is true, and what is counted."""
    truth: Accuracies
    asks: str
    """"nll" or "base": a false word against it; "stay": "do not fine-tune"; a method: whether it is found."""
    wanted: bool = False
    """Whether it is right to say so, so that more is better."""


EQUAL = {BASE: 0.5, **dict.fromkeys(OBJECTIVES, 0.5)}
CASES = (
    Case(
        key="false-against-nll",
        name="no arm differs: a false word against NLL",
        truth=EQUAL,
        asks=NLL,
    ),
    Case(
        key="false-against-base",
        name="no arm differs: a false word against the base",
        truth=EQUAL,
        asks=BASE,
    ),
    Case(
        key="stay-at-13.6",
        name='every arm gains 13.6 over the base: "do not fine-tune"',
        truth={**dict.fromkeys(OBJECTIVES, 0.5), BASE: 0.364},
        asks="stay",
    ),
    Case(
        key="stay-at-2",
        name='every arm gains 2 over the base: "do not fine-tune"',
        truth={**dict.fromkeys(OBJECTIVES, 0.5), BASE: 0.48},
        asks="stay",
    ),
    Case(
        key="gain-of-4.8",
        name="-p gains 4.8 over NLL: found",
        truth={**EQUAL, "neg_p": 0.548},
        asks="neg_p",
        wanted=True,
    ),
    Case(
        key="gain-of-15",
        name="-p gains 15 over NLL: found",
        truth={**EQUAL, "neg_p": 0.65},
        asks="neg_p",
        wanted=True,
    ),
    Case(
        key="stay-at-loss-of-15",
        name='every arm loses 15 against the base: "do not fine-tune"',
        truth={**dict.fromkeys(OBJECTIVES, 0.35), BASE: 0.5},
        asks="stay",
        wanted=True,
    ),
)


def draws(
    rng: np.random.Generator, truth: Accuracies, seeds: int, deviation: float
) -> Iterator[tuple[str, bool, int, NDArray[np.bool_]]]:
    """(method, whether it is the control, seed, right answers) of every run of a study."""
    difficulty = rng.normal(size=DOCUMENTS)
    runs = [(BASE, False, 0)]
    runs += [(method, False, seed) for method in OBJECTIVES for seed in range(seeds)]
    runs += [(NLL, True, seed) for seed in range(seeds)]
    for method, control, seed in runs:
        shift = 0.0 if method == BASE else deviation * rng.normal()
        level = 2**0.5 * ndtri(np.clip(truth[method] + shift, 0.001, 0.999))
        yield method, control, seed, level + difficulty + rng.normal(size=DOCUMENTS) > 0


def simulated(rng: np.random.Generator, truth: Accuracies, seeds: int, deviation: float) -> Verdict:
    """The verdict on one study."""
    study = Study(
        model="simulated", model_fingerprint="m", dataset="simulated", dataset_fingerprint="d",
        objectives=OBJECTIVES, learning_rates=(1e-3,), seeds=tuple(range(seeds)), tasks=("t",),
        temperature=0.0, evaluation={"temperature": 0.0, "temperatures": [0.0]}, full=True,
    )  # fmt: skip
    drawn = {
        (method, control, seed): right
        for method, control, seed, right in draws(rng, truth, seeds, deviation)
    }
    runs: list[Run] = []
    while specs := next_runs(study, runs):
        for spec in specs:
            key = (spec.arm.method, spec.arm.control is not None, spec.seed)
            runs.append(_run(spec, drawn[key]))
    return settle(study, runs, margin=100 * MARGIN)


def _run(spec: RunSpec, right: NDArray[np.bool_]) -> Run:
    values = tuple((float(x),) for x in right)
    documents = tuple(map(str, range(len(values))))
    scores = tuple(
        Score(
            task="t", metric="acc", temperature=0.0, part=part, documents=documents, values=values
        )
        for part in ("development", "test")
    )
    return Run(
        spec=spec, environment=Environment.here(), domain="user", prior=None, steps=(), held_out={},
        scores=scores, seconds=1.0, tokens=0, peak_memory_bytes=0,
    )  # fmt: skip


def said(verdict: Verdict, asks: str) -> bool:
    """Whether a verdict says what a case counts."""
    if asks == "stay":
        return verdict.fine_tune is False
    if asks in (NLL, BASE):
        return any(row.verdict in CLAIMS for row in verdict.against(asks))
    return any(row.verdict == "better" and row.arm.method == asks for row in verdict.against(NLL))


def studies_of(case: Case, studies: int) -> int:
    """How many studies a case gets: errors are rare, finds are not."""
    return studies if case.truth == EQUAL else studies // 3


def rates(studies: int) -> dict[str, dict[tuple[int, float], float]]:
    """By case, (seeds, deviation) -> share of studies that say it; cases of one truth share studies."""
    found: dict[str, dict[tuple[int, float], float]] = {case.name: {} for case in CASES}
    truths = {tuple(sorted(case.truth.items())): case.truth for case in CASES}
    for (key, truth), number, deviation in product(truths.items(), SEEDS, DEVIATIONS):
        cases = [case for case in CASES if tuple(sorted(case.truth.items())) == key]
        rng = np.random.default_rng([number, round(1000 * deviation)])
        count = studies_of(cases[0], studies)
        verdicts = [simulated(rng, truth, number, deviation) for _ in range(count)]
        for case in cases:
            hits = [said(verdict, case.asks) for verdict in verdicts]
            found[case.name][number, deviation] = float(np.mean(hits))
        sys.stderr.write(f"{cases[0].name}: {number} seeds, {100 * deviation:.0f} points\n")
    return found


def record(studies: int) -> dict[str, Any]:
    """Every case with its rates, as plain data."""
    found = rates(studies)
    return {
        "documents": DOCUMENTS,
        "cases": {
            case.key: {
                "counted": case.name,
                "more_is_better": case.wanted,
                "studies": studies_of(case, studies),
                SHARES: {
                    f"{100 * deviation:g}": {
                        str(number): found[case.name][number, deviation] for number in SEEDS
                    }
                    for deviation in DEVIATIONS
                },
            }
            for case in CASES
        },
    }


def main() -> None:
    """Simulate and write."""
    parser = argparse.ArgumentParser(description="Errors and power of verdicts.")
    parser.add_argument("--studies", type=int, default=240, help="simulated in each cell")
    parser.add_argument("--output_path", type=Path, default=RECORD)
    args = parser.parse_args()
    text = json.dumps(record(args.studies), indent=1)
    args.output_path.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
