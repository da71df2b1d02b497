"""`python -m harness.experiments.bench head|step|probe`: checks numbers, times, prints the goals."""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SHAPES = ("A", "B", "C", "D", "tiny")
DTYPES = ("float32", "bfloat16")


def main() -> None:
    """Parses the command line and runs one bench; exits with 1 where our numbers are wrong."""
    arguments = _parser().parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")  # what the peers say of themselves
    try:
        _run(arguments)
    except _errors() as error:
        kind = "no room" if type(error).__name__ == "NoRoom" else "wrong numbers"
        sys.exit(f"harness.experiments.bench: error: {kind}: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness.experiments.bench", description=__doc__
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    common.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    common.add_argument("--threads", type=int, default=1)
    common.add_argument(
        "--clock", choices=("cpu", "wall"), help="default: cpu time with one thread, else wall"
    )
    common.add_argument("--rounds", type=int, default=6, help="the first one is dropped")
    common.add_argument("--seed", type=int, default=0)
    common.add_argument("--no_peers", action="store_true", help="ours and the floor alone")
    common.add_argument("--no_memory", action="store_true")
    common.add_argument("--output_path", type=Path, help="JSON, e.g. results/bench/head.json")
    benches = parser.add_subparsers(dest="bench", required=True)
    head = benches.add_parser("head", parents=[common], help="the head, forward and backward")
    head.add_argument("--shapes", nargs="+", choices=SHAPES, default=["A"])
    head.add_argument("--supervised", nargs="+", type=int, default=[100, 25], help="per cent")
    head.add_argument("--tile_rows", type=int, help="of ours, instead of its default")
    step = benches.add_parser("step", parents=[common], help="one step of a whole model")
    step.add_argument("--tiny", action="store_true", help="try the command out")
    probe = benches.add_parser("probe", parents=[common], help="scoring a dataset")
    probe.add_argument("--vocabularies", nargs="+", type=int, default=[32_000, 151_936])
    probe.add_argument("--tiny", action="store_true", help="try the command out")
    return parser


def _errors() -> tuple[type[Exception], ...]:
    from harness.experiments.bench.measure import NoRoom, WrongNumbers

    return WrongNumbers, NoRoom


def _run(arguments: argparse.Namespace) -> None:
    # Imported here so that --help needs no torch.
    import torch
    from transformers.utils.logging import set_verbosity_error

    from harness.experiments.bench import goals, head, measure, probe, step

    set_verbosity_error()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    clock = arguments.clock or ("cpu" if arguments.threads == 1 else "wall")
    conditions = measure.Conditions(
        device=arguments.device,
        threads=arguments.threads,
        clock="cuda" if arguments.device == "cuda" else clock,
        rounds=arguments.rounds,
        seed=arguments.seed,
        peers=not arguments.no_peers,
        memory=not arguments.no_memory,
    )
    torch.set_num_threads(arguments.threads)
    found = measure.facts(conditions)
    _print_facts(found)
    bench = {"head": head, "step": step, "probe": probe}[arguments.bench]
    records = list(_records(arguments, conditions))
    reached = bench.goals(records)
    for line in ["", *goals.table(reached)]:
        _say(line)
    if noisy := [r["case"] for r in records if r["floor_spread"] > goals.NOISY]:
        _say(f"noisy, measure again when the machine is idle: {noisy}")
    found["load_average_after"] = round(os.getloadavg()[0], 2)
    if arguments.output_path:
        record = {"bench": arguments.bench, **found, "cases": records}
        goals.write(
            arguments.output_path, {**record, "goals": [goal.as_json() for goal in reached]}
        )


def _say(line: str) -> None:
    print(line, flush=True)  # a bench takes minutes, and may be read while it runs


def _records(arguments: argparse.Namespace, conditions: Any) -> Iterable[dict[str, Any]]:
    from harness.experiments.bench import head, probe, step
    from harness.experiments.bench.problem import Case

    for dtype in arguments.dtypes:
        if arguments.bench == "step":
            yield step.run_case(dtype, conditions, _say, tiny=arguments.tiny)
        elif arguments.bench == "probe":
            for size in arguments.vocabularies:
                probed = probe.Case(vocabulary=size, dtype=dtype, tiny=arguments.tiny)
                yield probe.run_case(probed, conditions, _say)
        else:
            for shape in arguments.shapes:
                for share in arguments.supervised:
                    case = Case(shape=shape, dtype=dtype, supervised=share)
                    yield head.run_case(case, conditions, _say, tile_rows=arguments.tile_rows)


def _print_facts(facts: dict[str, Any]) -> None:
    where = facts.get("gpu") or f"{facts['cpu']}, {facts['cores']} cores, {facts['cpu_capability']}"
    conditions = facts["conditions"]
    _say(
        f"{where}; {conditions['threads']} threads, {conditions['clock']} time, "
        f"load average {facts['load_average']}"
    )
    _say(", ".join(f"{name} {version}" for name, version in facts["versions"].items()))


if __name__ == "__main__":
    main()
