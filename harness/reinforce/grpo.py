"""GRPO (arXiv:2402.03300) on training prompts with a verifier: TRL's GRPOTrainer on tokenised prompts.

The prompts are the demonstrations', tokenised as they are trained on; the completions are not read but by the
verifier. There is no reference model (TRL's default, no KL term).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datasets import Dataset
from torch import Tensor
from transformers.trainer_callback import PrinterCallback, TrainerCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from advisor.errors import InputError
from advisor.model.load import LoadedModel
from advisor.progress import Progress, untold
from harness.generate.decoding import (
    SPARE_TOKENS,
    as_it_is,
    pads_and_stops,
    refuse_padded,
    text_of,
)
from harness.generate.room import answer_length, with_room
from harness.generate.turn_end import ONE_TOKEN, TurnEnd
from harness.reinforce.verifier import Question, Verifier
from harness.runtime.quiet import quiet
from harness.train.divergence import StopsWhenDiverged
from harness.train.precision import float_masters, to_train
from harness.train.trl_settings import configured

KEPT = ("loss", "reward", "reward_std", "frac_reward_zero_std", "grad_norm", "entropy",
        "completions/mean_length", "completions/clipped_ratio", "num_tokens")  # fmt: skip
"""What is kept of the log."""


GRPO = "training prompts of GRPO"
"""What is said where some do not fit."""


class VerifiedTrainer(StopsWhenDiverged, GRPOTrainer):
    """TRL's GRPOTrainer on prompts that are token ids already.

    Answers are drawn from the model's distribution as it is, whatever its generation config says.
    """

    model: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        pads_and_stops(self)

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return prompts, None, {}

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        # Without `quiet` there would be a remark on lengths at every step
        with quiet(), as_it_is(self.model):
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        return output

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """As TRL's, with positions: padding on the left would shift those that a model counts absolutely."""
        if "position_ids" not in inspect.signature(self.model.forward).parameters:
            return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)

        def placed(*, attention_mask: Tensor, **inputs: Any) -> Any:
            positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
            return model(attention_mask=attention_mask, position_ids=positions, **inputs)

        return super()._get_per_token_logps_and_entropies(placed, *args, **kwargs)


def reinforced(
    loaded: LoadedModel,
    questions: Sequence[Question],
    verifier: Verifier,
    settings: Mapping[str, Any],
    *,
    folder: str,
    turn_end: TurnEnd = ONE_TOKEN,
    on_progress: Progress = untold,
) -> list[dict[str, float]]:
    """Train the loaded model in place on its own answers; the log of every step.

    Args:
        loaded: the start.
        questions: training prompts; never a document that is scored.
        verifier: gives the reward.
        settings: of `grpo_settings`, with a seed; smaller batches and more accumulation, as memory allows.
        folder: for TRL's files; nothing is kept in it.
        turn_end: of the data that the questions are from, which is no part of an answer's text.
        on_progress: told the steps.

    Raises:
        InputError: fewer questions than a step takes, or what TRL refuses.
        TrainingDiverged: it has.
    """
    refuse_padded(loaded, "GRPO")
    kept, longest = _with_room(loaded, questions)
    size = settings["per_device_train_batch_size"] * settings.get("gradient_accumulation_steps", 1)
    if len(kept) < (needed := size // settings["num_generations"]):
        raise InputError(
            f"{len(kept)} training prompts have an answer, fewer than the {needed} of a step of GRPO: "
            "give more rows"
        )
    tokenizer = loaded.tokenizer

    def reward(completion_ids: list[list[int]], row: list[int], **_: Any) -> list[float]:
        cut = [bool(ids) and ids[-1] in turn_end.pieces for ids in completion_ids]
        texts = [text_of(tokenizer, ids) for ids in completion_ids]
        answers = [turn_end.cut_off(t, within=w) for t, w in zip(texts, cut, strict=True)]
        return verifier(answers, [kept[number] for number in row])

    config = _config(settings, folder, longest, loaded.device)
    masters = float_masters(loaded, None)  # at 1e-6 a weight of 16 bits would not move
    try:
        trainer = VerifiedTrainer(
            model=to_train(loaded.model),
            reward_funcs=reward,
            args=config,
            train_dataset=Dataset.from_list(
                [{"prompt": one.prompt, "row": number} for number, one in enumerate(kept)]
            ),
            processing_class=tokenizer,
        )
    except (ValueError, ImportError) as error:
        raise InputError(" ".join(str(error).split())) from error
    trainer.masters = masters
    trainer.remove_callback(PrinterCallback)  # stdout is for results
    trainer.add_callback(_Steps(on_progress))
    trainer.train()
    loaded.model.eval()
    log = trainer.state.log_history
    return [{key: entry[key] for key in ("step", *KEPT) if key in entry}
            for entry in log if "reward" in entry]  # fmt: skip


def _config(settings: Mapping[str, Any], folder: str, longest: int, device: str) -> GRPOConfig:
    ours = {
        "output_dir": folder,
        "max_completion_length": longest,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "shuffle_dataset": True,
    }
    config: GRPOConfig = configured({**settings, **ours}, GRPOConfig, device=device)[0]
    return config


def _with_room(
    loaded: LoadedModel, questions: Sequence[Question]
) -> tuple[Sequence[Question], int]:
    """The questions that leave room for an answer, and the tokens of the longest one.

    That is a little more than the longest reference, or what the context leaves to most questions.
    """
    if not questions:
        return questions, SPARE_TOKENS
    encode: Callable[..., Any] = loaded.tokenizer
    texts = [question.reference for question in questions]
    references = encode(texts, add_special_tokens=False)["input_ids"]
    wanted, context = SPARE_TOKENS + max(map(len, references)), loaded.context_length
    lengths = [len(question.prompt) for question in questions]
    longest = answer_length(lengths, wanted, context, GRPO) or wanted
    return with_room(questions, lambda one: len(one.prompt), longest, context, GRPO), longest


class _Steps(TrainerCallback):
    """Tells how many optimiser steps are done."""

    def __init__(self, on_progress: Progress) -> None:
        self.on_progress = on_progress

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer."""
        self.on_progress(state.global_step, state.max_steps)
