"""Tables of `speed.md` on what the prior reads, from the record of `harness.experiments.prior_reading`."""

from collections.abc import Mapping
from typing import Any

from harness.experiments.prior_reading import RECORD
from tables.markdown import ROOT, read_json, table

RULES = ("before", "after")


def tables() -> dict[str, str]:
    """Examples and seconds of real pairs, misses of intervals, and what simulated measurements settled on."""
    record = read_json(ROOT / RECORD)
    return {
        "prior-pairs": _pairs(record["pairs"]),
        "prior-coverage": _coverage(record["coverage"]),
        "prior-stopping": _stopping(record["stopping"]),
    }


def _pairs(pairs: Mapping[str, Any]) -> str:
    rows = []
    for name, found in pairs.items():
        read = [found[rule] for rule in RULES]
        rows.append((
            name, f"{read[1]['mean_p']:.3f}", *(f"{one['examples']}" for one in read),
            *(f"{one['seconds']:.1f}" for one in read),
            f"{read[0]['examples'] / read[1]['examples']:.1f}",
        ))  # fmt: skip
    examples = [sum(found[rule]["examples"] for found in pairs.values()) for rule in RULES]
    seconds = [sum(found[rule]["seconds"] for found in pairs.values()) for rule in RULES]
    total = ("together", "", *map(str, examples), *(f"{one:.1f}" for one in seconds))
    rows.append((*total, f"{examples[0] / examples[1]:.1f}"))
    head = (
        "pair",
        "mean p",
        "examples, before",
        "after",
        "seconds, before",
        "after",
        "times fewer",
    )
    return table(head, rows)


def _coverage(kinds: Mapping[str, Any]) -> str:
    rows = [
        (kind, *(f"{100 * found[rule]:.1f} %" for rule in RULES)) for kind, found in kinds.items()
    ]
    return table(("examples", "missed, before", "missed, after"), rows)


def _stopping(edges: Mapping[str, Any]) -> str:
    rows = [
        (
            name,
            *(
                f"{100 * found[rule][what]:.0f} %"
                for what in ("wrong", "settled")
                for rule in RULES
            ),
            *(f"{found[rule]['examples']:.0f}" for rule in RULES),
        )
        for name, found in edges.items()
    ]
    head = (
        "truth", "settled wrongly, before", "after", "settled, before", "after", "examples, before", "after",
    )  # fmt: skip
    return table(head, rows)
