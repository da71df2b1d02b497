"""The head, forward and backward: ours against the peers and against bare matrix products.

A case is a shape, a dtype and a share of supervised tokens (contiguous prompts in four sequences); all
its variants share one process. The floor is the three products (logits, dH, dW) on the supervised rows
only, two where the head is frozen. Gradients are compared with float64 before anything is timed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from advisor.model import head as ours_head
from advisor.model.out_of_memory import is_out_of_memory
from harness.experiments.bench import measure, peers
from harness.experiments.bench.goals import Goal, aligned
from harness.experiments.bench.measure import Conditions, NoRoom, WrongNumbers, ratio, ratio_of
from harness.experiments.bench.problem import (
    SHAPES,
    Case,
    Problem,
    checked,
    checked_objectives,
    exact_gradients,
    gradient_error,
    make,
)
from harness.experiments.bench.variants import Variant, counterpart, floors, objective_of, variants

ERROR = {torch.float32: 1e-4, torch.bfloat16: 0.05}
"""Relative gradient error against float64 beyond which ours computes something else."""
PEER_ERROR = 0.05
"""The same for a peer: torch's softmax on a CPU is itself off by 1e-3 where targets are certain."""
FAILURES = (RuntimeError, ImportError, TypeError, ValueError, NotImplementedError)
"""What libraries raise where they do not run: another GPU, a missing kernel, a dtype they do not take."""
Record = dict[str, Any]


def check(
    problem: Problem, made: dict[str, Variant], say: Callable[[str], None]
) -> dict[str, float]:
    """Relative gradient errors by name; takes out the peers that compute something else or fail.

    Raises:
        WrongNumbers: one of ours does.
        NoRoom: one of ours does not fit into memory.
    """
    problem = checked(problem)
    exact = exact_gradients(problem)
    errors = {}
    for name, variant in list(made.items()):
        bound = ERROR[problem.hidden.dtype] if name.startswith("ours") else PEER_ERROR
        problem.reset()
        try:
            variant(problem)
            error = gradient_error(problem, exact[objective_of(name)])
        except FAILURES as failure:
            error, reason = math.inf, _in_a_line(failure)
            if is_out_of_memory(failure) and name.startswith("ours"):
                raise NoRoom(f"{name}: {reason}") from failure
            say(f"{name}: {reason}")
        if error <= bound:
            errors[name] = error
            continue
        if name.startswith("ours"):
            raise WrongNumbers(f"{name}: relative gradient error {error:.1e} > {bound:g}")
        say(f"left out: {name} (relative gradient error {error:.1e})")
        del made[name]
    problem.reset()
    return errors


def _in_a_line(failure: BaseException) -> str:
    return (str(failure) or type(failure).__name__).splitlines()[0]


def run_case(
    case: Case,
    conditions: Conditions,
    say: Callable[[str], None],
    *,
    replace: Mapping[str, Variant] | None = None,
    tile_rows: int | None = None,
) -> Record:
    """Check, time and measure one case.

    Args:
        case: shape, dtype, share.
        conditions: of the run.
        say: takes a line of text.
        replace: variants to add, or to put in the place of others.
        tile_rows: for ours, instead of its default.

    Returns:
        A record that JSON can hold: variants with times, ratios, errors and memory.
    """
    problem = make(case, conditions)
    found, missing = peers.installed(conditions.device) if conditions.peers else ({}, [])
    for line in missing:
        say(line)
    made = {**variants(found, tile_rows), **(replace or {})}
    objectives = checked_objectives(problem)
    made = {name: run for name, run in made.items() if objective_of(name) in objectives}
    errors = check(problem, made, say)
    bare = floors(problem)
    times = measure.interleave(
        {name: _bind(variant, problem) for name, variant in {**bare, **made}.items()},
        conditions,
        reset=problem.reset,
    )
    peaks = _peaks(case, conditions, made, tile_rows, problem)
    tokens, hidden, vocabulary = len(problem.rows), *SHAPES[case.shape][1:]
    tile = min(tile_rows or ours_head.default_tile_rows(problem.weight), tokens)
    record = {
        "case": asdict(case),
        "rows": tokens,
        "gradients": (problem.hidden.numel() + problem.weight.numel()) * problem.weight.itemsize,
        "tile": vocabulary * problem.weight.itemsize * tile,
        "gflops": 6e-9 * tokens * hidden * vocabulary / min(times["floor"]),
        "floor_spread": measure.spread(times["floor"]),
        "variants": {
            name: {"seconds": seconds, "error": errors.get(name), "peak_extra": peaks.get(name)}
            for name, seconds in times.items()
        },
    }
    say_case(record, say)
    return record


def _bind(variant: Variant, problem: Problem) -> Callable[[], object]:
    return lambda: variant(problem)


