"""The table of skills, and demonstrations of them by annotators good and bad."""

import itertools
from collections.abc import Callable
from random import Random

from harness.ladder.fresh import FRESH
from harness.ladder.invented import GRADED, INVENTED, PARTS
from harness.ladder.known import (
    DIGITS,
    LETTERS,
    Problem,
    Skill,
    add,
    add_dry,
    chain,
    chain_plus,
    day,
    kv,
    lin,
    lin_plus,
    rev,
    sort,
    sort_down,
    unit,
    unit_hundred,
)  # fmt: skip

FILLERS = ("well let me see ", "so we have ", "i think ")

KNOWN: dict[str, Skill] = {
    "add": add,
    "chain": chain,
    "lin": lin,
    "unit": unit,
    "rev": rev,
    "sort": sort,
    "kv": kv,
    "day": day,
}
"""The skills of the pretraining text."""
UNKNOWN: dict[str, Skill] = INVENTED | GRADED
"""The skills that no shipped rung has seen."""
SKILLS = KNOWN | UNKNOWN | FRESH
PRETRAINED = KNOWN | PARTS
"""What a pretraining text can draw from."""
SYSTEMATIC: dict[str, Skill] = {
    "add": add_dry,
    "chain": chain_plus,
    "lin": lin_plus,
    "sort": sort_down,
    "unit": unit_hundred,
}
"""The skills for which a systematically wrong annotator exists."""


def render(problem: Problem, *, bare: bool = False) -> str:
    """The completion of a problem, without terminator: steps unless `bare`, then the answer."""
    steps = "" if bare else ",".join(problem.steps)
    return f"{steps}#{problem.answer}"


def demonstration(
    skill: str, rng: Random, *, noise: str = "none", rate: float = 0.0
) -> dict[str, str]:
    """One row, `prompt` and `completion`; with probability `rate` the completion has `noise`."""
    seed = rng.getrandbits(32)
    # Noise has its own random state, so that it changes no later prompt.
    annotator = Random(f"annotator {seed}")
    complete = NOISES[noise if annotator.random() < rate else "none"]
    prompt = f"{SKILLS[skill](Random(seed)).prompt}|"
    return {"prompt": prompt, "completion": complete(skill, seed, annotator)}


def clean(skill: str, seed: int, rng: Random) -> str:
    """The right steps and answer."""
    return render(SKILLS[skill](Random(seed)))


def slipped(skill: str, seed: int, rng: Random) -> str:
    """One wrong intermediate result, which the rest of the solution builds upon."""
    return render(with_slip(SKILLS[skill], seed, rng))


def misread(skill: str, seed: int, rng: Random) -> str:
    """The right steps and then a wrong final answer."""
    return render(with_wrong_answer(SKILLS[skill](Random(seed)), rng))


def bare(skill: str, seed: int, rng: Random) -> str:
    """The right answer without steps."""
    return render(SKILLS[skill](Random(seed)), bare=True)


def filler(skill: str, seed: int, rng: Random) -> str:
    """The right solution after a phrase that says nothing."""
    return rng.choice(FILLERS) + clean(skill, seed, rng)


def mix(skill: str, seed: int, rng: Random) -> str:
    """One of the four random noises."""
    return rng.choice((slipped, misread, bare, filler))(skill, seed, rng)


def systematic(skill: str, seed: int, rng: Random) -> str:
    """The solution of an annotator with a wrong rule."""
    return render(SYSTEMATIC[skill](Random(seed)))


def notation(skill: str, seed: int, rng: Random) -> str:
    """The right steps and answer in another notation."""
    problem = SKILLS[skill](Random(seed))
    steps = [f"{step.replace('=', ' is ')}. " for step in problem.steps]
    return f"{''.join(steps)}#{problem.answer}"


def styles(skill: str, seed: int, rng: Random) -> str:
    """The right answer, in one of three manners that are not the text's own."""
    return rng.choice((bare, filler, notation))(skill, seed, rng)


NOISES: dict[str, Callable[[str, int, Random], str]] = {
    "none": clean,
    "slip": slipped,
    "answer": misread,
    "bare": bare,
    "filler": filler,
    "mix": mix,
    "systematic": systematic,
    "notation": notation,
    "styles": styles,
}


def with_slip(skill: Skill, seed: int, rng: Random) -> Problem:
    """The problem solved with one wrong intermediate result.

    But for one in five of `say` and `tag`: they reckon modulo 10, so that an error of 10 is none. It stays so
    because the measured cells have such rows.
    """
    calls = itertools.count()
    skill(Random(seed), lambda value: value + 0 * next(calls))
    at, error = rng.randrange(next(calls)), rng.choice((-2, -1, 1, 2, 10))
    turn = itertools.count()
    return skill(Random(seed), lambda value: value + error * (next(turn) == at))


def with_wrong_answer(problem: Problem, rng: Random) -> Problem:
    """The problem with one character of its answer replaced by another of its kind."""
    at = rng.choice([i for i, char in enumerate(problem.answer) if char.isalnum()])
    old = problem.answer[at]
    new = rng.choice((DIGITS if old.isdigit() else LETTERS).replace(old, ""))
    return problem._replace(answer=problem.answer[:at] + new + problem.answer[at + 1 :])
