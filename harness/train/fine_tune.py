"""`advisor train`, less the command line: a fine-tune planned, fitted to its model and data, and run.

In three steps, so that what can be refused before the model is read is: `plan`, `fit_to`, `fine_tune`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_callback import PrinterCallback
from trl.trainer.sft_config import SFTConfig

from advisor.data.dataset import SFTDataset
from advisor.files import check_folder, make_folder
from advisor.model.load import LoadedModel
from advisor.objectives.table import Objective, get_objective
from advisor.options import DataOptions
from advisor.prior.prior import Prior
from advisor.progress import Progress, untold
from harness.ladder.named_pair import Pair
from harness.train.checkpoints import MadeWith, find_checkpoint, refuse_others, remarks
from harness.train.resampling import Resampling, read_resampling
from harness.train.run_training import Say, finish, pair_settings, run_trainer, trl_configs
from harness.train.sft import build_trainer, check_settings, prepare_resampling
from harness.train.switches import caution
from harness.train.trackers import name_single
from harness.train.trained_with import training_settings
from harness.train.training_options import OUT, TrainingOptions


@dataclass(frozen=True, kw_only=True)
class FineTune:
    """A fine-tune that nothing speaks against so far."""

    output_dir: str
    """As the user typed it."""
    objective: Objective
    """What is minimised."""
    resampling: Resampling | None
    """Of examples in training."""
    config: SFTConfig
    """TRL's settings."""
    peft_config: Any
    """PEFT's; None where the whole model is trained."""
    made_with: Mapping[str, Any]
    """What a checkpoint keeps, by flag."""
    checkpoint: str | None
    """Where the training goes on; None: at its first step."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model that was fine-tuned, and what is to be said of it."""

    model: PreTrainedModel | PeftModel
    """In evaluation mode, on the device it was trained on; with its adapter where one was trained."""
    tokenizer: PreTrainedTokenizerBase
    """With the chat template that the rows were read with."""
    output_dir: str
    """Folder with model, tokenizer, model card and the trainer's state."""
    objective: Objective
    """What was minimised; a percentage in it has become a value."""
    log: Sequence[Mapping[str, float]]
    """What was logged, in order: loss, nll (nats a target token), mean_p, ...; the whole training last."""
    notes: Sequence[str]
    """What came of it, a sentence each."""

    def __str__(self) -> str:
        """The notes, a line each."""
        return "\n".join(self.notes)


def plan(
    options: TrainingOptions,
    settings: Mapping[str, Any],
    pair: Pair,
    data: DataOptions,
    *,
    evaluates: bool | None = None,
    device: str = "auto",
) -> FineTune:
    """The fine-tune that options and TRL's typed settings ask for; nothing is read or written.

    Args:
        options: what is minimised, and where the model goes.
        settings: fields of TRL's SFTConfig and ModelConfig.
        pair: names of model and dataset, which are not written over.
        data: how the dataset is read.
        evaluates: whether there are rows to evaluate on; by default whether a split of them is named.
        device: that the model is asked for on.

    Raises:
        InputError: what cannot be trained, or not be gone on with.
    """
    resampling = read_resampling(
        options.resample, options.resample_verify, options.answer_regex, options.resample_share
    )
    objective = get_objective(options.objective)
    check_folder(options.output_dir, flag=OUT, dataset=pair.dataset, models=[pair.model])
    fixed = {"max_length": data.max_length} if data.max_length else {}
    config, peft_config = trl_configs(
        settings, options, SFTConfig, evaluates=evaluates, device=device, **fixed
    )
    check_settings(objective, config, resampling)
    name_single(config, options.objective, pair.model_name, pair.dataset_name)
    made_with = {
        "--objective": objective.label,
        "--resample": options.resample,
        "--resample_verify": options.resample_verify,
        "--resample_share": options.resample_share,
        "--answer_regex": options.answer_regex,
        "--use_peft": peft_config is not None,
        **training_settings(config, peft_config, by_forward=objective.by_forward),
    }
    checkpoint = find_checkpoint(config)
    refuse_others(checkpoint, made_with)
    return FineTune(
        output_dir=options.output_dir,
        objective=objective,
        resampling=resampling,
        config=config,
        peft_config=peft_config,
        made_with=made_with,
        checkpoint=checkpoint,
    )


def fit_to(
    planned: FineTune, loaded: LoadedModel, dataset: SFTDataset, data: DataOptions, say: Say
) -> FineTune:
    """The plan with what model and data add to it; makes the output folder.

    Raises:
        InputError: a checkpoint of another model or dataset, or a resampling that could not take place.
    """
    made_with = {**planned.made_with, **pair_settings(loaded, dataset, data)}
    refuse_others(planned.checkpoint, made_with)
    say(remarks(planned.config, planned.checkpoint))
    say(caution(planned.objective, planned.config))
    make_folder(planned.output_dir, flag=OUT)
    resampling = prepare_resampling(planned.resampling, dataset, planned.config)
    return replace(planned, made_with=made_with, resampling=resampling)


def fine_tune(
    planned: FineTune,
    loaded: LoadedModel,
    dataset: SFTDataset,
    *,
    evaluation: SFTDataset | None = None,
    prior: Prior | None = None,
    say: Say = lambda lines: None,
    on_progress: Progress = untold,
    quiet: bool = False,
) -> Trained:
    """Train, and write model, state and card.

    Args:
        planned: what `fit_to` gave.
        loaded: the model, changed in place.
        dataset: its targets.
        evaluation: likewise, for evaluation during training.
        prior: goes into the model card. No objective needs it, so it is measured for those who ask alone:
            without it the card has no line on mean p and p of the turn's end, and nothing else is missing.
        say: told where the training goes on, what was assumed of rows, and which are dropped.
        on_progress: told how many examples of how many were read for reference log-probabilities.
        quiet: show neither TRL's bar nor its log.

    Raises:
        InputError: as of `build_trainer`.
        TrainingDiverged: a loss, gradient or weight is not finite.
    """
    trainer = build_trainer(
        loaded,
        dataset,
        planned.objective,
        planned.config,
        eval_dataset=evaluation,
        peft_config=planned.peft_config,
        prior=prior,
        resampling=planned.resampling,
        keep=Path(planned.output_dir),
        on_progress=on_progress,
    )
    # All rows are tokenised by now. With a prior, what was assumed of its rows was said when it was measured.
    say([] if prior else list(dataset.row_notes))
    for data in (dataset, evaluation):
        say(list(data.losses()) if data is not None else [])
    trainer.add_callback(MadeWith(dict(planned.made_with)))
    for shows in (PrinterCallback, DEFAULT_PROGRESS_CALLBACK) if quiet else ():
        trainer.remove_callback(shows)
    cautions = run_trainer(trainer, planned.checkpoint, say)
    finish(trainer)
    done = f"Trained with {trainer.objective.label}; the model is in {planned.output_dir}."
    trained: Any = trainer.model
    return Trained(
        model=trained.eval(),
        tokenizer=loaded.tokenizer,
        output_dir=planned.output_dir,
        objective=trainer.objective,
        log=tuple(trainer.state.log_history),
        notes=(done, *trainer.notes, *cautions),
    )