def _peaks(
    case: Case,
    conditions: Conditions,
    made: Mapping[str, Variant],
    tile_rows: int | None,
    problem: Problem,
) -> dict[str, int | None]:
    """Peak memory of those variants that differ in it, bytes; CUDA counts exactly, in one process."""
    if not conditions.memory or not measure.can_measure_memory(conditions.device):
        return {}
    if conditions.device == "cuda":
        found: dict[str, int | None] = {}
        for name, variant in made.items():
            problem.reset()
            found[name] = measure.peak_extra(_bind(variant, problem), "cuda")
        problem.reset()
        return found
    return {
        name: measure.peak_in_fresh_process(
            "head", conditions, case=asdict(case), variant=name, tile_rows=tile_rows
        )
        for name in made
        if "threshold" not in name and name not in ("ours -p", "cce nll")
    }


def peak(
    conditions: Conditions, *, case: dict[str, Any], variant: str, tile_rows: int | None
) -> int:
    """Peak memory of one variant in this process, bytes; what compiles does so on a small case first."""
    run = variants(peers.installed(conditions.device)[0], tile_rows)[variant]
    run(make(Case(**{**case, "shape": "tiny"}), conditions))
    problem = make(Case(**case), conditions)
    return measure.peak_extra(lambda: run(problem), conditions.device)


def say_case(record: Record, say: Callable[[str], None]) -> None:
    """The table of one case."""
    times = {name: found["seconds"] for name, found in record["variants"].items()}
    rows = [("", "x floor", "x ours", "gradient error", "peak extra, MiB")]
    for name, found in record["variants"].items():
        base = "floor, frozen" if name.endswith("frozen") else "floor"
        pair = "" if name.startswith(("ours", "floor")) else counterpart(name)
        error, extra = found["error"], found["peak_extra"]
        rows.append(
            (
                name,
                str(ratio(times[name], times[base])),
                str(ratio(times[name], times[pair])) if pair in times else "",
                "" if error is None else f"{error:.1e}",
                "" if extra is None else f"{extra / measure.MIB:.0f}",
            )
        )
    say(
        f"\n{Case(**record['case'])}: {record['gflops']:.0f} GFLOP/s, "
        f"floor's spread {record['floor_spread']:.0%}"
    )
    for line in aligned(rows):
        say(line)


def goals(records: Sequence[Record]) -> list[Goal]:
    """What the cases say of the head's goals."""
    return [goal for record in records for goal in _goals_of(record)]


def _goals_of(record: Record) -> Iterator[Goal]:
    case = Case(**record["case"])
    single = case.dtype == "float32"
    yield from _time_goals(record, case, single=single)
    yield from _memory_goals(record, case, single=single)
    if single:
        errors = [v["error"] for name, v in record["variants"].items() if name.startswith("ours")]
        yield Goal(
            name="A1",
            what="gradient error",
            where=str(case),
            bound=3e-6,
            measured=ratio_of([max(errors)]),
        )


def _time_goals(record: Record, case: Case, *, single: bool) -> Iterator[Goal]:
    times = {name: found["seconds"] for name, found in record["variants"].items()}

    def goal(
        name: str, above: str, below: str, bound: float, *, at_least: bool = False
    ) -> Iterator[Goal]:
        if above in times and below in times:
            measured = ratio(times[above], times[below])
            what = f"{above} / {below}"
            yield Goal(
                name=name,
                what=what,
                where=str(case),
                bound=bound,
                measured=measured,
                at_least=at_least,
            )

    if case.supervised == 100:
        yield from goal("H1" if single else "H2", "ours dft", "floor", 1.2 if single else 1.6)
    if case.supervised == 25:
        yield from goal("H3", "hf nll", "ours nll", 4.5 if single else 7.0, at_least=True)
    for objective in ("nll", "dft"):
        yield from goal("H4", f"cce {objective}", f"ours {objective}", 1.1, at_least=True)
    for objective in ("-p", "dft"):
        yield from goal("H7", f"ours {objective}", "ours nll", 1.05)
    if case.supervised != 100:
        return
    if single:
        yield from goal("H8", "ours threshold 50 %", "floor", 0.85)
        yield from goal("H8", "ours threshold 10 %", "floor", 0.60)
    else:
        yield from goal("H9", "ours dft, frozen", "floor, frozen", 1.9)


def _memory_goals(record: Record, case: Case, *, single: bool) -> Iterator[Goal]:
    peaks = {name: found["peak_extra"] for name, found in record["variants"].items()}
    mine, theirs = peaks.get("ours dft"), peaks.get("hf nll")
    if case.supervised != 100 or mine is None:
        return
    where = str(case)
    if theirs is not None:
        bound = 0.15 if single else 0.10
        share = ratio_of([mine / theirs])
        yield Goal(
            name="H5", what="peak extra, ours / hf", where=where, bound=bound, measured=share
        )
    if single:
        tiles = ratio_of([(mine - record["gradients"]) / record["tile"]])
        yield Goal(
            name="H6",
            what="(peak extra - gradients) / tile",
            where=where,
            bound=1.15,
            measured=tiles,
        )
