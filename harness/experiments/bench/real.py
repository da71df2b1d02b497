"""A fine-tune of a real model: ours against TRL's SFTTrainer, seconds a step and peak memory.

    python -m harness.experiments.bench.real --model PATH --dataset ROWS.jsonl

Both take the same steps on the same rows as plain text, from the loss to the update, each time in a fresh
process; in turn, so that what else the machine does meets all of them alike. The first step of a process is
left out. Rows have the columns `prompt` and `completion`, or those that --prompt_field and
--completion_field name.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from advisor.errors import InputError
from advisor.model.load import load_model
from harness.experiments.bench import goals, measure
from harness.experiments.bench.goals import Goal
from harness.experiments.bench.measure import Conditions, Ratio, ratio, ratio_of
from harness.experiments.bench.real_steps import OURS, TRL, Request, asked

LEAST, MOST = 2.0, 0.5
"""The goals: TRL's seconds a step over ours, and our memory over TRL's."""
ALIKE = 0.02
"""Relative difference of the mean losses beyond which two variants have not trained the same."""
WARM = 1
"""First steps that are left out."""
Found = dict[str, list[dict[str, Any]]]
"""Variant -> what `real_steps` wrote, round by round."""


def main() -> None:
    """Times, prints the goals and writes the record; exits with 1 where the losses differ."""
    arguments = _parser().parse_args()
    try:
        _bench(arguments)
    except InputError as error:
        sys.stderr.write(f"harness.experiments.bench.real: error: {error}\n")
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness.experiments.bench.real", description=__doc__
    )
    add_data(parser)
    parser.add_argument("--objective", choices=("nll", "dft"), default="nll")
    parser.add_argument("--batch", type=int, default=8, help="rows a step")
    parser.add_argument("--steps", type=int, default=4, help="of every process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--lora", action="store_true", help="train an adapter of rank 16")
    return parser


def add_data(parser: argparse.ArgumentParser) -> None:
    """The options that say which model and which rows."""
    parser.add_argument("--model", required=True, help="folder or hub id")
    parser.add_argument("--dataset", required=True, type=Path, help="JSON lines")
    parser.add_argument("--prompt_field", default="prompt")
    parser.add_argument("--completion_field", default="completion")
    parser.add_argument("--max_length", type=int, default=512)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output_path", type=Path, help="JSON, such as results/bench/real.json")


def _bench(arguments: argparse.Namespace) -> None:
    if arguments.steps <= WARM:
        raise InputError(
            f"--steps {arguments.steps}: the first is left out; give at least {WARM + 1}"
        )
    # A name that is no model is refused here, not in a process that only says that it failed.
    parameters = load_model(arguments.model, dtype="float32", device="cpu").parameters
    rows = rows_of(arguments, arguments.steps * arguments.batch)
    request = Request(
        variant="", model=arguments.model, rows=rows, batch=arguments.batch,
        objective=arguments.objective, max_length=arguments.max_length, lora=arguments.lora,
        threads=arguments.threads, device=arguments.device,
    )  # fmt: skip
    conditions = Conditions(
        device=arguments.device, threads=arguments.threads, clock="wall", rounds=arguments.rounds + 1,
    )  # fmt: skip
    facts = measure.facts(conditions)
    found = measured(request, arguments.rounds)
    reached = goals_of(
        found, where := f"{parameters / 1e6:.0f}M{' LoRA' if arguments.lora else ''}"
    )
    for line in ["", *goals.table(reached)]:
        _say(line)
    if arguments.output_path:
        record = {
            "bench": "real", **facts, "goals": [goal.as_json() for goal in reached],
            "cases": [{"case": {"where": where, "batch": request.batch, "steps": arguments.steps,
                                "objective": request.objective}, "variants": found}],
        }  # fmt: skip
        goals.write(arguments.output_path, record)
    if apart := [name for name in OURS if _loss(found, name) > ALIKE]:
        sys.exit(
            f"harness.experiments.bench.real: error: another loss than TRL's: {', '.join(apart)}"
        )


def measured(request: Request, rounds: int) -> Found:
    """Every variant once a round, a process each."""
    found: Found = {name: [] for name in (*OURS, TRL)}
    for number in range(rounds):
        for name in found:
            one = _in_fresh_process(replace(request, variant=name))
            found[name].append(one)
            step = sum(one["seconds"][WARM:]) / len(one["seconds"][WARM:])
            _say(f"round {number + 1} of {rounds}, {name}: {step:.2f} s a step, "
                 f"{one['peak'] / 2**30:.2f} GiB, loss {one['loss']:.4f}")  # fmt: skip
    return found


def goals_of(found: Found, where: str) -> list[Goal]:
    """Time and memory of both of ours against TRL."""
    steps = {name: [sum(one["seconds"][WARM:]) for one in runs] for name, runs in found.items()}
    peaks = {name: [one["peak"] for one in runs] for name, runs in found.items()}
    reached = []
    for name in OURS:
        memory: Ratio = ratio_of([a / b for a, b in zip(peaks[name], peaks[TRL], strict=True)])
        reached += [
            Goal(name="R1", what=f"trl / {name}, seconds a step", where=where, bound=LEAST,
                 measured=ratio(steps[TRL], steps[name]), at_least=True),
            Goal(name="R2", what=f"{name} / trl, peak memory", where=where, bound=MOST, measured=memory),
        ]  # fmt: skip
    return reached


def rows_of(arguments: argparse.Namespace, wanted: int) -> list[dict[str, str]]:
    """The first rows of `--dataset`, each with prompt and completion.

    Raises:
        InputError: it has not so many, or other columns.
    """
    try:
        lines = [
            json.loads(line) for line in arguments.dataset.read_text("utf-8").splitlines()[:wanted]
        ]
        rows = [{"prompt": line[arguments.prompt_field], "completion": line[arguments.completion_field]}
                for line in lines]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{arguments.dataset}: no rows ({error!r}): name JSON lines and their columns "
                         "with --prompt_field and --completion_field") from error  # fmt: skip
    if len(rows) < wanted:
        raise InputError(f"{arguments.dataset}: {len(rows)} rows, of which {wanted} are needed")
    return rows


def _in_fresh_process(request: Request) -> dict[str, Any]:
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "harness.experiments.bench.real_steps",
        asked(request),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(request.threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise InputError(f"{request.variant} failed: {done.stderr.strip().splitlines()[-1][:300]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()  # a bench takes minutes, and may be read while it runs


def _loss(found: Found, name: str) -> float:
    """How far a variant's mean loss is from TRL's, relatively."""
    ours, theirs = (float(found[one][0]["loss"]) for one in (name, TRL))
    return abs(ours - theirs) / theirs


if __name__ == "__main__":
    main()
