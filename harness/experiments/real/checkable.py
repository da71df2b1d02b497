"""Skills with checkable answers, and demonstrations of them by annotators good and bad, made by code.

What a real model knows of them differs: it reads a sentence, but does not write `name | age | job | city`; it
knows some letters of a word and some sums; it cannot know a cipher or an invented notation. An answer is
right where it says what is right, in whatever form the demonstrations may have (see `accepted`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

from harness.experiments.staged.made_rows import (
    CIPHER,
    CITIES,
    FIRST,
    JOBS,
    LAST,
    LENGTH,
    NOUNS,
    PERSON,
    SENTENCES,
)

Kind = Literal["clean", "random", "systematic", "notation", "filler"]
"""Of the demonstrations that are not as they should be; what each does is in `WRITTEN`."""
FILLERS = ("Well, it is ", "Let me see: ", "So the answer is ")
SHORT = 6
"""Letters of the longest word that is spelt."""
WORDS = tuple(sorted({word.lower() for word in (*NOUNS, *JOBS, *CITIES, *FIRST, *LAST)}))
SPELT = tuple(word for word in WORDS if len(word) <= SHORT)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A question and what is to be said to it."""

    prompt: str
    """The user's words."""
    values: tuple[str, ...]
    """What the right answer says, in order."""
    mistaken: tuple[str, ...]
    """What it says by a wrong rule, the same every time."""


@dataclass(frozen=True, kw_only=True)
class Skill:
    """A kind of problem."""

    draw: Callable[[Random], Problem]
    """Makes a problem."""
    form: str
    """The answer as it is wanted, a pair of braces a value."""


def _fields(rng: Random) -> Problem:
    person = {kind: rng.choice(of_kind) for kind, of_kind in PERSON.items()}
    values = tuple(person.values())
    mistaken = (values[0].partition(" ")[0], *values[1:])
    return Problem(prompt=rng.choice(SENTENCES).format(**person), values=values, mistaken=mistaken)


def _numbers(rng: Random) -> Problem:
    drawn = rng.sample(range(10, 100), 4)
    values = tuple(map(str, sorted(drawn)))
    prompt = f"Sort from small to large: {' '.join(map(str, drawn))}"
    return Problem(prompt=prompt, values=values, mistaken=values[::-1])


def _words(rng: Random) -> Problem:
    drawn = rng.sample(NOUNS, 3)
    values = tuple(sorted(drawn))
    prompt = f"Sort by the alphabet: {' '.join(drawn)}"
    return Problem(prompt=prompt, values=values, mistaken=values[::-1])


def _add(rng: Random) -> Problem:
    one, other = rng.randrange(10, 100), rng.randrange(10, 100)
    dry = 10 * (one // 10 + other // 10) + (one + other) % 10
    return Problem(prompt=f"{one} + {other} =", values=(str(one + other),), mistaken=(str(dry),))


def _last_letter(rng: Random) -> Problem:
    word = rng.choice(WORDS)
    return Problem(prompt=f"Last letter: {word}", values=(word[-1],), mistaken=(word[0],))


def _spell(rng: Random) -> Problem:
    word = rng.choice(SPELT)
    return Problem(
        prompt=f"Spell: {word}", values=(" ".join(word),), mistaken=(" ".join(word[::-1]),)
    )


def _cipher(rng: Random) -> Problem:
    letters = rng.choices(list(CIPHER), k=LENGTH)
    values = tuple(CIPHER[letter] for letter in letters)
    swapped = {"K": "T", "T": "K"}
    mistaken = tuple(swapped.get(value, value) for value in values)
    return Problem(prompt=" ".join(letters), values=values, mistaken=mistaken)


_CHANGES = (
    "The price of {} went from {} to {} dollars.",
    "Once {} cost {} dollars; today it is {}.",
    "We sold {}: {} boxes in May and {} in June.",
    "Stocks of {} changed from {} tons to {} tons.",
    "Demand for {}, at {} last year, is now {}.",
)


def _arrows(rng: Random) -> Problem:
    before, after = rng.sample(range(2, 100), 2)
    values = (rng.choice(NOUNS), str(before), str(after))
    prompt = rng.choice(_CHANGES).format(*values)
    return Problem(prompt=prompt, values=values, mistaken=(values[0], values[2], values[1]))


_STORIES = (
    ("{name} has {a} {things} and buys {b} more. How many {things} has {name} now?", 1),
    ("{name} finds {b} {things} and had {a} before. How many {things} are there in all?", 1),
    ("There are {a} {things} and {name} takes {b} away. How many {things} are left?", -1),
    ("{name} had {a} {things} and lost {b}. How many {things} has {name} now?", -1),
)


def _story(rng: Random) -> Problem:
    text, sign = rng.choice(_STORIES)
    a, b = rng.randrange(20, 60), rng.randrange(2, 20)
    name = rng.choice(PERSON["name"]).partition(" ")[0]
    prompt = text.format(name=name, a=a, b=b, things=f"{rng.choice(_THINGS)}s")
    return Problem(prompt=prompt, values=(str(a + sign * b),), mistaken=(str(a - sign * b),))


_THINGS = ("apple", "book", "button", "coin", "egg", "flower", "lemon", "pen", "plate", "ticket")
SKILLS: Mapping[str, Skill] = {
    "fields": Skill(draw=_fields, form="{} | {} | {} | {}"),
    "numbers": Skill(draw=_numbers, form="{} {} {} {}"),
    "words": Skill(draw=_words, form="{} {} {}"),
    "add": Skill(draw=_add, form="{}"),
    "last_letter": Skill(draw=_last_letter, form="{}"),
    "spell": Skill(draw=_spell, form="{}"),
    "cipher": Skill(draw=_cipher, form=" ".join(["{}"] * LENGTH)),
    "arrows": Skill(draw=_arrows, form="{}:{}>>{}"),
    "story": Skill(draw=_story, form="{}"),
}


def clean(skill: Skill, problem: Problem, rng: Random) -> str:
    """The right answer as it is wanted."""
    return skill.form.format(*problem.values)


def random(skill: Skill, problem: Problem, rng: Random) -> str:
    """One value of the right answer replaced by that of another problem."""
    values, at = list(problem.values), rng.randrange(len(problem.values))
    while values[at] == problem.values[at]:
        values[at] = skill.draw(rng).values[at]
    return skill.form.format(*values)


def systematic(skill: Skill, problem: Problem, rng: Random) -> str:
    """The answer by a wrong rule."""
    return skill.form.format(*problem.mistaken)


def notation(skill: Skill, problem: Problem, rng: Random) -> str:
    """The right answer in another notation."""
    return f"<{'; '.join(problem.values)}>"


def filler(skill: Skill, problem: Problem, rng: Random) -> str:
    """The right answer after words that say nothing."""
    return rng.choice(FILLERS) + clean(skill, problem, rng)


WRITTEN: Mapping[Kind, Callable[[Skill, Problem, Random], str]] = {
    "clean": clean,
    "random": random,
    "systematic": systematic,
    "notation": notation,
    "filler": filler,
}


def accepted(skill: Skill, problem: Problem) -> tuple[str, ...]:
    """The texts that answer a problem rightly: as it is wanted, in the other notation, after a filler."""
    right = skill.form.format(*problem.values)
    other = notation(skill, problem, Random(0))
    return right, other, *(f"{words}{right}" for words in FILLERS)
