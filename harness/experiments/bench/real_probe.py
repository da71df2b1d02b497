"""The targets of a real dataset scored by a real model: our probe against lm-eval, interleaved.

    python -m harness.experiments.bench.real_probe --model PATH --dataset ROWS.jsonl

Log-probabilities are held against float64 of full logits, row by row, before anything is timed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import torch

from advisor.data.dataset import Example, load_dataset
from advisor.errors import InputError
from advisor.model.load import load_model
from harness.experiments.bench import goals, measure
from harness.experiments.bench.goals import Goal
from harness.experiments.bench.measure import Conditions, WrongNumbers, ratio
from harness.experiments.bench.probe import ERROR, Scores, exact_scores, lm_eval, ours
from harness.experiments.bench.real import add_data, rows_of
from harness.runtime.quiet import quiet

LEAST = 2.0
"""The goal: lm-eval's time over ours."""
CHECKED = 4
"""Rows whose log-probabilities are held against exact ones."""


def main() -> None:
    """Checks, times, prints the goal and writes the record."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.experiments.bench.real_probe", description=__doc__
    )
    add_data(parser)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=4, help="the first one is dropped")
    arguments = parser.parse_args()
    try:
        _bench(arguments)
    except (InputError, WrongNumbers) as error:
        sys.stderr.write(f"harness.experiments.bench.real_probe: error: {error}\n")
        sys.exit(2 if isinstance(error, InputError) else 1)


def _bench(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    conditions = Conditions(threads=arguments.threads, clock="wall", rounds=arguments.rounds)
    facts = measure.facts(conditions)
    loaded = load_model(arguments.model, dtype="float32", device="cpu")
    rows = rows_of(arguments, arguments.rows)
    dataset = load_dataset(
        rows, loaded.tokenizer, chat_template="none", max_length=arguments.max_length
    )
    examples = list(dataset)
    model = loaded.model.eval()
    runs = {"ours": ours(model, examples), "lm-eval": lm_eval(model, examples)}
    with quiet():
        _check(exact_scores(model, examples[:CHECKED]), runs["ours"](), examples)
        times = measure.interleave(runs, conditions)
    reached = Goal(
        name="R3",
        what="lm-eval / ours, time of the probe",
        where=f"{loaded.parameters / 1e6:.0f}M, {len(examples)} rows",
        bound=LEAST,
        measured=ratio(times["lm-eval"], times["ours"]),
        at_least=True,
    )
    sys.stdout.write("\n".join(goals.table([reached])) + "\n")
    if arguments.output_path:
        record = {
            "bench": "real", **facts, "goals": [reached.as_json()],
            "cases": [{"case": {"where": reached.where}, "variants": times}],
        }  # fmt: skip
        goals.write(arguments.output_path, record)


def _check(exact: Scores, found: Scores, examples: Sequence[Example]) -> None:
    """See that ours is right on the rows that were scored exactly.

    Raises:
        WrongNumbers: a log-probability is off.
    """
    first = found[: len(exact)]
    worst = max(float(np.abs(a - b).max()) for a, b in zip(first, exact, strict=True))
    if not worst <= ERROR["float32"]:
        raise WrongNumbers(f"log p is off by {worst:.1e} nats")


if __name__ == "__main__":
    main()
