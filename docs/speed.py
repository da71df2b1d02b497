"""The page of measured speed, from the records of `results/bench/`."""

import json
from pathlib import Path
from typing import Any

from harness.experiments.bench.hinted import BOUND

BENCHES = Path(__file__).parents[1] / "results" / "bench"
INTRODUCTION = """\
# Speed

Written by `docs/generate.py` from the records in `results/bench/`. Every number is a ratio of two things
measured in one interleaved run, median and range over rounds, after the numbers of both were checked
against float64. On your machine: `python -m harness.experiments.bench head|step|probe --output_path FILE` and
`python -m harness.experiments.bench.hinted`, with `--device cuda` on a GPU; none has been measured yet.

The floor of the head is its bare matrix products, three with gradients, without a softmax. Peers: the
full-logits loss of transformers (hf), the DFT authors' code (reference), TRL 1.16 as SFTTrainer calls it,
cut-cross-entropy compiled (cce), lm-eval's Hugging Face model, and the usual padded loop (arrival).
"""
READING = """\
## What was missed, and why

- **H4**, a tenth faster than compiled CCE: CCE stands within 6 to 21 % of the floor here, and ours within
  3 to 19 %. What there was to gain is gone; ours needs no compiler, and at 100 % supervised tokens 0.35
  (float32) and 0.43 (bfloat16) of CCE's extra memory.
- **H3** in bfloat16: full logits take 6.7 times the floor's time, so that 7 times ours is out of reach; in
  float32 it was missed by 0.03. The goals were set on processors with a matrix unit for bfloat16; this one
  has none.
- **H6**: beside the gradients and one tile another quarter of a tile was in use; it was not traced.
- **P1, P2**: the probe runs at 0.66 to 0.81 of the rate of bare matrix products, counting only work that
  cannot be left out (P4, stretch goals reached); against lm-eval at 32k, 1.7 times would take 0.92 of it.
  Matrix products are slower here than where the goals were set, so what peers waste beside them weighs less.
- **Hinted decoding** with a hint of eight times the prompt: the steps alone stay within the goal, the
  reading of the longer prompt does not. With more new tokens the ratio goes towards that of the steps.
- **S2**: TRL's head is relatively faster on this machine than where the goal was set. Against the DFT
  authors' code the same step reaches its goal (S1).
"""


def speed_page() -> str:
    """Every goal of every record."""
    records = [json.loads(path.read_text("utf-8")) for path in sorted(BENCHES.glob("*.json"))]
    hinted = [record for record in records if record["bench"] == "hinted"]
    others = [record for record in records if record["bench"] != "hinted"]
    return "\n".join([INTRODUCTION, *map(_section, others), *map(_hinted, hinted), READING])


def _head(record: dict[str, Any]) -> str:
    where = record.get("gpu") or f"{record['cpu']}, {record['cores']} cores"
    return f"## {record['bench'].capitalize()}: {where}"


def _conditions(record: dict[str, Any]) -> str:
    conditions = record["conditions"]
    return f"{conditions['threads']} thread, {conditions['clock']} time, {conditions['rounds'] - 1} rounds"


def _versions(record: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in record["versions"].items())


def _hinted(record: dict[str, Any]) -> str:
    """Hinted decoding against plain `generate`."""
    lines = [
        _head(record),
        "",
        "Hinted decoding reads a prompt with the hint beside the plain one and writes one answer from both.\n"
        "Its time per new token over that of plain `generate`, same model and batch; the goal is at most "
        f"{BOUND:g}.\n{_conditions(record)}.\n{_versions(record)}.",
        "",
        "| model | rows | prompt, with hint, new | ratio | steps alone | peak MiB, plain and hinted | |",
        "|---|---|---|---|---|---|---|",
    ]
    for found in record["cases"]:
        case = found["case"]
        ratios = (_span(found[name]) for name in ("ratio", "ratio_of_steps"))
        lengths = f"{case['plain']}, {case['hinted']}, {case['new']}"
        peaks = " and ".join(f"{peak:.0f}" for peak in found["peak_mib"])
        goal = "met" if found["reached"] else "missed"
        cells = (case["model"], str(case["batch"]), lengths, *ratios, peaks, goal)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _section(record: dict[str, Any]) -> str:
    noise = ", ".join(f"{case['floor_spread']:.0%}" for case in record["cases"])
    lines = [
        _head(record),
        "",
        f"{_conditions(record)}; spread of the floor's own time by case: {noise}. {_versions(record)}.",
        "",
        "| goal | ratio | where | bound | measured | |",
        "|---|---|---|---|---|---|",
        *(_row(goal) for goal in sorted(record["goals"], key=lambda goal: goal["name"])),
        "",
    ]
    return "\n".join(lines)


def _row(goal: dict[str, Any]) -> str:
    sign = "at least" if goal["at_least"] else "at most"
    bound = f"{sign} {goal['bound']:g}"
    cells = (goal["name"], goal["what"], goal["where"], bound, _span(goal["measured"]))
    return f"| {' | '.join(cells)} | {'met' if goal['met'] else 'missed'} |"


def _span(found: dict[str, Any]) -> str:
    """Median, and range where there is one."""
    text = f"{found['median']:.3g}"
    if found["low"] != found["high"]:
        text += f" ({found['low']:.3g} to {found['high']:.3g})"
    return text
