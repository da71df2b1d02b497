"""`advisor explain`: what an objective does and when it harms, or what a warning means."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from advisor.errors import InputError
from harness.cli.flags import add_json

if TYPE_CHECKING:
    from advisor.objectives.table import Objective

DESCRIPTION = (
    "Explain an objective: its loss and source, when it helps, when it harms; or a warning of `advisor "
    "recommend` by the code in brackets behind it."
)
EXAMPLE = "advisor explain terminator_unlikely"
ADDED = "objectives.md#whether-the-newer-ones-help"
FROZEN = ("neg_p", "cadft", "threshold")
"""Objectives that were run with a frozen prior."""
MEASURED = {
    **dict.fromkeys(
        ("nll", "neg_p", "cadft", "threshold", "p_pow", "idft"), "what-predicts-the-winner.md"
    ),
    "p_anneal": "staged.md",
    **dict.fromkeys(("tailsft", "prift_mass"), ADDED),
}
"""Objectives that were run on our cells -> the page that says what came."""
HELPS = {
    "nll": "where the skill or the form is new to the model, on clean rows, and where answers are greedy",
    "prior-leaning": "where the model knows the skill, the rows are noisy and answers are sampled: neg_p "
    "+20.2 points over nll on 35 cells with random noise",
    "prior-averse": "where what the model finds improbable is knowledge and not noise; not measured here",
    "neutral": "not measured here: see its paper",
}
HARMS = {
    "nll": "where the rows are noisy and answers are sampled, and where they have one wrong rule throughout",
    "prior-leaning": "where the skill or the form is new: it learns little of it (neg_p -26.7 points sampled "
    "and -48.6 greedy on 47 cells), and the loss looks fine; on instruct models in 4 of 7 published "
    "comparisons",
    "prior-averse": "where the improbable targets are noise (published: arXiv:2510.00526, Fig. 5)",
    "neutral": "not measured here: see its paper",
}


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument(
        "what",
        metavar="OBJECTIVE|WARNING",
        help="a name of `advisor ls objectives`, or a warning's code",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Look it up and print it."""
    from advisor.advice.warnings import MEANINGS

    if args.what in MEANINGS:
        facts = {"warning": args.what, "means": MEANINGS[args.what]}
    else:
        facts = dict(_objective(_named(args.what)))
    if args.json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    width = max(map(len, facts))
    for name, text in facts.items():
        print(f"{name:{width}}  {text}")


def _named(what: str) -> Objective:
    """The objective of a name; what is neither that nor a warning is refused with the nearest of both."""
    from advisor.advice.warnings import MEANINGS
    from advisor.names import did_you_mean
    from advisor.objectives.table import get_objective

    try:
        return get_objective(what)
    except InputError:
        if near := did_you_mean(what, MEANINGS):
            raise InputError(f"{what}: no objective and no warning: {near}") from None
        raise


def _measured(row: Objective) -> str:
    """Where our cells say what came of it, if they do."""
    page = MEASURED.get(row.name, "staged.md" if row.scheduled else None)
    if row.frozen:
        page = ADDED if row.name in FROZEN else None
    return "not on our cells" if page is None else f"docs/{page}"


def _objective(row: Objective) -> Iterator[tuple[str, str]]:
    """What there is to say of an objective, a fact each."""
    from advisor.advice.replayed import shipped

    about = "nll" if row.name == "nll" else row.leaning
    yield "objective", ", ".join((row.label, *row.aliases))
    yield "loss", row.formula
    yield "weight", f"{row.weight_formula} ({row.leaning})"
    yield "source", f"{row.source} ({row.status})"
    if row.beyond_a_batch:
        yield "needs", row.beyond_a_batch
    yield "helps", HELPS[about]
    yield "harms", HARMS[about]
    yield "measured", _measured(row)
    if not any(run.objective == row.label for plan in shipped().plans.values() for run in plan):
        yield "plans", "none has it"
    yield "more", f"docs/objectives.md#{row.name}, docs/choosing.md"
