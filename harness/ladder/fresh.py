"""Skills that no cell of the calibration grid has, for a recommender that is frozen to be judged on.

One is all facts that nobody can know, one puts known procedures together, one is a known procedure on another
kind of input. None is in any pretraining text.
"""

from random import Random

from harness.ladder.known import LETTERS, Problem, Skill, Slip, exact, unit

RING = "".join(Random("ring").sample(LETTERS, 26))
"""An invented order of the letters; after the last comes the first."""


def ring(rng: Random, slip: Slip = exact) -> Problem:
    """Three letters, each moved two places on in an invented ring."""
    moves = [[rng.choice(LETTERS)] for _ in range(3)]
    letters = "".join(first for (first,) in moves)
    for move in moves:
        for _ in range(2):
            move.append(RING[slip(RING.index(move[-1]) + 1) % 26])
    steps = [":".join(move) for move in moves]
    return Problem(f"ring:{letters}", steps, "".join(last for *_, last in moves))


def top(rng: Random, slip: Slip = exact) -> Problem:
    """Sum of the two largest of five digits: `sort`, then a sum as `chain` writes it."""
    digits = [rng.randrange(10) for _ in range(5)]
    *rest, second, first = (slip(digit) for digit in sorted(digits))
    total = slip(second + first)
    steps = [*map(str, (*rest, second, first)), f"{second}+{first}={total}"]
    return Problem(f"top:{''.join(map(str, digits))}", steps, str(total))


def sec(rng: Random, slip: Slip = exact) -> Problem:
    """Minutes and seconds in seconds: `unit` in other units."""
    problem = unit(rng, slip)
    minutes, seconds = problem.prompt.removesuffix("m").split("h")
    return problem._replace(prompt=f"{minutes}m{seconds}s")


FRESH: dict[str, Skill] = {"ring": ring, "top": top, "sec": sec}
"""In no pretraining text and in no cell of the grid."""
