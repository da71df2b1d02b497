"""The tables of `race.md`: what every way of spending comes to, and how well the belief covers."""

from collections.abc import Mapping, Sequence
from typing import Any

from tables.markdown import RESULTS, read_json, table

HOWS = ("sampled", "greedy")


def tables() -> dict[str, str]:
    """Those of the page."""
    found = read_json(RESULTS / "race" / "replay.json")
    rivals = read_json(RESULTS / "race" / "rivals.json")
    return {
        "race": table(*_policies(found)),
        "rivals": table(*_rivals(rivals)),
        "belief": table(*_belief(found)),
    }


def _policies(found: Mapping[str, Any]) -> tuple[Sequence[str], list[list[str]]]:
    """A row a way of spending, sampled and greedy side by side."""
    head = ["way of spending"]
    for how in HOWS:
        head += [f"{how}: cost", "regret", "over 5", "worst", "promised"]
    rows = []
    for pair in zip(*(found[how]["rows"] for how in HOWS), strict=True):
        row = [pair[0]["policy"]]
        for one in pair:
            fresh = "" if one["fresh_regret"] is None else f" [{one['fresh_regret']:.1f}]"
            row += [
                f"{one['cost']:.2f}",
                f"{one['regret']:.1f} ± {one['standard_error']:.1f}{fresh}",
                f"{one['over_5']:.0%}",
                f"{one['worst']:.0f}",
                "" if one["promised"] is None else f"{one['promised']:.1f}",
            ]
        rows.append(row)
    return head, rows


def _rivals(found: Mapping[str, Any]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """What ASHA comes to, with the number of cells on which it was replayed."""
    head = (found["of"], "cells", "cost", "regret", "over 5", "worst")
    rows: list[Sequence[str]] = [
        (how, str(one["cells"]), f"{one['cost']:.2f}", f"{one['regret']:.1f} ± {one['standard_error']:.1f}",
         f"{one['over_5']:.0%}", f"{one['worst']:.0f}")
        for how in HOWS for one in [found[how]]
    ]  # fmt: skip
    return head, rows


def _belief(found: Mapping[str, Any]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Cells, and the share of whole runs that score within the 90 % interval, by what has been scored."""
    head = ("", "cells with curves", "cells learnt from", "widened by", "before any score", "at 1/8",
            "at 1/4", "at 1/2")  # fmt: skip
    rows: list[Sequence[str]] = [
        (how, str(found[how]["cells"]), str(found[how]["learnt_from"]), f"{found[how]['widened']:g}",
         *(f"{share:.0%}" for share in found[how]["coverage"]))
        for how in HOWS
    ]  # fmt: skip
    return head, rows
