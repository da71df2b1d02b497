"""The parts on the head alone: rates, exactness, speed against bare products, the kernel, the peers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any
from unittest.mock import patch

import torch

from advisor.model import head as ours
from harness.experiments.bench import head, measure, peers, variants
from harness.experiments.bench.problem import Problem
from harness.experiments.gpu.bench_of import Bench, summary
from harness.experiments.gpu.supervise import Found, Skipped, Tell

TILES, SMALL_TILES = (1024, 2048, 4096, 8192), (16, 32)
KERNELS = tuple((columns, warps) for columns in (4096, 8192, 16384) for warps in (8, 16, 32))
OBJECTIVES = ("nll", "dft")


def eager(variant: variants.Variant) -> variants.Variant:
    """The same without the kernel."""

    def run(problem: Problem) -> None:
        with patch.object(ours, "takes_kernel", lambda raw, statistics: False):
            variant(problem)

    return run


def rates(bench: Bench, tell: Tell) -> Found:
    """What the device can do: copies, square products, and the three products of the head."""
    begun = time.monotonic()
    problem = bench.problem("bfloat16")
    tell({"seconds_to_draw": time.monotonic() - begun})
    size = 2**22 if bench.small else 2**30
    source = torch.empty(size, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    multiply, operations = measure.matmul(torch.bfloat16, bench.device, 64 if bench.small else None)
    three = variants.floors(problem)["floor"]
    times = measure.interleave(
        {
            "copy": lambda: target.copy_(source),
            "product": multiply,
            "floor": lambda: three(problem),
        },
        bench.conditions(20),
    )
    rows, (vocabulary, hidden) = len(problem.rows), problem.weight.shape
    return {
        "bytes_a_second": 2 * size / median(times["copy"]),
        "product_flops_a_second": operations / median(times["product"]),
        "floor_flops_a_second": 6.0 * rows * vocabulary * hidden / median(times["floor"]),
        "floor_seconds": times["floor"],
    }


def exact(bench: Bench, tell: Tell) -> Found:
    """Gradients of ours against float64, with the kernel and eagerly, in both dtypes."""
    found: Found = {}
    for dtype in ("bfloat16", "float32"):
        made: dict[str, variants.Variant] = {}
        for objective in OBJECTIVES:
            made[f"ours {objective}"] = variants.ours(objective)
            made[f"ours eager {objective}"] = eager(variants.ours(objective))
        lines: list[str] = []
        found[dtype] = head.check(bench.problem(dtype), made, lines.append)
        tell({dtype: found[dtype]})
    return {"kernel": ours.takes_kernel(bench.problem("bfloat16").weight, ("logp",))}


def speed(bench: Bench, tell: Tell) -> Found:
    """Ours against the bare products, by the rows of a tile; then peaks of memory."""
    problem = bench.problem("bfloat16")
    made: dict[str, variants.Variant] = {}
    for objective in OBJECTIVES:
        for tile in SMALL_TILES if bench.small else TILES:
            made[f"ours {objective}, tile {tile}"] = variants.ours(objective, tile)
    made["ours eager dft"] = eager(variants.ours("dft"))
    made["ours dft, frozen"] = variants.frozen(variants.ours("dft"))
    bare = variants.floors(problem)
    runs = {name: _bind(variant, problem) for name, variant in {**bare, **made}.items()}
    times = measure.interleave(runs, bench.conditions(31), reset=problem.reset)
    tell({"seconds": times})
    floor = {name: "floor, frozen" if name.endswith("frozen") else "floor" for name in made}
    tell({"over_floor": {name: summary(times[name], times[floor[name]]) for name in made}})
    del runs
    return {"peak_extra": peaks(bench, made, tell)}


def peaks(bench: Bench, made: Mapping[str, variants.Variant], tell: Tell) -> dict[str, int]:
    """Bytes beyond what is there before, one variant after another."""
    found: dict[str, int] = {}
    if bench.device != "cuda":
        return found
    problem = bench.problem("bfloat16")
    for name, variant in made.items():
        problem.reset()
        found[name] = measure.peak_extra(_bind(variant, problem), bench.device)
        tell({"peak_extra": dict(found)})
    return found


def profile(bench: Bench, tell: Tell) -> Found:
    """Which kernels one call consists of, and how long each takes."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    problem, run = bench.problem("bfloat16"), variants.ours("dft")
    run(problem)
    problem.reset()
    cuda = bench.device == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profiled(activities=kinds) as seen:
        run(problem)
        if cuda:
            torch.cuda.synchronize()
    order = "cuda_time_total" if cuda else "cpu_time_total"
    return {"table": seen.key_averages().table(sort_by=order, row_limit=20).splitlines()}


def kernel(bench: Bench, tell: Tell) -> Found:
    """The kernel alone: how long it takes to compile, that it is right, and its speed by its two settings."""
    if not ours.has_triton():
        raise Skipped("Triton is not installed")
    from advisor.model.head_kernel import run_tile_

    problem = bench.problem("bfloat16")
    vocabulary = len(problem.weight)
    rows = 8 if bench.small else 4096
    raw = torch.randn(rows, vocabulary, device=bench.device).bfloat16() * 2
    targets = torch.randint(0, vocabulary, (rows,), device=bench.device)
    options: dict[str, Any] = {"scale": 1.0, "softcap": None, "needs": (), "gradient": True}
    eagerly = ours.logit_stats(raw.double(), targets)
    begun = time.monotonic()
    found = run_tile_(raw.clone(), targets, **options)
    error = (found.logp - eagerly.logp).abs().max().item()
    tell({"seconds_to_compile_and_run": time.monotonic() - begun, "error_of_log_p": error})
    if error > 1e-3:
        raise measure.WrongNumbers(f"the kernel's log p is off by {error:.1e}")
    if bench.device != "cuda":
        return {"speed": "not taken: by Triton's interpreter"}
    for columns, warps in KERNELS:
        run = _bind_tile(run_tile_, raw, targets, columns=columns, warps=warps, **options)
        times = measure.interleave({"kernel": run}, bench.conditions(12))["kernel"]
        tell({f"{columns} columns, {warps} warps": {"seconds": times}})
    return {"bytes_of_the_tile": raw.numel() * raw.itemsize}


def rivals(bench: Bench, tell: Tell) -> Found:
    """The other implementations, one after another: right or left out, time over ours, peak of memory."""
    problem = bench.problem("bfloat16")
    found, missing = peers.installed(bench.device)
    made: dict[str, variants.Variant] = {"hf nll": variants.hugging_face}
    made |= {f"{name} dft": variants.reweighted(peer, "dft") for name, peer in found.items()}
    tell({"missing": missing})
    for name, variant in made.items():
        lines: list[str] = []
        problem.reset()
        if not head.check(problem, {name: variant}, lines.append):
            tell({name: {"left_out": lines}})
            continue
        mine = variants.ours(variants.objective_of(name))
        runs = {name: _bind(variant, problem), "ours": _bind(mine, problem)}
        times = measure.interleave(runs, bench.conditions(5), reset=problem.reset)
        extra = peaks(bench, {name: variant}, lambda _: None).get(name)
        over = summary(times[name], times["ours"])
        tell({name: {"over_ours": over, "seconds": times, "peak_extra": extra}})
    return {}


def _bind(variant: variants.Variant, problem: Problem) -> Callable[[], object]:
    return lambda: variant(problem)


def _bind_tile(run: Callable[..., Any], *given: Any, **options: Any) -> Callable[[], object]:
    return lambda: run(*given, **options)
