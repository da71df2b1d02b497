"""Fine-tuning with any objective of the table: `advisor train MODEL DATASET --objective NAME`.

`ObjectiveLoss` is a mix-in for any Hugging Face trainer; `ObjectiveTrainer` is TRL's SFTTrainer with it.
It replaces the loss and nothing else: LoRA, accelerate, resuming, trackers come from TRL.

- The loss, backbone and head, runs inside the wrapped model's forward, so that ranks are synchronised.
- It is divided by the target tokens of the whole optimiser step, over micro-batches and ranks; with weights
  of the data, `loss_weights`, by their sum.
- Objectives whose weights need the statistics of the step get a first pass without gradient.
- A schedule is asked, for every optimiser step, which objective is in force in it.
- Losses of different objectives are not comparable; the same token statistics are logged for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, Trainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling, SFTTrainer

from advisor.errors import InputError
from advisor.model.forward import HeadCall, extend_forward, scored_positions, total_weight
from advisor.model.objective_step import (
    FirstPass,
    evaluating,
    first_pass,
    head_call,
    joined,
    router_loss,
    weight_tables,
)
from advisor.objectives.table import Objective, TokenStats
from advisor.objectives.weights import REFERENCE_COLUMNS
from advisor.prior.prior import LOW_P
from harness.generate.turn_end import ONE_TOKEN, TurnEnd
from harness.train.model_card import UNKNOWN, Facts, write_card
from harness.train.saving import SavesHowItIsUsed
from harness.train.shards import refuse_split_rows, refuse_zero3
from harness.train.switches import Switches, told
from harness.train.whole_checkpoint import ReadsWholeCheckpoints

_SUMS = (
    "tokens", "nll", "p", "entropy", "weight", "weight_squared", "low", "top1", "eos_p", "eos_tokens",
)  # fmt: skip
_EXTRA = {"terminator": 0, "loss_weights": 0.0} | dict.fromkeys(REFERENCE_COLUMNS, 0.0)
"""Columns beyond TRL's, with their padding."""


