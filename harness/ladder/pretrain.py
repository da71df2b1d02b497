"""Pretraining of the ladder: documents of the known skills; resumable, a function of its seed."""

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.ladder.known import Problem
from harness.ladder.letters import ALPHABET, TERMINATOR, build_tokenizer
from harness.ladder.skills import KNOWN, PRETRAINED, render, with_slip, with_wrong_answer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Model and schedule of a pretraining run."""

    hidden: int = 128
    """Width of the residual stream."""
    layers: int = 4
    """Transformer blocks."""
    intermediate: int = 344
    """Width of the MLPs."""
    steps: int = 4000
    """Optimiser steps of the whole schedule."""
    rows: int = 16
    """Rows of one batch."""
    length: int = 96
    """Tokens of one row."""
    lr: float = 2e-3
    """Peak learning rate of AdamW."""
    skills: tuple[str, ...] = tuple(KNOWN)
    """Skills of the text, drawn uniformly."""
    bare: float = 0.5
    """Share of documents that answer without steps."""
    wrong: float = 0.1
    """Share of documents with a wrong step or answer."""
    stories: float = 0.0
    """Share of rows that are a piece of the text given beside the recipe."""


LARGE = Recipe(hidden=512, layers=16, intermediate=1376, rows=64, lr=6e-4, stories=0.5)
"""50M parameters, for a GPU."""
MINIATURE = Recipe(
    hidden=32,
    layers=2,
    intermediate=96,
    steps=500,
    length=48,
    lr=1e-2,
    skills=("day",),
    bare=0.0,
    wrong=0.0,
)
"""A model that learns one skill in seconds; for tests."""

SAVE_EVERY = 250
REPORT_EVERY = 50
WARM_UP = 100
HEADS = 4
CONTEXT = 128


def pretrain(
    recipe: Recipe,
    *,
    seed: int,
    stops: Sequence[int],
    folder: Path,
    stories: str = "",
    device: str = "cpu",
) -> Iterator[tuple[int, LlamaForCausalLM]]:
    """Trains from random weights and gives (step, model) at each stop.

    `folder` keeps the state of the run every 250 steps; a killed run with the same arguments goes
    on from there. `stories` is text in the tokenizer's alphabet, for a recipe that mixes it in. On a
    GPU the forward pass is in bfloat16.
    """
    if device == "cpu":
        torch.set_num_threads(1)  # two threads are slower than one below 2M parameters
    tokenizer = build_tokenizer()
    model = new_model(recipe, seed, tokenizer).to(device)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    state = folder / f"state-{_fingerprint(recipe, seed, stops, stories)}.pt"
    first = _resume(state, model, optimizer)
    losses: list[float] = []
    began = time.monotonic()
    for step in range(first + 1, max(stops) + 1):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * schedule(step, recipe.steps)
        ids = batch(recipe, seed, step, tokenizer, stories)
        losses.append(_update(model, optimizer, ids.to(device)))
        if step % REPORT_EVERY == 0:
            left = (time.monotonic() - began) / (step - first) * (max(stops) - step) / 60
            loss = sum(losses[-REPORT_EVERY:]) / len(losses[-REPORT_EVERY:])
            logger.info("step %d of %d, loss %.3f, %.1f min left", step, max(stops), loss, left)
        if step in stops:
            yield step, model.eval()
        if step % SAVE_EVERY == 0:
            _save(state, model, optimizer, step)
    state.unlink(missing_ok=True)


def new_model(recipe: Recipe, seed: int, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Makes the untrained model; decoded by sampling at temperature 1 unless told otherwise."""
    torch.manual_seed(seed)
    special = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        intermediate_size=recipe.intermediate,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        **special,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(do_sample=True, temperature=1.0, **special)
    return model


def batch(
    recipe: Recipe, seed: int, step: int, tokenizer: PreTrainedTokenizerFast, stories: str = ""
) -> torch.Tensor:
    """Token ids [rows, length] of one step, a function of seed, step and stories alone."""
    rng = Random(f"pretrain {seed} {step}")
    texts = [_row(recipe, rng, stories) for _ in range(recipe.rows)]
    encoded = tokenizer(texts, truncation=True, max_length=recipe.length, return_tensors="pt")
    ids: torch.Tensor = encoded["input_ids"]
    return ids


def readable(text: str) -> str:
    """A text as the tokenizer can read it: lower case, what is not in the alphabet left out."""
    return "".join(char for char in " ".join(text.lower().split()) if char in ALPHABET)


def document(recipe: Recipe, rng: Random) -> str:
    """One document of the pretraining text, terminator included."""
    problem = _draw(recipe, rng)
    return f"{problem.prompt}|{render(problem, bare=rng.random() < recipe.bare)}{TERMINATOR}"


def schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate: warm-up, plateau, linear decay over the last quarter."""
    return min(1.0, step / min(WARM_UP, steps / 4), (steps - step + 1) / (steps / 4))


def _draw(recipe: Recipe, rng: Random) -> Problem:
    skill, seed = PRETRAINED[rng.choice(recipe.skills)], rng.getrandbits(32)
    if rng.random() >= recipe.wrong:
        return skill(Random(seed))
    if rng.random() < 0.5:
        return with_slip(skill, seed, rng)
    return with_wrong_answer(skill(Random(seed)), rng)


def _row(recipe: Recipe, rng: Random, stories: str) -> str:
    if recipe.stories and rng.random() < recipe.stories:
        start = rng.randrange(max(1, len(stories) - recipe.length))
        return stories[start : start + recipe.length]
    # Half of the rows start with <bos>, so that a prompt scores alike with and without it.
    text = "<bos>" if rng.random() < 0.5 else ""
    while len(text) < recipe.length + len("<bos>"):
        text += document(recipe, rng)
    return text


def _update(model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, ids: torch.Tensor) -> float:
    model.train()
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=ids.device.type == "cuda"):
        loss: torch.Tensor = model(input_ids=ids, labels=ids, use_cache=False).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def _fingerprint(recipe: Recipe, seed: int, stops: Sequence[int], stories: str) -> str:
    return hashlib.sha256(repr((recipe, seed, sorted(stops), stories)).encode()).hexdigest()[:12]


def _resume(state: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer) -> int:
    if not state.exists():
        return 0
    saved = torch.load(state, weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    logger.info("going on from step %d (%s)", saved["step"], state)
    return int(saved["step"])


def _save(
    state: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, step: int
) -> None:
    part = state.with_suffix(".part")
    saved = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(saved, part)
    part.replace(state)
