"""Training with CADFT's second stage (see `resampling.py`): samples, exchanges rows, saves and resumes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object, send_to_device
from torch import Tensor
from transformers.trainer_utils import get_last_checkpoint
from trl.models.utils import unwrap_model_for_generation

from advisor.data.labels import last_target
from advisor.errors import InputError
from advisor.files import read_json
from advisor.objectives.table import TokenStats
from harness.evaluate.final_answers import compile_pattern, extract_answer
from harness.generate.decoding import (
    PROMPTS_AT_A_TIME,
    SPARE_TOKENS,
    continuations,
    stops_of,
    text_of,
)
from harness.runtime.memory import largest_that_fits
from harness.runtime.quiet import quiet, undisturbed
from harness.train.objective_trainer import ObjectiveTrainer
from harness.train.resampling import (
    REPLACED,
    SAME,
    UNFINISHED,
    WRONG,
    Attempt,
    Resampler,
    Row,
    with_answer,
)  # fmt: skip

STATE = "resampling.json"
"""File beside a saved model: what was resampled, and what a resumed training goes on from."""
OLD_STATE = "rewriting.json"
"""Its name when resampling was called rewriting."""


class ResamplingTrainer(ObjectiveTrainer):
    """ObjectiveTrainer whose worst examples are resampled; its rows have a column `row`.

    The dataset stays as it is: resampled rows take the place of their old ones as a step's batches are
    drawn. So they are the same whether batches were fetched ahead, by other processes, or after resuming.
    """

    train_dataset: Any
    data_collator: Any
    processing_class: Any

    def __init__(
        self,
        *args: Any,
        resampler: Resampler,
        max_length: int,
        ends: Collection[int],
        **kwargs: Any,
    ) -> None:
        """`max_length` of an example, tokens; `ends` are the tokens that end a turn of the examples."""
        super().__init__(*args, **kwargs)
        if self.is_fsdp_enabled:
            raise InputError(
                "resampling generates while it trains, which FSDP's sharded weights do not allow: use "
                "DDP or DeepSpeed"
            )
        self.resampler = resampler
        self.max_length = max_length
        rows = list(self.train_dataset)
        self._place = {row["row"]: place for place, row in enumerate(rows)}
        self.longest = SPARE_TOKENS + max(
            stop - start for start, stop in (last_target(row["labels"]) for row in rows)
        )
        own = stops_of(self.model, self.processing_class)
        self._ends = set(ends) or own
        self._stops = self._ends | own
        pattern = resampler.settings.answer_pattern
        self._answer = compile_pattern(pattern) if resampler.settings.verify and pattern else None

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As Trainer's; the resampling, too, goes on from the checkpoint."""
        folder = resume_from_checkpoint
        if resume_from_checkpoint is True:
            folder = get_last_checkpoint(str(self.args.output_dir))
        if folder:
            self._restore(Path(folder))
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As Trainer's, in checkpoints and at the end, with the resampling beside the model."""
        super().save_model(output_dir, _internal_call)
        if self.args.should_save:
            path = Path(output_dir or str(self.args.output_dir)) / STATE
            path.write_text(
                json.dumps(self.resampler.state(), ensure_ascii=False), encoding="utf-8"
            )

    @property
    def notes(self) -> tuple[str, ...]:
        """How often it fired and what that changed."""
        return (f"{self.resampler.describe()} Every one stands in {STATE}.", *super().notes)

    @property
    def card_sections(self) -> tuple[str, ...]:
        """Those of the objective, with what was resampled."""
        return *super().card_sections, self.notes[0]

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The micro-batches of one optimiser step, as resampled so far; resamples first where it is due."""
        if self.resampler.due(self.state.global_step, self.state.max_steps):
            self._resample()
        return super().get_batch_samples(map(self._renewed, epoch_iterator), num_batches, device)

    def observe(self, stats: TokenStats, row: Tensor) -> None:
        """The step's compatibility, into the averages."""
        self.resampler.observe(row.cpu().numpy(), -stats.logp.double().cpu().numpy())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the number of rows that are no longer those of the dataset."""
        if "loss" in logs:
            logs["resampled"] = len(self.resampler.resampled)
        super().log(logs, start_time)

    def _restore(self, folder: Path) -> None:
        found = [path for name in (STATE, OLD_STATE) if (path := folder / name).exists()]
        if not found:
            raise InputError(
                f"{folder} was made without --resample (it has no {STATE}): to go on from there leave "
                "--resample out, to begin anew leave out --resume_from_checkpoint"
            )
        try:
            self.resampler.restore(read_json(found[0]))
        except (OSError, ValueError, LookupError) as error:
            raise InputError(
                f"{found[0]}: resampling cannot go on from here ({error}): resume with the settings and the "
                "dataset that the training began with"
            ) from error

    def _example(self, row: int) -> Row:
        """A row as it stands now."""
        known = self.resampler.resampled.get(row)
        return known if known is not None else dict(self.train_dataset[self._place[row]])

    def _renewed(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with its resampled rows in place of their old ones."""
        rows = batch["row"].tolist()
        if self.resampler.resampled.keys().isdisjoint(rows):
            return batch
        collated = self.data_collator([self._example(row) for row in rows])
        renewed: dict[str, Any] = send_to_device(collated, batch["labels"].device)
        return renewed

    def _resample(self) -> None:
        """One resampling; every rank samples its share and all take over all of it."""
        worst, chosen = self.resampler.choose()
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        found = gather_object(list(self.sampled(chosen[rank::ranks], f"rank {rank}")))
        self.resampler.record(self.state.global_step, worst, sorted(found, key=lambda a: a[0].row))

    def sampled(self, rows: Sequence[int], purpose: str) -> Iterator[tuple[Attempt, Row]]:
        """Each of these rows with what came of it, and what it would be."""
        examples = [self._example(row) for row in rows]
        spans = [last_target(example["labels"]) for example in examples]
        prompts = [row["input_ids"][: span[0]] for row, span in zip(examples, spans, strict=True)]
        seed = self.resampler.random(purpose).getrandbits(32)
        answers = map(self.turn_end.completed, self.answers_to(prompts, seed))
        for row, (start, stop), answer in zip(examples, spans, answers, strict=True):
            old, room = row["input_ids"][start:stop], self.max_length - start
            attempt = Attempt(
                step=self.state.global_step,
                row=row["row"],
                average=float(self.resampler.averages.values[row["row"]]),
                outcome=self.judge(row["row"], old, answer) if len(answer) <= room else UNFINISHED,
                before=self._text(old),
                after=self._text(answer),
            )
            ends = max(1, self.turn_end.length(answer))
            yield attempt, with_answer(row, start, answer, ends)

    def judge(self, row: int, old: list[int], new: list[int]) -> str:
        """What a sampled answer is worth."""
        if len(new) < 2 or not (new[-1] in self._ends or self.turn_end.length(new)):
            return UNFINISHED
        if self._answer is not None:
            original = self.train_dataset[self._place[row]]
            start, stop = last_target(original["labels"])
            truth, said = map(self._final, (original["input_ids"][start:stop], new))
            if truth is None or said != truth:
                return WRONG
        return SAME if new == old else REPLACED

    def _final(self, ids: Sequence[int]) -> str | None:
        assert self._answer is not None
        return extract_answer(self.turn_end.cut_off(self._text(ids)), self._answer)

    def _text(self, ids: Sequence[int]) -> str:
        return text_of(self.processing_class, ids)

    def answers_to(self, prompts: Sequence[list[int]], seed: int) -> list[list[int]]:
        """An answer to each prompt, up to the token that ends it; the global random state stays.

        To be called on every rank, with prompts or without: all of them gather sharded weights.
        """
        with (
            undisturbed(self.model),
            unwrap_model_for_generation(self.model_wrapped, self.accelerator) as model,
        ):
            model.eval()

            def in_batches(size: int) -> list[list[int]]:
                torch.manual_seed(seed)
                parts = [prompts[i : i + size] for i in range(0, len(prompts), size)]
                return [answer for part in parts for answer in self._answers(model, part)]

            return largest_that_fits(in_batches, PROMPTS_AT_A_TIME, "prompts")

    def _answers(self, model: Any, prompts: Sequence[list[int]]) -> list[list[int]]:
        settings = self.resampler.settings
        rooms = [max(1, min(self.longest, self.max_length - len(prompt))) for prompt in prompts]
        with quiet():  # transformers remarks that a generation config has a max_length, too
            return continuations(
                model,
                prompts,
                self._stops,
                max_new_tokens=rooms,
                pad_token_id=self.data_collator.pad_token_id,
                do_sample=True,
                top_p=settings.top_p,
                top_k=0,  # else transformers samples from the 50 likeliest tokens
                temperature=settings.temperature,
            )