class ObjectiveCollator(DataCollatorForLanguageModeling):
    """TRL's collator, carrying more columns.

    `terminator`, `loss_weights` and those of the model before training, `reference_logp` and the like, have a
    value a token; `row`, the number of the source row, one an example.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """A list of rows to padded (or, padding-free, concatenated) tensors."""
        output = super().torch_call(examples)
        for name, padding in _EXTRA.items():
            if name not in examples[0]:
                continue
            dtype = torch.float32 if isinstance(padding, float) else None  # a list may begin with 1
            rows = [torch.as_tensor(example[name], dtype=dtype) for example in examples]
            table = torch.full(output["labels"].shape, padding, dtype=rows[0].dtype)
            if self.padding_free:
                rows = [torch.cat(rows)]
            for row, values in zip(table, rows, strict=True):
                row[: len(values)] = values
            output[name] = table
        if "row" in examples[0]:
            output["row"] = torch.tensor([example["row"] for example in examples])
        return output


if TYPE_CHECKING:
    _Mixed = Trainer
else:
    _Mixed = object


class ObjectiveLoss(_Mixed):
    """Mix-in before a Hugging Face trainer: trains with an objective of the table.

        class MyTrainer(ObjectiveLoss, Trainer): ...
        MyTrainer(objective=get_objective("dft"), model=model, args=args, train_dataset=dataset)

    Batches need `labels`; `reference_logp` and the like, [batch, sequence], where the objective reads them;
    and `loss_weights`, likewise, where the data weigh their targets.
    """

    objective: Objective
    model: Any
    _loss_alone = False
    """Whether nobody reads the outputs of an evaluation."""

    def __init__(
        self,
        *args: Any,
        objective: Objective,
        model: PreTrainedModel,
        reference_model: PreTrainedModel | None = None,
        **kwargs: Any,
    ) -> None:
        """`reference_model` is the frozen model before training, for objectives with an anchor."""
        refuse_zero3(kwargs.get("args"))
        refuse_split_rows(kwargs.get("args"))
        self._weighted = {
            mode: _has_weights(kwargs.get(name))
            for mode, name in ((True, "train_dataset"), (False, "eval_dataset"))
        }
        extend_forward(model)
        forward = model.forward
        super().__init__(*args, **{**kwargs, "model": model})
        # Without TRL's fused head, which would have every copy of the model run on this one's weights
        model.forward = forward
        self.objective = objective
        self._switches = Switches(self) if objective.scheduled else None
        if self._switches is not None:
            self.add_callback(self._switches)
        if "anchor" in objective.needs and reference_model is None:
            raise ValueError(
                f"objective {objective.name} needs reference_model, the model before training"
            )
        self.reference_model = reference_model
        self.model_accepts_loss_kwargs = True  # num_items_in_batch: the whole step's target tokens
        self._loss_shifts_labels = True
        self._token_sums: dict[str, Tensor] = {}
        self._logged: dict[str, float] = {}

    @property
    def done(self) -> float:
        """Share of the optimiser steps that lie behind."""
        return self.state.global_step / max(self.state.max_steps, 1)

    @property
    def in_force(self) -> Objective:
        """What is minimised in this optimiser step."""
        return self.objective.at(self.done)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Sum of weight * NLL over this micro-batch, divided by the step's number of targets."""
        inputs = dict(inputs)
        if self._weighted[self.model.training] and "loss_weights" not in inputs:
            raise InputError(
                "the dataset has loss_weights and the batch has none: set remove_unused_columns=False, and "
                "take a collator that pads them (harness.train.objective_trainer.ObjectiveCollator)"
            )
        if "step" in self.in_force.needs and "token_weights" not in inputs:  # in evaluation
            inputs["token_weights"] = self._step_weights([inputs])[0]
        terminator = inputs.pop("terminator", None)
        inputs.pop("row", None)
        call = self._head_call(inputs)
        labels, mask = inputs["labels"], inputs.get("attention_mask")
        outputs: Any = model(**inputs, objective_head=call)
        of_all_ranks = num_items_in_batch is not None
        if num_items_in_batch is None:  # in TRL's evaluation
            num_items_in_batch = total_weight(inputs)
        items = torch.as_tensor(num_items_in_batch, device=outputs.loss.device)
        loss = outputs.loss / torch.where(items > 0, items, 1)
        if self.args.average_tokens_across_devices and of_all_ranks:
            # The mean over ranks, which DDP and Trainer's evaluation take, is to be a sum
            loss = loss * self.accelerator.num_processes
        steps = self.current_gradient_accumulation_steps if self.model.training else 1
        loss = loss + router_loss(self.model, outputs, steps)
        self._count(outputs, labels, mask, terminator)
        if not return_outputs:
            return loss
        if self._loss_alone:
            return loss, {}
        with torch.no_grad():
            return loss, model(**{k: v for k, v in inputs.items() if k != "labels"})

    def prediction_step(
        self,
        model: Any,
        inputs: Any,
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> Any:
        """As Trainer's, which asks for logits also where it throws them away; then none are made."""
        self._loss_alone = prediction_loss_only
        try:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        finally:
            self._loss_alone = False

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The micro-batches of one optimiser step, with weights where they depend on all of them."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if "step" in self.in_force.needs:
            for batch, weights in zip(batches, self._step_weights(batches), strict=True):
                batch["token_weights"] = weights
        return batches, items

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """As Trainer's, the step's target tokens over all ranks; with weights of the data their sum."""
        items = super()._get_num_items_in_batch(batch_samples, device)
        if items is None or not any("loss_weights" in batch for batch in batch_samples):
            return items
        counts, weights = zip(*map(_count_and_weight, batch_samples), strict=True)
        sums = torch.stack([sum(counts), sum(weights)]).float().to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            sums = self.accelerator.gather(sums).view(-1, 2).sum(0)
        return items * (sums[1] / sums[0].clamp(min=1))  # whatever else Trainer divides by stays

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the token statistics since the last log, over all ranks; leaves out what a clock got wrong."""
        for name in [n for n in logs if n.endswith(("_runtime", "_per_second")) and logs[n] < 0]:
            del logs[name]  # transformers goes by the time of day, which was set back meanwhile
        mode = "train" if self.model.training else "eval"
        if mode in self._token_sums:
            sums = self.accelerator.reduce(self._token_sums.pop(mode), reduction="sum").tolist()
            prefix = "eval_" if mode == "eval" else ""
            means = _means(dict(zip(_SUMS, sums, strict=True)))
            means |= self._logged
            logs.update({prefix + name: value for name, value in means.items()})
        super().log(logs, start_time)

    def observe(self, stats: TokenStats, row: Tensor) -> None:
        """Sees every first pass over an optimiser step, before its update; for subclasses.

        Args:
            stats: of the step's targets, over all micro-batches and ranks.
            row: [tokens] int64, the source row of each; only datasets with a column `row` get here.
        """

    def _head_call(self, inputs: dict[str, Any]) -> HeadCall:
        """What to ask of the model; takes the columns that only we read out of the inputs."""
        weights = inputs.pop("token_weights", None)
        given = _before_training(inputs)
        return head_call(
            self.in_force,
            inputs,
            weights=weights,
            given=given,
            reference=self.reference_model,
        )

    def _step_weights(self, batches: Sequence[dict[str, Any]]) -> list[Tensor]:
        """[batch, sequence] weights of every micro-batch, from a pass without gradient over all."""
        with evaluating(self.model), self.compute_loss_context_manager():
            seen = [self._first_pass(batch) for batch in batches]
        stats, place = self._gathered(seen)
        return weight_tables(self.in_force.weight(stats)[place], seen)

    def _first_pass(self, batch: dict[str, Any]) -> FirstPass:
        """Statistics of one micro-batch's targets, with the source row of each where it is known."""
        inputs = self._prepare_inputs(dict(batch))
        inputs.pop("terminator", None)
        row = inputs.pop("row", None)
        given = _before_training(inputs)
        found = first_pass(self.model_wrapped, self.in_force, inputs, given)
        if row is not None:
            found.stats["row"] = row[found.example]
        return found

    def _gathered(self, seen: Sequence[FirstPass]) -> tuple[TokenStats, slice]:
        """The statistics of the step's targets over all ranks, and where this rank's stand in them."""
        local, used = joined(seen)
        sizes = self.accelerator.gather(
            torch.tensor([[len(local["logp"]), used]], device=self.args.device)
        )
        rank, before = (
            self.accelerator.process_index,
            sizes[: self.accelerator.process_index].sum(0),
        )
        local["example"] = local["example"] + before[1]
        gathered = {}
        for name, column in local.items():
            padded = self.accelerator.pad_across_processes(column, dim=0)
            parts = self.accelerator.gather(padded).view(len(sizes), -1)
            gathered[name] = torch.cat(
                [part[:n] for part, (n, _) in zip(parts, sizes.tolist(), strict=True)]
            )
        place = slice(int(before[0]), int(before[0] + sizes[rank, 0]))
        row = gathered.pop("row", None)
        stats = TokenStats(**gathered, top1=gathered["logp"] > 0)
        if row is not None:
            self.observe(stats, row)
        return stats, place

    def _count(
        self, outputs: Any, labels: Tensor, mask: Tensor | None, terminator: Tensor | None
    ) -> None:
        """Add one micro-batch to the sums that `log` reports."""
        p, w = outputs.logp.exp(), outputs.weights
        ends = torch.zeros_like(p)
        if terminator is not None:
            rows, columns = scored_positions(labels, mask)
            ends = terminator[rows, columns + 1].to(p)
        sums = (
            torch.ones_like(p), -outputs.logp, p, outputs.entropy, w, w * w, (p < LOW_P).to(p),
            outputs.top1.to(p), p * ends, ends,
        )  # fmt: skip
        self._logged = self.objective.logged(self.done)
        mode = "train" if self.model.training else "eval"
        if self._switches is not None and mode == "train":
            self._switches.see(p, ends)
        added = torch.stack([column.sum() for column in sums]).double()
        self._token_sums[mode] = self._token_sums.get(mode, 0) + added


class ObjectiveTrainer(ReadsWholeCheckpoints, SavesHowItIsUsed, ObjectiveLoss, SFTTrainer):
    """TRL's SFTTrainer with the loss of an objective; its dataset is already tokenised."""

    def __init__(
        self, *args: Any, facts: Facts = UNKNOWN, turn_end: TurnEnd = ONE_TOKEN, **kwargs: Any
    ) -> None:
        """`facts` go into the model card; `turn_end` into the saved generation config."""
        self.facts, self.turn_end = facts, turn_end
        super().__init__(*args, **kwargs)
        # TRL refuses a collator of ours with padding_free; ours is its own with two more columns.
        self.data_collator = ObjectiveCollator(**vars(self.data_collator))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What somebody who uses the saved model has to know, one sentence each."""
        return (*told(self), *super().remarks)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say when training is over, one sentence each."""
        return self.remarks

    @property
    def card_sections(self) -> tuple[str, ...]:
        """What the model card says of this training, in Markdown."""
        objective = self.objective
        text = (
            f"`{objective.label}`: f = `{objective.formula}`, weight on the negative log-likelihood "
            f"`{objective.weight_formula}` ({objective.source})."
        )
        return "\n".join(["## Objective", "", text, ""]), *(f"{note}\n" for note in self.remarks)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """A card with base model, data, objective and versions in the place of TRL's."""
        write_card(self, self.facts, self.card_sections)


def _has_weights(dataset: Any) -> bool:
    """Whether a dataset weighs its targets, token by token; InputError where it does so in another way."""
    columns = getattr(dataset, "column_names", None) or ()
    if "weight" in columns:
        raise InputError(
            "the dataset has a column weight, which `advisor train` reads and this trainer does not: give "
            "loss_weights, a list with a number for every token, or remove the column"
        )
    return "loss_weights" in columns


def _count_and_weight(batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Target tokens of a micro-batch as Trainer counts them, and the sum of their weights."""
    scored = batch["labels"][..., 1:].ne(-100)
    weights = batch.get("loss_weights")
    return scored.sum(), (scored if weights is None else weights[..., 1:][scored]).sum()


def _before_training(inputs: dict[str, Any]) -> dict[str, Tensor]:
    """Takes the statistics of the model before training out of the inputs, by column."""
    return {name: inputs.pop(name) for name in REFERENCE_COLUMNS if name in inputs}


def _means(sums: Mapping[str, float]) -> dict[str, float]:
    """The logged statistics from their sums."""
    n = max(sums["tokens"], 1)
    weighed = sums["weight_squared"]
    means = {
        "nll": sums["nll"] / n,
        "mean_p": sums["p"] / n,
        "entropy": sums["entropy"] / n,
        "mean_token_accuracy": sums["top1"] / n,
        "mean_weight": sums["weight"] / n,
        "effective_sample_size": sums["weight"] ** 2 / weighed / n if weighed else 0.0,
        "share_p_below_0.1": sums["low"] / n,
    }
    if sums["eos_tokens"]:
        means["p_eos"] = sums["eos_p"] / sums["eos_tokens"]
    return means
