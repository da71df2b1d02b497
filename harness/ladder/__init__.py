"""The embedded default: tiny language models of graded capability, with demonstrations for each.

`ladder:strong`, `ladder:mid` and `ladder:weak` name a model folder and a demonstrations file that
are installed with the package. `python -m harness.ladder build` makes them from nothing but seeds;
`card.json` says how they score.
"""

from dataclasses import dataclass
from pathlib import Path

from advisor.errors import InputError
from advisor.names import nearest_first

LADDER = "ladder:"
"""What a rung's name begins with where models and datasets are named."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One end of the ladder: a checkpoint and the demonstrations it is paired with."""

    step: int
    """Pretraining step of the checkpoint."""
    skill: str
    """Name in `skills.SKILLS`."""
    noise: str = "none"
    """Name in `skills.NOISES`."""
    rate: float = 0.0
    """Expected share of demonstrations with that noise."""
    rows: int = 600
    """Number of demonstrations."""


RUNGS = {
    "strong": Rung(step=4000, skill="chain", noise="mix", rate=0.4),
    "mid": Rung(step=2000, skill="lin", noise="bare", rate=1.0),
    "weak": Rung(step=1000, skill="say", rows=1920),
}


def resolve(name: str) -> tuple[Path, Path]:
    """Gives a rung's model folder and demonstrations file; an unknown name is an `InputError`."""
    if name not in RUNGS:
        names = ", ".join(nearest_first(name, RUNGS))
        raise InputError(f"no ladder rung named {name!r}: use one of {names}")
    root = Path(__file__).parent
    return model_folder(root, name), demonstrations_file(root, name)


def model_folder(root: Path, rung: str) -> Path:
    """The folder of a rung's model in a build's output."""
    return root / "models" / rung


def demonstrations_file(root: Path, rung: str) -> Path:
    """The JSON lines of a rung's demonstrations in a build's output."""
    return root / "demonstrations" / f"{rung}.jsonl"
