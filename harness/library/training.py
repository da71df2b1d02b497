"""`advisor.train`: all of the command's work, from whatever a model and a dataset are given as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from advisor.data.dataset import SFTDataset
from advisor.errors import InputError
from advisor.model.gguf import refuse as refuse_gguf
from advisor.model.loaded import LoadedModel
from advisor.options import DataOptions, ModelOptions, PriorOptions
from advisor.prior.prior import Prior
from harness.generate.decoding import stop_where_turns_end
from harness.library.keywords import made, split
from harness.library.recommending import measured, opened
from harness.library.taken import (
    DatasetSource,
    ModelSource,
    as_it_is,
    dataset_of,
    named,
    undisturbed,
)
from harness.library.told import Told
from harness.train.fine_tune import FineTune, Trained, fine_tune, fit_to, plan
from harness.train.run_training import ignore_renames
from harness.train.training_options import TrainingOptions
from harness.train.trl_settings import typed


def train(
    model: ModelSource,
    dataset: DatasetSource | None = None,
    *,
    objective: str = "nll",
    output_dir: str | Path,
    eval_dataset: DatasetSource | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Trained:
    """Fine-tune a model with an objective of the table, as `advisor train` does, and save it.

        trained = train(model, frame, objective="cadft", output_dir="out", learning_rate=1e-5)
        trained.model.generate(...)

    Args:
        model: a path, hub id or `ladder:NAME`; or `(model, tokenizer)` in memory or what `load_model` gave,
            which are then trained in place; weights of it that are frozen stay so, unless all are.
        dataset: a path, hub id, datasets.Dataset, list of dictionaries or pandas DataFrame, or what
            `load_dataset` gave; a rung of the ladder brings its own.
        objective: name, `name(value)` or `name(parameter=value)`; or several in turn, `nll>neg_p(at=0.5)`.
        output_dir: folder for checkpoints, model, tokenizer and model card.
        eval_dataset: likewise, to evaluate on while it trains; by default after every epoch.
        quiet: say nothing on stderr, and show neither bar nor log.
        **settings: every field of TRL's SFTConfig and the adapter's of its ModelConfig (`learning_rate`,
            `max_steps`, `use_peft`, `resume_from_checkpoint`, ...); `measure_prior`, `resample` and what
            belongs to it, as of `advisor train`; and how model and dataset are read, as of `load_model` and
            `load_dataset`.

    Returns:
        The trained model with its tokenizer, what was logged and what is to be said of it. What `load_model`
        gave before has now the trained weights under its old fingerprint: load `output_dir` instead.

    Raises:
        InputError: a model, dataset or setting that cannot be used, in one line that says how to mend it.
        advisor.errors.TrainingDiverged: a loss, gradient or weight is no longer finite.
    """
    (ours, loading, reading), of_trl = split(settings, TrainingOptions, ModelOptions, DataOptions)
    if "eval_split" in ours:
        raise InputError("eval_split is a flag of the command line: give eval_dataset")
    chosen = {"objective": objective, "output_dir": str(output_dir), **ours}
    options, pair = made(TrainingOptions, chosen), named(model, dataset)
    data = dataset.options if isinstance(dataset, SFTDataset) else made(DataOptions, reading)
    refuse_gguf(pair.model, "train")
    told = Told(quiet=quiet)
    with undisturbed(), told.bars():
        ignore_renames()
        planned = plan(
            options,
            typed(of_trl),
            pair,
            data,
            evaluates=eval_dataset is not None,
            device=_device(model, loading),
        )
        loaded = as_it_is(model, loading)
        rows = opened(dataset, loaded, reading, told)
        evaluation = None
        if eval_dataset is not None:
            evaluation = dataset_of(eval_dataset, loaded, _alike(eval_dataset, data))
        stop_where_turns_end(loaded, rows)
        planned = fit_to(planned, loaded, rows, data, told.notes)
        prior = None
        if options.measure_prior:
            prior = measured(loaded, rows, None, PriorOptions(), told)
        return _trained(planned, loaded, rows, evaluation, prior, told)


def _trained(
    planned: FineTune,
    loaded: LoadedModel,
    rows: SFTDataset,
    evaluation: SFTDataset | None,
    prior: Prior | None,
    told: Told,
) -> Trained:
    """Trained and saved."""
    with told.progress("log p before training") as on_progress:
        trained = fine_tune(
            planned,
            loaded,
            rows,
            evaluation=evaluation,
            prior=prior,
            say=told.notes,
            on_progress=on_progress,
            quiet=told.quiet,
        )
    told.notes(trained.notes)
    return trained


def _device(model: ModelSource, loading: dict[str, Any]) -> str:
    """Where a model is, or is asked for."""
    if isinstance(model, LoadedModel):
        return model.device
    given = model[0] if isinstance(model, tuple) and model else None
    return str(getattr(given, "device", loading.get("device", "auto")))


def _alike(eval_dataset: DatasetSource, data: DataOptions) -> dict[str, Any]:
    """How rows to evaluate on are read: as those to train on, but for what belongs to their source."""
    if isinstance(eval_dataset, SFTDataset):
        return {}
    of_the_source = ("split", "config", "delimiter")
    return {name: v for name, v in data.keywords().items() if name not in of_the_source}
