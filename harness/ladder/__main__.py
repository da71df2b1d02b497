"""The ladder from seeds: `build` makes models and demonstrations, `draw` demonstrations of any skills."""

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from harness.ladder import RUNGS, Rung

MINIATURE = {"miniature": Rung(step=500, skill="day", rows=64)}


def main() -> None:
    """Parses the command line and builds."""
    parser = argparse.ArgumentParser(prog="python -m harness.ladder", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_draw(commands)
    build = commands.add_parser(
        "build", help="pretrain the rungs and write models, demonstrations and card (10 minutes)"
    )
    build.add_argument("--output_dir", "--output-dir", type=Path, default=Path("outputs/ladder"))
    build.add_argument("--seed", type=int, default=0)
    build.add_argument("--rungs", nargs="+", choices=list(RUNGS), default=list(RUNGS))
    build.add_argument(
        "--size",
        choices=["0.8M", "50M"],
        default="0.8M",
        help="50M is for a GPU and needs --stories",
    )
    build.add_argument(
        "--stories", type=Path, help="text that is half of what a 50M model reads, e.g. TinyStories"
    )
    build.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    build.add_argument("--miniature", action="store_true", help="a tiny model in seconds instead")
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    if arguments.command == "draw":
        _draw(arguments)
    else:
        _build(arguments)


def _add_draw(commands: Any) -> None:
    draw = commands.add_parser(
        "draw", help="write demonstrations of some skills, none of them a problem of their tasks"
    )
    draw.add_argument("skills", nargs="+", metavar="SKILL", help="see `skills.SKILLS`")
    draw.add_argument("--rows", type=int, default=600, help="of each skill (default: 600)")
    draw.add_argument("--noise", default="none", help="see `skills.NOISES` (default: none)")
    draw.add_argument("--rate", type=float, default=1.0, help="share with noise (default: 1)")
    draw.add_argument("--seed", type=int, default=0)
    draw.add_argument("--output_path", "-o", type=Path, required=True, help="a .jsonl file")


def _draw(arguments: argparse.Namespace) -> None:
    from harness.ladder.build import write_rows
    from harness.ladder.draw import SCORED, draw
    from harness.ladder.skills import NOISES

    if unknown := [name for name in arguments.skills if name not in SCORED]:
        _refuse(f"no skill {unknown[0]!r} with a task: use {', '.join(SCORED)}")
    if arguments.noise not in NOISES:
        _refuse(f"--noise {arguments.noise}: use one of {', '.join(NOISES)}")
    if arguments.rows < 1:
        _refuse(f"--rows {arguments.rows}: expected 1 or more")
    rows = draw(
        list(dict.fromkeys(arguments.skills)),
        rows=arguments.rows,
        seed=arguments.seed,
        noise=arguments.noise,
        rate=arguments.rate,
    )
    try:
        write_rows(arguments.output_path, rows)
    except OSError as error:
        _refuse(f"-o {arguments.output_path}: {error.strerror}")


def _build(arguments: argparse.Namespace) -> None:
    # Imported here so that --help needs no torch.
    from transformers.utils.logging import disable_progress_bar

    from harness.ladder import pretrain
    from harness.ladder.build import build

    disable_progress_bar()

    rungs = {name: RUNGS[name] for name in arguments.rungs}
    recipe = pretrain.LARGE if arguments.size == "50M" else pretrain.Recipe()
    stories = ""
    if arguments.miniature:
        rungs, recipe = MINIATURE, pretrain.MINIATURE
    if arguments.stories:
        stories = pretrain.readable(_text(arguments.stories))
        recipe = replace(recipe, stories=pretrain.LARGE.stories)
    if recipe.stories and len(stories) <= recipe.length:
        _refuse("--size 50M needs --stories FILE with text to read")
    build(
        rungs,
        recipe,
        seed=arguments.seed,
        output_dir=arguments.output_dir,
        stories=stories,
        device=arguments.device,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        _refuse(f"--stories {path}: {error.strerror}")


def _refuse(text: str) -> NoReturn:
    sys.stderr.write(f"harness.ladder: error: {text}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
