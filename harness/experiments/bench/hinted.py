"""Hinted decoding against plain `generate`, time per token and peak memory.

    python -m harness.experiments.bench.hinted

Same model, same batch, same number of new tokens, the same sampling; none ends early. The goal is a time per
token of at most 2.5 times that of `generate`. Two ratios are told: with the reading of the prompts, of which
the hinted ones are three or eight times as long, and of the steps alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils.logging import set_verbosity_error

from advisor.model.load import LoadedModel, load_model
from harness.experiments.bench import goals, measure
from harness.experiments.bench.models import LARGE, Body, make_model
from harness.generate.hinted import Mixing, hinted_answers
from harness.generate.rewrite_settings import Sampling
from harness.ladder import resolve

BOUND = 2.5
SAMPLING = Sampling()
BODY = Body(hidden=384, intermediate=1024, layers=8, heads=6)
"""About 20 million parameters with VOCABULARY."""
VOCABULARY = 16_000
PLAIN, HINTED, READ = "generate", "hinted", ": prompts"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is decoded."""

    model: str
    """ladder (its strong rung) or llama (random weights, about 20M parameters)."""
    batch: int
    """Rows."""
    plain: int
    """Tokens of the plain prompt."""
    hinted: int
    """Tokens of the prompt with hint and analysis."""
    new: int
    """Tokens written; fewer than repetition is looked for after."""


CASES = (
    Case(model="ladder", batch=8, plain=20, hinted=60, new=64),
    Case(model="ladder", batch=8, plain=20, hinted=160, new=64),
    Case(model="llama", batch=8, plain=64, hinted=192, new=96),
    Case(model="llama", batch=8, plain=64, hinted=512, new=96),
)


def make(case: Case, conditions: measure.Conditions) -> LoadedModel:
    """The case's model, which never ends an answer."""
    if case.model == "ladder":
        model = load_model(resolve("strong")[0], dtype="float32", device=conditions.device).model
    else:
        model = make_model(
            LARGE if conditions.device == "cuda" else BODY,
            VOCABULARY,
            torch.float32,
            conditions.device,
            conditions.seed,
        ).eval()
    model.generation_config.eos_token_id = []
    size = model.config.get_text_config().vocab_size
    words = models.WordLevel({f"w{i}": i for i in range(size)}, unk_token="w0")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), pad_token="w0")
    return LoadedModel(
        model=model, tokenizer=tokenizer, name=case.model, fingerprint="", notes=(), kind="base",
        parameters=model.num_parameters(), dtype="float32", device=conditions.device,
    )  # fmt: skip


def variants(case: Case, conditions: measure.Conditions) -> dict[str, Callable[[], int]]:
    """By name, what decodes once and gives the number of new tokens of a row; READ: the first token alone."""
    loaded, generator = make(case, conditions), torch.Generator().manual_seed(conditions.seed)
    size = loaded.model.config.get_text_config().vocab_size
    plain, hint = (
        torch.randint(1, size, (case.batch, length), generator=generator)
        for length in (case.plain, case.hinted)
    )
    numbers = torch.rand(case.batch, case.new, generator=generator)
    mixing = Mixing(splitter="never written")
    ids, generate = plain.to(loaded.model.device), _generate(loaded)

    def ours(new: int) -> int:
        drawn = numbers[:, :new]
        answers = hinted_answers(loaded, hint.tolist(), plain.tolist(), drawn, SAMPLING, mixing)
        return max(len(answer.tokens) for answer in answers)

    def theirs(new: int) -> int:
        output = generate(ids, torch.ones_like(ids), new)
        return int(output.shape[1]) - case.plain

    return {
        PLAIN: partial(theirs, case.new),
        HINTED: partial(ours, case.new),
        PLAIN + READ: partial(theirs, 1),
        HINTED + READ: partial(ours, 1),
    }


def _generate(loaded: LoadedModel) -> Callable[..., Any]:
    method: Any = loaded.model.generate

    def generate(ids: torch.Tensor, mask: torch.Tensor, new: int) -> Any:
        return method(
            input_ids=ids, attention_mask=mask, max_new_tokens=new, pad_token_id=0, do_sample=True,
            temperature=SAMPLING.temperature, top_p=SAMPLING.top_p, top_k=0,
        )  # fmt: skip

    return generate


def run_case(case: Case, conditions: measure.Conditions) -> dict[str, Any]:
    """Times, their ratio and the peaks of memory of a case."""
    made = variants(case, conditions)
    lengths = {name: made[name]() for name in (PLAIN, HINTED)}
    if set(lengths.values()) != {case.new}:
        raise measure.WrongNumbers(f"{lengths} new tokens instead of {case.new}")
    times = measure.interleave(made, conditions)
    steps = {
        name: [a - b for a, b in zip(times[name], times[name + READ], strict=True)]
        for name in (PLAIN, HINTED)
    }
    found = measure.ratio(times[HINTED], times[PLAIN])
    peaks = [peak(case, name, conditions) for name in (PLAIN, HINTED) if conditions.memory]
    return {
        "case": asdict(case),
        "milliseconds_per_token": {n: 1e3 * statistics.median(times[n]) / case.new for n in steps},
        "ratio": asdict(found),
        "ratio_of_steps": asdict(measure.ratio(steps[HINTED], steps[PLAIN])),
        "peak_mib": [round(value / measure.MIB, 1) for value in peaks],
        "reached": found.median <= BOUND,
    }


def peak(case: Case, name: str, conditions: measure.Conditions) -> int:
    """Peak memory beyond the model's, in bytes, in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(_peak, case, name, conditions).result()


def _peak(case: Case, name: str, conditions: measure.Conditions) -> int:
    torch.set_num_threads(conditions.threads)
    set_verbosity_error()
    return measure.peak_extra(variants(case, conditions)[name], conditions.device)


def main() -> None:
    """Parses the command line, measures every case, prints a line for each."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.experiments.bench.hinted", description=__doc__
    )
    parser.add_argument(
        "--models", nargs="+", choices=("ladder", "llama"), default=["ladder", "llama"]
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=6, help="the first one is dropped")
    parser.add_argument("--no_memory", action="store_true")
    parser.add_argument("--output_path", type=Path, help="JSON, e.g. results/bench/hinted.json")
    arguments = parser.parse_args()
    set_verbosity_error()
    torch.set_num_threads(arguments.threads)
    clock = "cpu" if arguments.threads == 1 else "wall"
    conditions = measure.Conditions(
        device=arguments.device,
        threads=arguments.threads,
        clock="cuda" if arguments.device == "cuda" else clock,
        rounds=arguments.rounds,
        memory=not arguments.no_memory and measure.can_measure_memory(arguments.device),
    )
    records = []
    for case in CASES:
        if case.model in arguments.models:
            records.append(run_case(case, conditions))
            sys.stdout.write(json.dumps(records[-1]) + "\n")
            sys.stdout.flush()
    if arguments.output_path:
        record = {"bench": "hinted", **measure.facts(conditions), "cases": records}
        goals.write(arguments.output_path, record)


if __name__ == "__main__":
    main()
