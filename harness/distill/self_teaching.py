r"""Self-distillation fine-tuning (SDFT, arXiv:2601.19897): a model that sees the answer teaches itself.

The student answers the bare prompt $x$; at each of its tokens the teacher, which is the same model with the
demonstration $c$ in its context, says how it would go on:

$$ L = \frac{1}{N} \sum_i \frac{1}{T_i} \sum_{t > s} KL\big(\pi_\phi(\cdot|x_i, c_i, y_{<t}) \,\|\,
   \pi_\theta(\cdot|x_i, y_{<t})\big), \qquad y \sim \pi_\theta(\cdot|x_i), \qquad
   \phi \leftarrow (1 - \alpha) \phi + \alpha \theta. $$

The direction of the KL, $s$ and $\alpha$ are those of the authors' code; $T_i$ counts the tokens that are
left. TRL 1.16 has a trainer of its own (`trl.experimental.sdft`). It renders texts itself, so that its
prompts would not be those of the other arms, and a training that is resumed begins with another teacher, so
this one is `OnPolicyTrainer` with a second prompt. What vLLM needs there, importance weights between two
engines, has no part here: one model draws and is trained.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file
from torch import Tensor
from transformers.trainer_callback import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from advisor.errors import InputError
from harness.distill.on_policy import OnPolicyTrainer, whole
from harness.distill.self_settings import SelfTeaching
from harness.generate.decoding import padded

TEACHER = "teacher.safetensors"
"""In a checkpoint: the teacher's weights, where they follow the student's."""


class SelfTeachingTrainer(OnPolicyTrainer):
    """Rows need `teacher_prompt` besides: token ids of the prompt with its demonstration."""

    def __init__(self, *args: Any, itself: SelfTeaching, **kwargs: Any) -> None:
        """`itself` is how the model teaches itself; the teacher is made here."""
        # Not the student itself: accelerate would take it for prepared, and not reduce its gradients.
        super().__init__(*args, **{**kwargs, "teachers": ()})
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            raise ValueError("sdft: a teacher that follows its student cannot be sharded")
        self.itself = itself
        student = self.accelerator.unwrap_model(self.model)
        self.taught_by = copy.deepcopy(student).requires_grad_(False).eval()
        self.teachers = [self._prepared(self.taught_by)]
        self.teacher_model = self.teachers[0]
        self._averages = _averages(self.taught_by, student)
        self.add_callback(_Follows(self))

    @property
    def method(self) -> str:
        """What is minimised, for the card."""
        return f"SDFT (arXiv:2601.19897), `{self.itself}`"

    def follow(self) -> None:
        """Take over a share of the student's weights."""
        student = self.accelerator.unwrap_model(self.model)
        trained, own = dict(student.named_parameters()), dict(self.taught_by.named_parameters())
        with torch.no_grad():
            for name, average in self._averages.items():
                average.lerp_(trained[name].to(average), self.itself.ema)
                own[name].copy_(average)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As Trainer's; in checkpoints with the teacher beside the student."""
        super().save_model(output_dir, _internal_call)
        folder = Path(output_dir or str(self.args.output_dir))
        if self.args.should_save and folder.name.startswith(PREFIX_CHECKPOINT_DIR):
            save_file(self._state(), str(folder / TEACHER), metadata={"format": "pt"})

    def _state(self) -> dict[str, Tensor]:
        """The teacher's weights by name, each once; those that follow as their averages are."""
        teacher = self.taught_by
        once = {**dict(teacher.named_parameters()), **dict(teacher.named_buffers())}
        kept = {name: once[name] for name in teacher.state_dict() if name in once}
        return {name: value.contiguous() for name, value in {**kept, **self._averages}.items()}

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        path = Path(resume_from_checkpoint) / TEACHER
        try:
            device = str(self.accelerator.device)
            load_model(self.taught_by, str(path), device=device)
            found = load_file(str(path), device=device)
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            line = " ".join(str(error).split())[:160]
            raise InputError(
                f"{path}: the teacher cannot be read ({line}): take an earlier checkpoint, or begin anew"
            ) from error
        own: dict[str, Any] = dict(self.taught_by.named_parameters())
        with torch.no_grad():
            for name, average in self._averages.items():
                average.copy_(found.get(name, own[name]))

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        prompts = [row["teacher_prompt"] for row in inputs]
        tokenizer: Any = self.processing_class
        asked = padded(prompts, tokenizer.pad_token_id, self.accelerator.device)
        output["teacher_prompt_ids"] = asked["input_ids"]
        output["teacher_prompt_mask"] = asked["attention_mask"]
        return output

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if self._buffered_inputs is not before:
            rows = sum(len(batch["completion_mask"]) for batch in self._buffered_inputs)
            number = torch.tensor(float(rows), device=self.accelerator.device)
            every = self.accelerator.gather(number).sum()
            for batch in self._buffered_inputs:
                batch["weights"] = self._weights(batch["completion_mask"])
                batch["num_items_in_batch"] = every
        return inputs

    def _weights(self, mask: Tensor) -> Tensor:
        """[rows, tokens]: each answer's tokens, less the first, count 1 together."""
        kept = mask.float() * (mask.cumsum(1) > self.itself.skip)
        return kept / kept.sum(1, keepdim=True).clamp(min=1)

    def _read_by_teacher(self, batch: Any, rows: Any) -> tuple[Tensor, Tensor]:
        asked = {
            "prompt_ids": batch["teacher_prompt_ids"],
            "prompt_mask": batch["teacher_prompt_mask"],
        }
        return whole({**batch, **asked}, rows)

    def _compute_loss(
        self, unwrapped_student: Any, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Without weights, as in evaluation, TRL's own loss would be taken: its teacher reads the bare prompt.
        weights = inputs.get("weights", inputs["completion_mask"].float())
        inputs = {**inputs, "weights": weights}
        return super()._compute_loss(unwrapped_student, inputs, num_items_in_batch)


def _averages(teacher: Any, student: Any) -> dict[str, Tensor]:
    """By name, what follows the student: the teacher's own weights, of 16 bits copies in float32.

    There a hundredth of an update is below the resolution of a weight, and a teacher would stand still.
    """
    trained = {name for name, weight in student.named_parameters() if weight.requires_grad}
    return {
        name: weight.detach().float()  # of float32 the weight itself
        for name, weight in teacher.named_parameters()
        if name in trained
    }


class _Follows(TrainerCallback):
    """Moves the teacher after every optimiser step."""

    def __init__(self, trainer: SelfTeachingTrainer) -> None:
        self._trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After the update, before a checkpoint is written."""
        if self._trainer.itself.ema:
            self._trainer.follow()
