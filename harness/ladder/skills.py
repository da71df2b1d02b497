"""Procedural skills, each of which draws a problem and solves it; and demonstrations of them.

A demonstration reads `prompt|step,step#answer`. The same random state gives the same prompt
whatever the annotator gets wrong, so a noisy demonstration is the same problem solved badly.
"""

import itertools
import operator
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
WORDS = ("zu", "kelo", "mip", "vash", "ro", "tibu", "gan", "dexi", "ulf", "pya")
FILLERS = ("well let me see ", "so we have ", "i think ")
DIGITS = "0123456789"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
TABLE = [[Random(f"nov {row}").randrange(10) for _ in range(10)] for row in range(10)]

Slip = Callable[[int], int]
"""What an annotator does to each intermediate result; `exact` does nothing."""


class Problem(NamedTuple):
    """A problem with a worked solution."""

    prompt: str
    steps: Sequence[str]
    answer: str


Skill = Callable[..., Problem]
"""`(rng, slip=exact) -> (prompt, steps, answer)`."""


def exact(value: int) -> int:
    """An annotator who makes no mistakes."""
    return value


def add(rng: Random, slip: Slip = exact) -> Problem:
    """Sum of two three-digit numbers, column by column with the carry."""
    left, right = rng.randint(100, 999), rng.randint(100, 999)
    steps, total, carry = [], 0, 0
    for place in range(3):
        column = [left // 10**place % 10, right // 10**place % 10] + [carry] * (carry > 0)
        result = slip(sum(column))
        steps.append(f"{'+'.join(map(str, column))}={result}")
        total += (result if place == 2 else result % 10) * 10**place
        carry = result // 10
    return Problem(f"{left}+{right}", steps, str(total))


def chain(rng: Random, slip: Slip = exact) -> Problem:
    """Four terms added and subtracted from left to right."""
    return _chain(rng, slip, operator.sub)


def lin(rng: Random, slip: Slip = exact) -> Problem:
    """The x of ax+b=c."""
    a, x, b = rng.randint(2, 9), rng.randint(0, 12), rng.randint(1, 30)
    c = a * x + b
    product = slip(c - b)
    quotient = slip(product // a)
    return Problem(
        f"{a}x+{b}={c}", [f"{c}-{b}={product}", f"{product}/{a}={quotient}"], str(quotient)
    )


def unit(rng: Random, slip: Slip = exact) -> Problem:
    """Hours and minutes in minutes."""
    return _unit(rng, slip, 60)


def rev(rng: Random, slip: Slip = exact) -> Problem:
    """Five digits in reverse order."""
    digits = [rng.randrange(10) for _ in range(5)]
    return _listing("rev", digits, [slip(digit) for digit in reversed(digits)])


def sort(rng: Random, slip: Slip = exact) -> Problem:
    """Five digits in ascending order."""
    digits = [rng.randrange(10) for _ in range(5)]
    return _listing("sort", digits, [slip(digit) for digit in sorted(digits)])


def kv(rng: Random, slip: Slip = exact) -> Problem:
    """The digit stored under one of four letters."""
    store = {key: rng.randrange(10) for key in rng.sample(LETTERS, 4)}
    key = rng.choice(list(store))
    value = slip(store[key])
    listing = ",".join(f"{name}:{digit}" for name, digit in store.items())
    return Problem(f"{listing}?{key}", [f"{key}:{value}"], str(value))


def day(rng: Random, slip: Slip = exact) -> Problem:
    """The weekday so many days after another."""
    start, shift = rng.randrange(7), rng.randint(1, 30)
    total = slip(start + shift)
    rest = slip(total % 7)
    steps = [f"{start}+{shift}={total}", f"{total}%7={rest}"]
    return Problem(f"{DAYS[start]}+{shift}", steps, DAYS[rest % 7])


def nov(rng: Random, slip: Slip = exact) -> Problem:
    """Four digits joined by an operator whose table is never pretrained, written like `chain`."""
    terms = [rng.randrange(10) for _ in range(4)]
    steps, total = [], terms[0]
    for term in terms[1:]:
        result = slip(TABLE[total % 10][term])
        steps.append(f"{total}@{term}={result}")
        total = result
    return Problem("@".join(map(str, terms)), steps, str(total))


def say(rng: Random, slip: Slip = exact) -> Problem:
    """Four digits read out in an invented language that is never pretrained."""
    digits = [rng.randrange(10) for _ in range(4)]
    words = [WORDS[slip(digit) % 10] for digit in digits]
    return Problem(f"say:{''.join(map(str, digits))}", [], " ".join(words))


def chain_plus(rng: Random, slip: Slip = exact) -> Problem:
    """`chain` by an annotator who reads every minus as a plus."""
    return _chain(rng, slip, operator.add)


def unit_hundred(rng: Random, slip: Slip = exact) -> Problem:
    """`unit` by an annotator for whom an hour has a hundred minutes."""
    return _unit(rng, slip, 100)


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
UNKNOWN: dict[str, Skill] = {"nov": nov, "say": say}
"""The skills that no rung has seen."""
SKILLS = KNOWN | UNKNOWN
SYSTEMATIC: dict[str, Skill] = {"chain": chain_plus, "unit": unit_hundred}
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
    return render(with_slip(skill, seed, rng))


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


NOISES: dict[str, Callable[[str, int, Random], str]] = {
    "none": clean,
    "slip": slipped,
    "answer": misread,
    "bare": bare,
    "filler": filler,
    "mix": mix,
    "systematic": systematic,
}


def with_slip(skill: str, seed: int, rng: Random) -> Problem:
    """The problem solved with one wrong intermediate result."""
    calls = itertools.count()
    SKILLS[skill](Random(seed), lambda value: value + 0 * next(calls))
    at, error = rng.randrange(next(calls)), rng.choice((-2, -1, 1, 2, 10))
    turn = itertools.count()
    return SKILLS[skill](Random(seed), lambda value: value + error * (next(turn) == at))


def with_wrong_answer(problem: Problem, rng: Random) -> Problem:
    """The problem with one character of its answer replaced by another of its kind."""
    at = rng.choice([i for i, char in enumerate(problem.answer) if char.isalnum()])
    old = problem.answer[at]
    new = rng.choice((DIGITS if old.isdigit() else LETTERS).replace(old, ""))
    return problem._replace(answer=problem.answer[:at] + new + problem.answer[at + 1 :])


def _chain(rng: Random, slip: Slip, minus: Callable[[int, int], int]) -> Problem:
    true = total = rng.randint(1, 20)
    prompt, steps = str(total), []
    for _ in range(3):
        term = rng.randint(1, 20)
        sign = rng.choice("+-") if term <= true else "+"
        true += term if sign == "+" else -term
        result = slip(total + term if sign == "+" else minus(total, term))
        steps.append(f"{total}{sign}{term}={result}")
        prompt, total = f"{prompt}{sign}{term}", result
    return Problem(prompt, steps, str(total))


def _unit(rng: Random, slip: Slip, hour: int) -> Problem:
    hours, minutes = rng.randint(1, 24), rng.randrange(60)
    product = slip(hours * hour)
    total = slip(product + minutes)
    steps = [f"{hours}*{hour}={product}", f"{product}+{minutes}={total}"]
    return Problem(f"{hours}h{minutes}m", steps, str(total))


def _listing(name: str, digits: list[int], result: list[int]) -> Problem:
    written = [str(value) for value in result]
    return Problem(f"{name}:{''.join(map(str, digits))}", written, "".join(written))
