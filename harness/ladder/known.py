"""The skills of the ladder's pretraining text: each draws a problem and solves it.

A problem is written `prompt|step,step#answer`. The same random state gives the same prompt whatever the
annotator gets wrong, so a noisy demonstration is the same problem solved badly.
"""

import operator
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
DIGITS = "0123456789"
LETTERS = "abcdefghijklmnopqrstuvwxyz"

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
    return _add(rng, slip, carries=True)


def chain(rng: Random, slip: Slip = exact) -> Problem:
    """Four terms added and subtracted from left to right."""
    return _chain(rng, slip, operator.sub)


def lin(rng: Random, slip: Slip = exact) -> Problem:
    """The x of ax+b=c."""
    return _lin(rng, slip, operator.sub)


def unit(rng: Random, slip: Slip = exact) -> Problem:
    """Hours and minutes in minutes."""
    return _unit(rng, slip, 60)


def rev(rng: Random, slip: Slip = exact) -> Problem:
    """Five digits in reverse order."""
    digits = [rng.randrange(10) for _ in range(5)]
    return listing("rev", digits, [slip(digit) for digit in reversed(digits)])


def sort(rng: Random, slip: Slip = exact) -> Problem:
    """Five digits in ascending order."""
    digits = [rng.randrange(10) for _ in range(5)]
    return listing("sort", digits, [slip(digit) for digit in sorted(digits)])


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


def chain_plus(rng: Random, slip: Slip = exact) -> Problem:
    """`chain` by an annotator who reads every minus as a plus."""
    return _chain(rng, slip, operator.add)


def unit_hundred(rng: Random, slip: Slip = exact) -> Problem:
    """`unit` by an annotator for whom an hour has a hundred minutes."""
    return _unit(rng, slip, 100)


def add_dry(rng: Random, slip: Slip = exact) -> Problem:
    """`add` by an annotator who forgets every carry."""
    return _add(rng, slip, carries=False)


def lin_plus(rng: Random, slip: Slip = exact) -> Problem:
    """`lin` by an annotator who adds the term to the other side."""
    return _lin(rng, slip, operator.add)


def sort_down(rng: Random, slip: Slip = exact) -> Problem:
    """`sort` by an annotator who sorts the wrong way round."""
    digits = [rng.randrange(10) for _ in range(5)]
    return listing("sort", digits, [slip(digit) for digit in sorted(digits, reverse=True)])


def _add(rng: Random, slip: Slip, *, carries: bool) -> Problem:
    left, right = rng.randint(100, 999), rng.randint(100, 999)
    steps, total, carry = [], 0, 0
    for place in range(3):
        column = [left // 10**place % 10, right // 10**place % 10] + [carry] * (carry > 0)
        result = slip(sum(column))
        steps.append(f"{'+'.join(map(str, column))}={result}")
        total += (result if place == 2 else result % 10) * 10**place
        carry = result // 10 * carries
    return Problem(f"{left}+{right}", steps, str(total))


def _lin(rng: Random, slip: Slip, move: Callable[[int, int], int]) -> Problem:
    a, x, b = rng.randint(2, 9), rng.randint(0, 12), rng.randint(1, 30)
    c = a * x + b
    product = slip(move(c, b))
    quotient = slip(product // a)
    sign = "-" if move is operator.sub else "+"
    return Problem(
        f"{a}x+{b}={c}", [f"{c}{sign}{b}={product}", f"{product}/{a}={quotient}"], str(quotient)
    )


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


def listing(name: str, digits: list[int], result: list[int]) -> Problem:
    """Digits in, digits out, one at a time."""
    written = [str(value) for value in result]
    return Problem(f"{name}:{''.join(map(str, digits))}", written, "".join(written))
