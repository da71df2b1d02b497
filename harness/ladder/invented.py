"""Skills that nobody can know before training: invented tables, languages and orders.

Of three operators the pretraining text has a part: a quarter, a half, three quarters of the table, so that a
model knows them by degrees. The others are in no pretraining text.
"""

from random import Random

from harness.ladder.known import LETTERS, Problem, Skill, Slip, exact, listing

WORDS = ("zu", "kelo", "mip", "vash", "ro", "tibu", "gan", "dexi", "ulf", "pya")
TENS = ("ba", "sho", "leg", "nu", "ix", "fro", "cad", "wy", "jem", "hu")
CODE = {letter: Random(f"tag {letter}").randrange(10) for letter in LETTERS}
ORDER = Random("alt").sample(range(10), 10)
SIGNS = {"op25": ("<", 0.25), "op50": (">", 0.5), "op75": (".", 0.75)}
"""Operators of which the pretraining text has a share: how they are written, and that share."""


def make_table(name: str) -> list[list[int]]:
    """[10][10] random digits: what an operator gives for a left and a right digit."""
    rng = Random(name)
    return [[rng.randrange(10) for _ in range(10)] for _ in range(10)]


TABLE = make_table("nov")


def nov(rng: Random, slip: Slip = exact) -> Problem:
    """Four digits joined by an operator whose table is never pretrained, written like `chain`."""
    return _operate("@", TABLE, [rng.randrange(10) for _ in range(4)], slip)


def say(rng: Random, slip: Slip = exact) -> Problem:
    """Four digits read out in an invented language."""
    digits = [rng.randrange(10) for _ in range(4)]
    words = [WORDS[slip(digit) % 10] for digit in digits]
    return Problem(f"say:{''.join(map(str, digits))}", [], " ".join(words))


def pair(rng: Random, slip: Slip = exact) -> Problem:
    """Two two-digit numbers read out in another one, units before tens."""
    numbers = [rng.randrange(100) for _ in range(2)]
    said = [slip(number) % 100 for number in numbers]
    words = [f"{WORDS[number % 10]}{TENS[number // 10]}" for number in said]
    return Problem(f"pair:{numbers[0]:02}.{numbers[1]:02}", [], " ".join(words))


def tag(rng: Random, slip: Slip = exact) -> Problem:
    """Four letters in a code of digits."""
    letters = [rng.choice(LETTERS) for _ in range(4)]
    digits = [slip(CODE[letter]) % 10 for letter in letters]
    steps = [f"{letter}:{digit}" for letter, digit in zip(letters, digits, strict=True)]
    return Problem(f"tag:{''.join(letters)}", steps, "".join(map(str, digits)))


def alt(rng: Random, slip: Slip = exact) -> Problem:
    """Five digits in an invented order."""
    digits = [rng.randrange(10) for _ in range(5)]
    return listing("alt", digits, [slip(digit) for digit in sorted(digits, key=ORDER.index)])


def sev(rng: Random, slip: Slip = exact) -> Problem:
    """A running sum that starts again at seven."""
    terms = [rng.randrange(7) for _ in range(4)]
    steps, total = [], terms[0]
    for term in terms[1:]:
        result = slip((total + term) % 7)
        steps.append(f"{total} {term}={result}")
        total = result
    return Problem(f"sev:{' '.join(map(str, terms))}", steps, str(total))


def graded(name: str, *, known: bool = False) -> Skill:
    """`nov` with another sign and table; `known` draws what the pretraining text has of it alone."""
    sign, share = SIGNS[name]
    table = make_table(name)
    cells = [(row, column) for row in range(10) for column in range(10)]
    seen = set(Random(f"{name} seen").sample(cells, round(100 * share)))

    def draw(rng: Random, slip: Slip = exact) -> Problem:
        while True:
            terms = [rng.randrange(10) for _ in range(4)]
            if not known or _cells(table, terms) <= seen:
                return _operate(sign, table, terms, slip)

    draw.__doc__ = f"`nov` with a table of which {share:.0%} is in the pretraining text."
    return draw


INVENTED: dict[str, Skill] = {
    "nov": nov,
    "say": say,
    "pair": pair,
    "tag": tag,
    "alt": alt,
    "sev": sev,
}
"""In no pretraining text."""
GRADED: dict[str, Skill] = {name: graded(name) for name in SIGNS}
"""In some pretraining text by their share; `PARTS` is what it draws from."""
PARTS: dict[str, Skill] = {name: graded(name, known=True) for name in SIGNS}


def _operate(sign: str, table: list[list[int]], terms: list[int], slip: Slip) -> Problem:
    steps, total = [], terms[0]
    for term in terms[1:]:
        result = slip(table[total % 10][term])
        steps.append(f"{total}{sign}{term}={result}")
        total = result
    return Problem(sign.join(map(str, terms)), steps, str(total))


def _cells(table: list[list[int]], terms: list[int]) -> set[tuple[int, int]]:
    cells, total = set(), terms[0]
    for term in terms[1:]:
        cells.add((total, term))
        total = table[total][term]
    return cells
