"""The trainer of on-policy distillation: rollouts, teachers, weights, loss.

`OnPolicyTrainer` is TRL's DistillationTrainer: the student answers the prompts itself, the teacher's
distribution at each of its tokens is the target. Added are the filter and the weights of FiRe-OPD
(arXiv:2606.02684, see `fire.py`), the published sampled-token loss, and several teachers by a key of the row.

- Filter and weights are taken when the rollouts of the whole optimiser step are there, over all ranks: how
  it is cut into micro-batches changes nothing, unless `Fire` asks for the released code's way.
- The loss is divided by the tokens of the step that are kept, all of them where nothing is left out.
- Costs beyond TRL's: one pass of student and of teacher without gradient, where there are weights to take.
- Rollouts that reach `max_completion_length` are kept; watch `completions/clipped_ratio`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from trl.models.utils import prepare_deepspeed
from trl.trainer.distillation_trainer import DistillationTrainer
from trl.trainer.utils import RepeatSampler

from advisor.model.forward import last_hidden, read_head
from advisor.model.head import Head, token_stats
from harness.distill.fire import (
    Rollouts,
    full_loss,
    narrowed,
    sampled_loss,
    step_weights,
    summary,
    tempered,
)
from harness.distill.fire_settings import PLAIN, Fire
from harness.generate.decoding import as_it_is, pads_and_stops
from harness.generate.turn_end import ONE_TOKEN, TurnEnd
from harness.runtime.quiet import quiet, undisturbed
from harness.train.model_card import UNKNOWN, Facts, write_card
from harness.train.saving import SavesHowItIsUsed
from harness.train.whole_checkpoint import ReadsWholeCheckpoints

FORMS = ("full", "sampled")
"""The reverse KL over the whole vocabulary, as TRL's; or of the drawn token alone, as published."""


class EpochSampler(RepeatSampler):
    """TRL's sampler, with an order of its own in every epoch, so that a later epoch can be resumed."""

    def set_epoch(self, epoch: int) -> None:
        """The order of this epoch, whatever was drawn before."""
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + epoch)


