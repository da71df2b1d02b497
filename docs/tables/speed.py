"""The tables of `speed.md`, from the records of `results/bench/`: a part for every record of a bench."""

from collections.abc import Mapping
from typing import Any

from harness.experiments.bench.measure import Ratio, ratio
from tables.markdown import RESULTS, read_json, table

BENCHES = ("head", "probe", "step", "real", "hinted")
PEERS = (
    "ours nll",
    "cce nll",
    "hf nll",
    "ours dft",
    "cce dft",
    "liger dft",
    "reference dft",
    "trl as sft dft",
)
"""Variants of the head that are shown beside the goals."""


def tables() -> dict[str, str]:
    """Bench to its records, each with the machine it ran on."""
    records = [read_json(path) for path in sorted((RESULTS / "bench").glob("*.json"))]
    if unknown := {record["bench"] for record in records} - set(BENCHES):
        raise ValueError(f"results/bench: {unknown}: no such part in docs/speed.md")
    return {
        bench: "\n\n".join(_part(record) for record in records if record["bench"] == bench)
        for bench in BENCHES
    }


def _part(record: Mapping[str, Any]) -> str:
    rows = _hinted(record) if record["bench"] == "hinted" else _goals(record)
    peers = [_peers(record)] if record["bench"] == "head" else []
    return "\n\n".join([_conditions(record), rows, *peers])


def _peers(record: Mapping[str, Any]) -> str:
    """Time of whole heads over the floor's, and the memory beyond the inputs."""
    rows = []
    for found in record["cases"]:
        case, times = found["case"], found["variants"]
        floor = times["floor"]["seconds"]
        for name in PEERS:
            peak = times[name]["peak_extra"]
            where = f"{case['shape']} {case['dtype']} {case['supervised']} %"
            memory = "" if peak is None else f"{peak / 2**20:,.0f}"
            rows.append((where, name, str(ratio(times[name]["seconds"], floor)), memory))
    return table(("where", "head", "time / floor", "peak extra, MiB"), rows)


def _conditions(record: Mapping[str, Any]) -> str:
    found = record["conditions"]
    noise = ", ".join(
        f"{case['floor_spread']:.0%}" for case in record["cases"] if "floor_spread" in case
    )
    parts = [
        record.get("gpu") or f"{record['cpu']}, {record['cores']} cores",
        f"{found['threads']} thread, {found['clock']} time, {found['rounds'] - 1} rounds",
        f"spread of the floor's own time by case {noise}" if noise else "",
        ", ".join(
            f"{name} {version}"
            for name, version in record["versions"].items()
            if version != "not installed"
        ),
    ]
    return "; ".join(filter(None, parts)) + "."


def _goals(record: Mapping[str, Any]) -> str:
    head = ("goal", "ratio", "where", "bound", "measured", "")
    return table(head, map(_goal, sorted(record["goals"], key=lambda goal: goal["name"])))


def _goal(goal: Mapping[str, Any]) -> tuple[str, ...]:
    bound = f"{'at least' if goal['at_least'] else 'at most'} {goal['bound']:g}"
    said = "met" if goal["met"] else "missed"
    return goal["name"], goal["what"], goal["where"], bound, str(Ratio(**goal["measured"])), said


def _hinted(record: Mapping[str, Any]) -> str:
    head = ("model", "rows", "prompt, with hint, new", "ratio", "steps alone",
            "peak MiB, plain and hinted", "")  # fmt: skip
    return table(head, map(_hinted_case, record["cases"]))


def _hinted_case(found: Mapping[str, Any]) -> tuple[str, ...]:
    case = found["case"]
    return (
        case["model"],
        str(case["batch"]),
        f"{case['plain']}, {case['hinted']}, {case['new']}",
        str(Ratio(**found["ratio"])),
        str(Ratio(**found["ratio_of_steps"])),
        " and ".join(f"{peak:.0f}" for peak in found["peak_mib"]),
        "met" if found["reached"] else "missed",
    )
