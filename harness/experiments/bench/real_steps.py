"""Some optimiser steps of a real fine-tune, by ours or by TRL, in a process of its own.

    python -m harness.experiments.bench.real_steps REQUEST

Started by `real.py`. The last line is JSON: seconds of every step, the process's peak of memory, the loss.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from advisor.data.dataset import load_dataset
from advisor.model.load import load_model
from advisor.objectives.table import get_objective
from harness.train.sft import build_trainer

TRL = "trl"
OURS = ("ours padded", "ours packed")
Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is timed."""

    variant: str
    """One of `OURS`, or `TRL`."""
    model: str
    """Folder."""
    rows: list[Row]
    """With prompt and completion, in the order in which they are trained on."""
    batch: int
    """Rows a step; there are as many steps as batches."""
    objective: str
    """As TRL calls it: nll or dft."""
    max_length: int
    """Tokens after which a row is cut."""
    lora: bool
    """Whether an adapter is trained instead of the whole model."""
    threads: int
    """Of the CPU's operations."""
    device: str
    """cpu or cuda."""


class Clock(TrainerCallback):
    """Seconds of every step, the update included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts."""
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stops."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._began)


def run(request: Request) -> dict[str, Any]:
    """Take the steps."""
    torch.set_num_threads(request.threads)
    torch.manual_seed(0)
    clock = Clock()
    trainer = _trainer(request)
    trainer.add_callback(clock)
    losses = trainer.train().training_loss
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if request.device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    return {"seconds": clock.seconds, "peak": peak, "loss": losses}


def _trainer(request: Request) -> Any:
    loaded = load_model(request.model, dtype="float32", device=request.device)
    config = _config(request)
    adapter = LoraConfig(r=16, target_modules="all-linear") if request.lora else None
    if request.variant == TRL:
        return SFTTrainer(
            loaded.model.requires_grad_(True), args=config, processing_class=loaded.tokenizer,
            train_dataset=Dataset.from_list(request.rows), peft_config=adapter,
        )  # fmt: skip
    # Rows as plain text: TRL, too, applies a chat template to messages alone.
    dataset = load_dataset(
        request.rows, loaded.tokenizer, chat_template="none", max_length=request.max_length
    )
    objective = get_objective(request.objective)
    return build_trainer(loaded, dataset, objective, config, peft_config=adapter)


def _config(request: Request) -> SFTConfig:
    """The same settings for both; TRL is told the loss and the length, which ours has from elsewhere."""
    own: dict[str, Any] = {} if request.variant != TRL else {
        "loss_type": request.objective, "max_length": request.max_length,
    }  # fmt: skip
    return SFTConfig(
        output_dir=tempfile.mkdtemp(prefix="bench-"), per_device_train_batch_size=request.batch,
        max_steps=len(request.rows) // request.batch, learning_rate=2e-5, lr_scheduler_type="constant",
        use_cpu=request.device == "cpu", bf16=False, gradient_checkpointing=False, logging_steps=1,
        save_strategy="no", report_to="none", disable_tqdm=True, dataloader_drop_last=True,
        train_sampling_strategy="sequential", padding_free=request.variant == "ours packed", **own,
    )  # fmt: skip


def main() -> None:
    """Reads the request and writes what was measured."""
    found = run(Request(**json.loads(sys.argv[1])))
    sys.stdout.write(f"\n{json.dumps(found)}\n")


def asked(request: Request) -> str:
    """A request as the command line takes it."""
    return json.dumps(asdict(request))


if __name__ == "__main__":
    main()
