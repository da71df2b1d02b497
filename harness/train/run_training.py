"""What every training of the command line does around its trainer: settings, going on, saving.

Used by `fine_tune` and, in `harness/distill`, by `distill`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from advisor.data.dataset import SFTDataset
from advisor.errors import InputError, TrainingDiverged
from advisor.model.load import LoadedModel
from advisor.options import DataOptions
from harness.runtime.process_group import leave_process_group
from harness.runtime.quiet import bars_closed
from harness.train.checkpoints import say_where_it_goes_on, what_is_left
from harness.train.divergence import REMEDY
from harness.train.mendable import mendable
from harness.train.precision import remarks_on
from harness.train.resolution import WatchResolution
from harness.train.trackers import own_run
from harness.train.training_options import OutputOptions
from harness.train.trl_settings import configured

Say = Callable[[list[str]], None]
"""Told sentences for the user."""


def trl_configs(
    settings: Mapping[str, Any],
    output: OutputOptions,
    config_type: Any,
    *,
    evaluates: bool | None = None,
    device: str = "auto",
    **fixed: Any,
) -> tuple[Any, Any]:
    """TRL's settings and PEFT's; with rows to evaluate on, that is done after every epoch by default.

    Args:
        settings: typed ones, as the user gave them.
        output: where the model goes, and on what it is evaluated.
        config_type: which of TRL's configurations.
        evaluates: whether there are rows to evaluate on; by default whether a split of them is named.
        device: of the model, as of `configured`.
        fixed: fields that the command has decided.

    Raises:
        InputError: settings that are refused.
    """
    evaluates = bool(output.eval_split) if evaluates is None else evaluates
    default = {"eval_strategy": "epoch"} if evaluates else {}
    fixed["output_dir"] = output.output_dir
    found = configured({**default, **settings, **fixed}, config_type, device=device)
    strategy = found[0].eval_strategy.value
    if strategy != "no" and not evaluates:
        raise InputError(
            f"--eval_strategy {strategy}: on what? name a split with --eval_split (in Python, eval_dataset)"
        )
    return found


def pair_settings(loaded: LoadedModel, dataset: SFTDataset, data: DataOptions) -> dict[str, Any]:
    """MODEL, DATASET and how it is read, as a checkpoint keeps them: what was chosen, by flag or not."""
    info = dataset.info
    template = "none" if info.template == "none" else f"of hash {info.template_hash}"
    return {
        "MODEL": f"of fingerprint {loaded.fingerprint}",
        "DATASET": f"of fingerprint {info.fingerprint}",
        **{f"--{name}": value for name, value in data.said().items()},
        "--split": info.split,
        "--chat_template": template,
        "--eos_token": info.eos_token or "none",
        "--max_length": info.max_length,
        "--dtype": loaded.dtype,
    }


def run_trainer(trainer: Any, checkpoint: str | None, say: Say) -> tuple[str, ...]:
    """Train; gives cautions on what came of it, and says of what diverges which checkpoint is left.

    Raises:
        InputError: as of `mendable`.
        TrainingDiverged: a loss, gradient or weight is not finite.
    """
    watch = WatchResolution()
    trainer.add_callback(watch)
    say_where_it_goes_on(trainer, checkpoint, say)
    try:
        # Twice: of a process of the data loader that has died torch may speak again while the first error
        # of it is on its way, from the handler of a signal.
        with (
            mendable(trainer),
            bars_closed(trainer),
            mendable(trainer),
            own_run(trainer.args.report_to),
        ):
            trainer.train(resume_from_checkpoint=checkpoint)
    except TrainingDiverged as error:
        done = trainer.state.global_step
        left = what_is_left(trainer.args.output_dir, proven=trainer.proven, done=done)
        raise TrainingDiverged(f"{error}; {left}: {REMEDY}") from error
    return (*remarks_on(trainer.masters), *watch.remarks(trainer))


def finish(trainer: Any) -> None:
    """Model, state and card into the output folder; then the ranks part.

    Raises:
        InputError: as of `mendable`.
    """
    with mendable(trainer):
        trainer.save_model()
        trainer.save_state()
        trainer.create_model_card()
    leave_process_group(trainer)


def ignore_renames() -> None:
    """TRL and PEFT still use names that transformers has renamed; nobody who trains can mend that."""
    warnings.filterwarnings("ignore", message=".*will be removed in v6", category=FutureWarning)