class OnPolicyTrainer(ReadsWholeCheckpoints, SavesHowItIsUsed, DistillationTrainer):
    """TRL's DistillationTrainer with FiRe-OPD, the sampled-token loss and several teachers.

    Rows need `prompt`, token ids, and `teacher`, the number of the row's teacher in `teachers`.
    """

    model: Any
    _buffered_inputs: Any

    def __init__(
        self,
        *args: Any,
        teachers: Sequence[PreTrainedModel],
        fire: Fire | None = None,
        form: str = "full",
        vocabulary: int | None = None,
        facts: Facts = UNKNOWN,
        turn_end: TurnEnd = ONE_TOKEN,
        **kwargs: Any,
    ) -> None:
        """`fire` None is plain on-policy distillation; `form` is one of FORMS.

        `vocabulary` is the number of rows that the heads have in common, None where they are alike;
        `facts` go into the model card, `turn_end` into the saved generation config.
        """
        self.facts, self.turn_end = facts, turn_end
        super().__init__(*args, **{**kwargs, "teacher_model": None})
        pads_and_stops(self)
        self.fire, self.form, self.vocabulary = fire, form, vocabulary
        sharded = self.is_deepspeed_enabled or self.is_fsdp_enabled
        if vocabulary is not None:
            if sharded or self.use_vllm:
                raise ValueError(
                    "heads of different sizes cannot be cut under FSDP, DeepSpeed or vLLM"
                )
            rows = self.model.config.get_text_config().vocab_size
            self.generation_config.suppress_tokens = [*range(vocabulary, rows)] or None
        if (
            len(teachers) > 1 and sharded
        ):  # one rank may have no row of a teacher that all must gather
            raise ValueError("several teachers cannot be sharded: train without FSDP and DeepSpeed")
        self.teachers = [self._prepared(teacher.eval()) for teacher in teachers]
        self.teacher_model = self.teachers[0] if self.teachers else None
        # As TRL: elsewhere shapes that change with every batch cost more than padding
        self.compact = self.accelerator.device.type == "cuda"

    def _prepared(self, teacher: PreTrainedModel) -> Any:
        """As TRL prepares a teacher, which it refuses where heads differ in size."""
        if self.is_deepspeed_enabled:
            return prepare_deepspeed(teacher, self.accelerator)
        return self.accelerator.prepare_model(teacher, evaluation_mode=True)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As Trainer's: the mean divergence from the teachers on answers to the prompts of evaluation.

        It is that of `args.beta`, over the whole vocabulary, with neither filter nor weights, whatever is
        trained with. Answers are drawn from the same random numbers every time, and training's stay as they
        were: it goes on as if nothing had been evaluated.
        """
        with undisturbed(self.model):
            torch.manual_seed(self.args.seed + self.accelerator.process_index)
            found: dict[str, float] = super().evaluate(*args, **kwargs)
        return found

    def _get_train_sampler(self, dataset: Any = None) -> RepeatSampler:
        sampler = super()._get_train_sampler(dataset)
        names = [
            "data_source",
            "mini_repeat_count",
            "batch_size",
            "repeat_count",
            "shuffle",
            "seed",
        ]
        return EpochSampler(**{name: getattr(sampler, name) for name in names})

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return prompts, None, {}  # token ids already: those whose prior is measured

    def _get_last_hidden_state(
        self,
        unwrapped_model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        **multimodal: Any,
    ) -> Tensor:
        """[rows, logits_to_keep, hidden] that predict the last tokens.

        TRL's own gives no positions, so that padding on the left shifts those of a model that counts
        them absolutely; and reads the backbone, not what enters the head.
        """
        hidden = last_hidden(unwrapped_model, input_ids, attention_mask)
        return hidden[:, :-1][:, -logits_to_keep:]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        # Without `quiet` there would be a remark on lengths at every step
        with quiet(), as_it_is(self.model):
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        numbers = [row["teacher"] for row in inputs]
        output["teacher"] = torch.tensor(numbers, device=self.accelerator.device)
        return output

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if self._buffered_inputs is not before and (self.fire or self.form == "sampled"):
            self._weigh(self._buffered_inputs)
        return inputs

    def _weigh(self, batches: list[dict[str, Any]]) -> None:
        """Put `weights` into all micro-batches of an optimiser step, and the tokens kept of it."""
        looks = [self.look(batch) for batch in batches]
        local = {name: torch.cat([look[name] for look in looks]) for name in looks[0]}
        rollouts = Rollouts(**{name: self._gathered(table) for name, table in local.items()})
        size, tokens = looks[0]["mask"].shape
        weights = step_weights(rollouts, self.fire or PLAIN, size)
        first = self.accelerator.process_index * len(local["mask"])
        for i, (batch, look) in enumerate(zip(batches, looks, strict=True)):
            batch["weights"] = weights[first + i * size :][:size, :tokens]
            batch["num_items_in_batch"] = weights.count_nonzero()
            batch.update({name: look[name] for name in ("student_logp", "teacher_logp")})
        for name, value in summary(rollouts, weights).items():
            self._metrics["train"][name].append(value)

    def _gathered(self, table: Tensor) -> Tensor:
        """The rows of all ranks, padded to the longest."""
        if table.dim() > 1:
            table = self.accelerator.pad_across_processes(table, dim=1)
        gathered: Tensor = self.accelerator.gather(table)
        return gathered

    @torch.no_grad()
    def look(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The fields of `Rollouts` for one micro-batch."""
        was_training = self.model.training
        self.model.eval()
        with self.compute_loss_context_manager():
            logp, entropy = self._tables(self.model_wrapped, batch, slice(None))
            found = {
                "mask": batch["completion_mask"], "teacher": batch["teacher"],
                "student_logp": logp, "student_entropy": entropy,
                "teacher_logp": torch.zeros_like(logp), "teacher_entropy": torch.zeros_like(logp),
            }  # fmt: skip
            for teacher, rows in self._routed(batch):
                tables = self._tables(teacher, batch, rows)
                found["teacher_logp"][rows], found["teacher_entropy"][rows] = tables
        self.model.train(was_training)
        return found

    def _routed(self, batch: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        """Each teacher of a micro-batch with its rows."""
        if len(self.teachers) == 1:
            yield self.teachers[0], slice(None)
            return
        for number, teacher in enumerate(self.teachers):
            rows = batch["teacher"].eq(number).nonzero()[:, 0]
            if len(rows):
                yield teacher, rows

    def _tables(self, model: Any, batch: dict[str, Any], rows: Any) -> tuple[Tensor, Tensor]:
        """Log-probability of the drawn tokens and entropy under a model, both [rows, tokens]."""
        drawn, mask = batch["completion_ids"][rows], batch["completion_mask"][rows].bool()
        read_whole = whole(batch, rows)

        def read(unwrapped: Any, ids: Tensor, attention: Tensor) -> Any:
            hidden = self._get_last_hidden_state(unwrapped, ids, attention, drawn.shape[1])
            return token_stats(self._head(unwrapped), hidden[mask], drawn[mask])

        unwrapped = self.accelerator.unwrap_model(model)
        stats = self._forward_redirection(model, unwrapped, read, unwrapped, *read_whole)
        logp, entropy = torch.zeros(2, *mask.shape, device=mask.device)
        logp[mask], entropy[mask] = stats.logp.to(logp), stats.entropy.to(logp)
        return logp, entropy

    def _head(self, unwrapped: Any) -> Head:
        """The head at the temperature of the rollouts, of the tokens that all models have."""
        head = tempered(read_head(unwrapped), self.temperature)
        return head if self.vocabulary is None else narrowed(head, self.vocabulary)

    def _compute_loss(
        self, unwrapped_student: Any, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        if "weights" not in inputs and len(self.teachers) == 1 and self.vocabulary is None:
            trl: Any = super()
            found: tuple[Tensor, Tensor, Tensor] = trl._compute_loss(
                unwrapped_student, inputs, num_items_in_batch
            )
            return found
        weights = inputs.get("weights", inputs["completion_mask"].float())
        hidden = self._get_last_hidden_state(
            unwrapped_student, *whole(inputs), inputs["completion_ids"].shape[1]
        )
        student = (self._head(unwrapped_student), hidden)
        if self.form == "sampled" and "weights" in inputs:
            loss, entropy = self._sampled(student, inputs, weights)
        else:
            loss, entropy = self._full(student, inputs, weights)
        count = weights.count_nonzero()
        if num_items_in_batch is None:  # in evaluation
            num_items_in_batch = count.clamp(min=1)
        return loss / num_items_in_batch, entropy, count

    def _read_by_teacher(self, batch: Mapping[str, Tensor], rows: Any) -> tuple[Tensor, Tensor]:
        """Ids and attention mask of what a teacher reads."""
        return whole(batch, rows)

    def _sampled(
        self, student: tuple[Head, Tensor], inputs: dict[str, Any], weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss and entropy, summed over the tokens kept."""
        head, hidden = student
        at = weights != 0
        names = ("completion_ids", "weights", "student_logp", "teacher_logp")
        loss, entropy = sampled_loss((head, hidden[at]), *(inputs[name][at] for name in names))
        return loss, entropy.sum()

    def _full(
        self, student: tuple[Head, Tensor], inputs: dict[str, Any], weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss and entropy, summed over the tokens kept, each row against its teacher."""
        head, hidden = student
        loss = entropy = hidden.new_zeros((), dtype=torch.float32)
        for teacher, rows in self._routed(inputs):
            unwrapped = self.accelerator.unwrap_model(teacher)
            length = weights.shape[1]
            with torch.no_grad():
                states = self._forward_redirection(
                    teacher, unwrapped, self._get_last_hidden_state, unwrapped,
                    *self._read_by_teacher(inputs, rows), length,
                )  # fmt: skip
            own, w = hidden[rows].flatten(0, 1), weights[rows].flatten()
            states = states.flatten(0, 1)
            at = w != 0
            if self.compact:
                own, states, w, at = own[at], states[at], w[at], at[at]
            part, entropies = full_loss(
                (head, own), (self._head(unwrapped), states), w, divergence=self.beta
            )
            loss, entropy = loss + part, entropy + entropies.where(at, 0).sum()
        return loss, entropy

    @property
    def method(self) -> str:
        """What is minimised, for the card."""
        return f"FiRe-OPD (arXiv:2606.02684), `{self.fire}`" if self.fire else "plain"

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """A card with base model, data, method and versions in the place of TRL's."""
        section = (
            f"## Distillation\n\n{self.method}; {self.form} loss, teachers: {len(self.teachers)}.\n"
        )
        write_card(self, self.facts, (section, *(f"{note}\n" for note in self.remarks)))


def whole(batch: Mapping[str, Tensor], rows: Any = slice(None)) -> tuple[Tensor, Tensor]:
    """Ids and attention mask of prompts and completions of these rows."""
    ids = torch.cat([batch["prompt_ids"][rows], batch["completion_ids"][rows]], 1)
    return ids, torch.cat([batch["prompt_mask"][rows], batch["completion_mask"][rows]], 1)
