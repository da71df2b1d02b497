"""The tables of `race.md`: what every way of spending comes to, and how well the belief covers."""

from collections.abc import Mapping, Sequence
from typing import Any

from tables.markdown import RESULTS, read_json, table

HOWS = ("sampled", "greedy")
PARAMETERS = {"m64": "0.15M", "m128": "0.8M", "m256": "5M"}


def tables() -> dict[str, str]:
    """Those of the page."""
    found = read_json(RESULTS / "race" / "replay.json")
    rivals = read_json(RESULTS / "race" / "rivals.json")
    documents = read_json(RESULTS / "race" / "documents.json")
    sizes = read_json(RESULTS / "sizes" / "sizes.json")
    return {
        "race": table(*_policies(found)),
        "rivals": table(*_rivals(rivals)),
        "belief": table(*_belief(found)),
        "documents": table(*_documents(documents)),
        "sizes": table(*_sizes(sizes)),
        "together": table(*_together(sizes)),
        "unseen": table(*_left_out(sizes)),
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


def _documents(found: Mapping[str, Any]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Regret by choice and way of decoding, decided on fewer and on more documents."""
    rows = found["rows"]
    fewer, more = rows[0]["documents"]
    return ("decoding", "decided between", "cells", f"on {fewer}", f"on {more}"), [
        (
            row["decoding"],
            row["choice"],
            str(row["cells"]),
            *(f"{lost:.1f}" for lost in row["regret"]),
        )
        for row in rows
    ]


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


def _sizes(found: Mapping[str, Any]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Mean gain over NLL of every arm at every size, with its interval over demonstrations."""
    head = (
        "arm",
        "demonstrations",
        *(f"{how}: {size}" for how in HOWS for size in PARAMETERS.values()),
    )
    rows: list[Sequence[str]] = []
    for pair in zip(*(found[how]["gains"] for how in HOWS), strict=True):
        cells = [
            f"{one[size]['mean']:+.1f} [{one[size]['interval'][0]:+.0f}, {one[size]['interval'][1]:+.0f}]"
            for one in pair
            for size in PARAMETERS
        ]
        arm = f"`{pair[0]['arm']}`, {pair[0]['rate']}"
        rows.append((arm, str(pair[0]["demonstrations"]), *cells))
    return head, rows


def _together(found: Mapping[str, Any]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """How gains at two sizes go together."""
    head = ("sizes", *(f"{how}: {what}" for how in HOWS for what in ("Spearman", "same sign, of")))
    rows: list[Sequence[str]] = []
    for pair in zip(*(found[how]["together"] for how in HOWS), strict=True):
        cells = []
        for one in pair:
            low, high = one["interval"]
            same = (
                "" if one["same_sign"] is None else f"{one['same_sign']:.0%} of {one['compared']}"
            )
            cells += [f"{one['spearman']:+.2f} [{low:+.2f}, {high:+.2f}]", same]
        rows.append((" and ".join(PARAMETERS[size] for size in pair[0]["sizes"]), *cells))
    return head, rows


def _left_out(found: Mapping[str, Any]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """What is lost on a size of which nothing was learnt."""
    head = ("size left out", "", "cells", "coverage", "race: cost", "regret", "`--plan three`: cost",
            "regret", "NLL, high: regret")  # fmt: skip
    rows: list[Sequence[str]] = []
    for how in HOWS:
        for one in found[how]["left_out"]:
            covered = ", ".join(f"{share:.0%}" for share in one["coverage"])
            paid = [
                text
                for way in ("race", "three")
                for text in (f"{one[way]['cost']:.2f}", _regret(one[way]))
            ]
            row = (
                PARAMETERS[one["size"]],
                how,
                str(one["cells"]),
                covered,
                *paid,
                _regret(one["nll"]),
            )
            rows.append(row)
    return head, rows


def _regret(one: Mapping[str, float]) -> str:
    return f"{one['regret']:.1f} ± {one['standard_error']:.1f}"
