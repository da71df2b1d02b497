"""Builds the ladder from seeds: demonstrations, checkpoints in float16, and the card of scores.

A build writes `models/RUNG/`, `demonstrations/RUNG.jsonl` and `card.json` into its output folder,
the layout of this package.
"""

import hashlib
import itertools
import json
import logging
import platform
import time
from collections.abc import Container, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from random import Random

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from harness.ladder import Rung, demonstrations_file, model_folder
from harness.ladder.card import card_table, read_card, update_card
from harness.ladder.ladder_tasks import scored_prompts
from harness.ladder.letters import build_tokenizer
from harness.ladder.pretrain import Recipe, pretrain
from harness.ladder.score import demonstration_prior, greedy_accuracy
from harness.ladder.skills import SKILLS, demonstration

logger = logging.getLogger(__name__)

PROBLEMS = 200
SHIPPED_SEED = 0
"""Of the ladder that is installed with the package."""


def build(
    rungs: Mapping[str, Rung],
    recipe: Recipe,
    *,
    seed: int,
    output_dir: Path,
    stories: str = "",
    device: str = "cpu",
) -> None:
    """Writes models, demonstrations and card of `rungs`; a killed build goes on where it was."""
    began = time.monotonic()
    for name, rung in rungs.items():
        write_demonstrations(demonstrations_file(output_dir, name), rung, seed)
    stops = sorted({rung.step for rung in rungs.values()})
    for step, model in pretrain(
        recipe, seed=seed, stops=stops, folder=output_dir, stories=stories, device=device
    ):
        for name in (name for name, rung in rungs.items() if rung.step == step):
            save_model(model, model_folder(output_dir, name))
            logger.info("wrote %s", model_folder(output_dir, name))
    for name, rung in rungs.items():
        entry = {"seed": seed, "rung": asdict(rung), "recipe": asdict(recipe)}
        update_card(output_dir, name, entry | score(output_dir, name, seed))
    minutes = (time.monotonic() - began) / 60
    logger.info("built in %.1f min\n%s", minutes, card_table(read_card(output_dir)))


def draw_demonstrations(
    rung: Rung, seed: int, *, avoid: Container[str] = frozenset()
) -> list[dict[str, str]]:
    """A rung's demonstrations, `prompt` and `completion`.

    Problems whose prompt is in `avoid`, those that will be scored, are passed over.
    """
    rng = Random(f"demonstrations {rung.skill} {seed}")
    drawn = (
        demonstration(rung.skill, rng, noise=rung.noise, rate=rung.rate) for _ in itertools.count()
    )
    return list(itertools.islice((row for row in drawn if row["prompt"] not in avoid), rung.rows))


def write_demonstrations(path: Path, rung: Rung, seed: int) -> None:
    """Writes a rung's demonstrations as JSON lines.

    The tasks leave out those of `SHIPPED_SEED`; those of other seeds leave out the problems of the tasks.
    """
    avoid = frozenset[str]() if seed == SHIPPED_SEED else scored_prompts(rung.skill)
    write_rows(path, draw_demonstrations(rung, seed, avoid=avoid))


def write_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Writes JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Writes weights in float16, configuration and tokenizer; the model itself stays in float32."""
    deepcopy(model).half().save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)


def score(output_dir: Path, name: str, seed: int) -> dict[str, object]:
    """Scores a written rung: greedy accuracy per skill, mean p of its demonstrations, hashes."""
    folder, demonstrations = model_folder(output_dir, name), demonstrations_file(output_dir, name)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [json.loads(line) for line in demonstrations.read_text(encoding="utf-8").splitlines()]
    accuracy = {skill: greedy_accuracy(model, tokenizer, skill, PROBLEMS, seed) for skill in SKILLS}
    logger.info("scored %s", name)
    return {
        "parameters": model.num_parameters(),
        "prior": asdict(demonstration_prior(model, tokenizer, rows)),
        "greedy_accuracy": accuracy,
        "problems_per_skill": PROBLEMS,
        "weights_sha256": _sha256(folder / "model.safetensors"),
        "demonstrations_sha256": _sha256(demonstrations),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
