"""The parts of a first run on a GPU, in their order: those that need PyTorch and the head alone come first.

What others need is imported where it is needed, so that a machine without TRL still tells what it can.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import torch

from harness.experiments.bench import measure
from harness.experiments.gpu import head_parts
from harness.experiments.gpu.bench_of import Bench, summary
from harness.experiments.gpu.supervise import Found, Part, Skipped, Table, Tell

CELLS, MODEL = "harness.experiments.real", Path("outputs/smollm2")
"""The study of a real model, and the folder that its own first step makes."""
TEXT = Path(os.environ.get("ADVISOR_SHARED", "../shared")) / "data" / "dolly-5k" / "dolly_5k.jsonl"
"""Where that study looks for general text."""
TESTS = Path("tests")
LEFT = 100.0 * 60
"""Seconds of the last part: whatever is left of the run."""


def machine(bench: Bench, tell: Tell) -> Found:
    """What the machine is, and what is installed."""
    found = measure.facts(bench.conditions(1))
    if bench.device == "cuda":
        facts = torch.cuda.get_device_properties(0)
        found["capability"] = f"{facts.major}.{facts.minor}"
        found["memory"] = facts.total_memory
        found["processors"] = facts.multi_processor_count
        found["cuda"] = torch.version.cuda
    return found


def tests(bench: Bench, tell: Tell) -> Found:
    """The tests marked `gpu`."""
    if not TESTS.is_dir() or importlib.util.find_spec("pytest") is None:
        raise Skipped("there is no folder tests here, or no pytest")
    bench.drop()
    # Named, so that no other file is read first.
    files = [str(p) for p in sorted(TESTS.rglob("test_*.py")) if "mark.gpu" in p.read_text("utf-8")]
    words = ["-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    found = bench.program(words)
    tell(found)
    if found["exit_code"] != 0:
        raise RuntimeError(f"pytest -m gpu ended with {found['exit_code']}: see its output")
    return {}


def whole_step(bench: Bench, tell: Tell) -> Found:
    """One optimiser step of a random Llama of a billion parameters, DFT, packed against padded."""
    try:
        from advisor.model.forward import extend_forward
        from harness.experiments.bench import step
        from harness.experiments.bench.models import (
            body_for,
            make_model,
            make_pairs,
            packed,
            padded,
        )
        from harness.train.packed_attention import attend_within_documents
    except ImportError as error:
        raise Skipped(str(error)) from error

    bench.drop()
    size = body_for(bench.device, tiny=bench.small)
    vocabulary = 211 if bench.small else step.VOCABULARY
    model = make_model(size, vocabulary, torch.bfloat16, bench.device, 0).train()
    extend_forward(model)
    within = attend_within_documents(model)
    prompt, completion = step.MEDIANS["float32"] if bench.small else (400, 200)
    pairs = make_pairs(step.BATCH, vocabulary, 0, prompt=prompt, completion=completion)
    batches = {"padded": padded(pairs, bench.device), "packed": packed(pairs, bench.device)}

    def run(name: str) -> None:
        (step.ours(model, batches[name]) / 100).backward()

    runs = {"padded": lambda: run("padded"), "packed": lambda: run("packed")}
    times = measure.interleave(
        runs, bench.conditions(6), reset=lambda: model.zero_grad(set_to_none=True)
    )
    return {
        "parameters": model.num_parameters(),
        "attends_within_documents": within,
        "tokens": batches["packed"]["input_ids"].numel(),
        "padded_positions": batches["padded"]["input_ids"].numel(),
        "seconds": times,
        "padded_over_packed": summary(times["padded"], times["packed"]),
    }


def cells(bench: Bench, tell: Tell) -> Found:
    """Cells of a real model until the time is up."""
    if bench.small:
        raise Skipped("a rehearsal makes none")
    if importlib.util.find_spec(CELLS) is None:
        raise Skipped(f"{CELLS} is not there")
    if not MODEL.is_dir():
        raise Skipped(f"{MODEL} is not there: python -m {CELLS} model")
    bench.drop()
    minutes = max(0.0, bench.left() - 20) / 60
    words = ["-m", CELLS, "run", "--device", bench.device, "--minutes", f"{minutes:.2f}"]
    found = bench.program(words if TEXT.is_file() else [*words, "--text", "none"])
    tell(found)
    if isinstance(found["exit_code"], int) and found["exit_code"]:
        raise RuntimeError(f"{CELLS} ended with {found['exit_code']}: see its output")
    return {}


PARTS = Table(
    shared=Bench,
    parts=(
        Part(name="machine", limit=40, run=machine),
        Part(name="rates", limit=40, run=head_parts.rates),
        Part(name="exact", limit=40, run=head_parts.exact),
        Part(name="speed", limit=45, run=head_parts.speed),
        Part(name="profile", limit=20, run=head_parts.profile),
        Part(name="kernel", limit=40, run=head_parts.kernel),
        Part(name="rivals", limit=75, run=head_parts.rivals),
        Part(name="tests", limit=150, run=tests),
        Part(name="step", limit=40, run=whole_step),
        Part(name="cells", limit=LEFT, run=cells),
    ),
)
