"""`advisor.measure_prior` and `advisor.recommend`: all of the command's work, with its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from advisor.advice.calibration import Calibration, read
from advisor.advice.features import ANSWERED_AT
from advisor.advice.machines import Machine, machine_of
from advisor.advice.published_rule import is_settled
from advisor.advice.recommend import Recommendation
from advisor.advice.recommend import recommend as decide
from advisor.data.dataset import SFTDataset
from advisor.errors import InputError
from advisor.model.load import decoding_temperature
from advisor.model.loaded import LoadedModel
from advisor.options import AdviceOptions, DataOptions, ModelOptions, PriorOptions
from advisor.prior import prior as priors
from advisor.prior.kept import Kept
from advisor.prior.prior import Prior
from harness.deep_probe.measure_deep import measure_deep
from harness.ladder.named_pair import Pair, words_of
from harness.library.keywords import made, reading_of
from harness.library.taken import (
    DatasetSource,
    ModelSource,
    as_it_was,
    dataset_of,
    kind_of,
    loaded_of,
    undisturbed,
)
from harness.library.told import Told

Kind: TypeAlias = Literal["base", "instruct"] | None


def measure_prior(
    model: ModelSource,
    dataset: DatasetSource | None = None,
    *,
    model_kind: Kind = None,
    limit: int | None = None,
    exact: bool = False,
    seed: int = 0,
    batch_tokens: int | None = None,
    quiet: bool = False,
    **reading: Any,
) -> Prior:
    r"""How much probability a model gives the target tokens of a dataset; forward passes only.

    The mean over target tokens, $\frac{1}{N} \sum_t p_t$ (arXiv:2510.00526, Eq. 5), with a 95 % interval and
    what the mean cannot see. Examples are drawn at random until the recommendation no longer depends on more
    of them, at most 4,096, unless `limit` or `exact` is given.

    Args:
        model: a path, hub id or `ladder:NAME`; `(model, tokenizer)` in memory, which is left as it was; or
            what `load_model` gave.
        dataset: a path, hub id, datasets.Dataset, list of dictionaries or pandas DataFrame, or what
            `load_dataset` gave; a rung of the ladder brings its own.
        model_kind: "base" or "instruct"; by default what the model's files say.
        limit: measure exactly this many examples.
        exact: measure every example.
        seed: of the order of examples.
        batch_tokens: tokens, padding included, that the model reads at a time; 8,192, on a CPU 1,024.
        quiet: say nothing on stderr of what is assumed and how far the work is.
        **reading: how model and dataset are read, as of `load_model` and `load_dataset`: `dtype`,
            `prompt_field`, `split`, ...

    Returns:
        Probabilities in [0, 1], log-probabilities and entropies in nats; `to_dict()` is plain data.

    Raises:
        InputError: a model or dataset that cannot be used, in one line that says how to mend it.
    """
    told = Told(quiet=quiet)
    advice = made(AdviceOptions, {"model_kind": model_kind})
    chosen = {"limit": limit, "exact": exact, "seed": seed, "batch_tokens": batch_tokens}
    options = made(PriorOptions, chosen)
    loading, columns = reading_of(reading, measure_prior)
    with undisturbed(), as_it_was(model):
        loaded = loaded_of(model, loading)
        rows = opened(dataset, loaded, columns, told)
        return measured(loaded, rows, kind_of(loaded, advice.model_kind), options, told)


def opened(
    dataset: DatasetSource | None, loaded: LoadedModel, reading: dict[str, Any], told: Told
) -> SFTDataset:
    """The dataset, and what was assumed of it and the model said."""
    rows = dataset_of(dataset, loaded, reading)
    told.notes((*loaded.notes, *rows.info.notes))
    return rows


def measured(
    loaded: LoadedModel, dataset: SFTDataset, kind: str | None, options: PriorOptions, told: Told
) -> Prior:
    """The prior, measured until the recommendation is settled, and what was assumed of single rows said."""
    with told.progress("measuring the prior") as on_progress:
        found = priors.measure_prior(
            loaded,
            dataset,
            settled=lambda prior: is_settled(prior, kind),
            on_progress=on_progress,
            **options.keywords(),
        )
    told.notes(dataset.row_notes)
    return found if kind is None else replace(found, model={**found.model, "kind": kind})


def recommend(
    model: ModelSource | Prior | Kept,
    dataset: DatasetSource | None = None,
    *,
    temperature: float | None = None,
    model_kind: Kind = None,
    depth: Literal["quick", "deep"] = "quick",
    deep_steps: int = 60,
    calibration: Calibration | str | Path | None = None,
    machine: str | None = None,
    limit: int | None = None,
    exact: bool = False,
    seed: int = 0,
    batch_tokens: int | None = None,
    quiet: bool = False,
    **reading: Any,
) -> Recommendation:
    """Which objective to fine-tune with, and whether to believe it: load, measure, decide.

        answer = recommend("path/to/model", frame, temperature=0.7)
        answer.recommended, answer.decided
        print(answer)

    The same work with the same defaults as `advisor recommend MODEL DATASET`. A prior that was measured
    before is taken in the place of model and dataset: `recommend(prior, temperature=0.0)` only decides. One
    that was kept comes back from its JSON with `Prior.from_dict` (`answer.to_dict()["prior"]`), or with its
    names from the file of `advisor recommend ... -o FILE`: `recommend(advisor.prior.kept.read_prior(FILE),
    temperature=0.0)`.

    Args:
        model: as of `measure_prior`, or the `Prior` that it gave, or what `read_prior` gave.
        dataset: as of `measure_prior`.
        temperature: how the fine-tuned model will be decoded, 0 for greedy; by default the model's generation
            config says it. A prior needs it.
        model_kind: "base" or "instruct"; by default what the model's files say.
        depth: "deep" adds a short NLL run on up to 480 rows, gradients and sampled answers; the model and
            the global random states are left as they were.
        deep_steps: optimiser steps of that run, 8 rows each.
        calibration: what `advisor calibrate` wrote; by default what comes with the package.
        machine: say also what the plan takes there, about: "h100", "h100x8", "cpu2", ...
        limit: measure exactly this many examples.
        exact: measure every example.
        seed: of the order of examples, and of the deep probe.
        batch_tokens: tokens that the model reads at a time.
        quiet: say nothing on stderr of what is assumed and how far the work is.
        **reading: how model and dataset are read, as of `load_model` and `load_dataset`.

    Returns:
        `recommended`, `decided`, `reason`, `warnings`, the `ranking` of all objectives with their gains over
        NLL in points (percentage points of the answers' score), and the `prior`; `to_dict()` is plain data.

    Raises:
        InputError: a model, dataset or setting that cannot be used, in one line that says how to mend it.
    """
    advice = made(
        AdviceOptions,
        {
            "temperature": temperature,
            "model_kind": model_kind,
            "depth": depth,
            "deep_steps": deep_steps,
            "machine": machine,
        },
    )
    there = machine_of(machine) if machine is not None else None
    known = read(Path(calibration)) if isinstance(calibration, str | Path) else calibration
    chosen = {"limit": limit, "exact": exact, "seed": seed, "batch_tokens": batch_tokens}
    options = made(PriorOptions, chosen)
    loading, columns = reading_of(reading, recommend)
    if isinstance(model, Prior | Kept):
        _refuse_measuring({**options.said(), **reading, "dataset": dataset})
        return _decided(model, advice, known, there)
    told = Told(quiet=quiet)
    with undisturbed(), as_it_was(model):
        loaded = loaded_of(model, loading)
        kind = kind_of(loaded, advice.model_kind)
        rows = opened(dataset, loaded, columns, told)
        heat = use_of(loaded, advice.temperature, told)
        prior = measured(loaded, rows, kind, options, told)
        told.notes(rows.dropped())
        deep = None
        if advice.depth == "deep":
            deep = measure_deep(
                loaded,
                rows,
                lambda part: rows.read([rows.raw(row) for row in part]),
                temperature=ANSWERED_AT,
                seed=options.seed,
                limit=options.limit,
                steps=advice.deep_steps,
                stages=told.stages,
            )
    found = decide(prior, deep, temperature=heat, kind=kind, calibration=known, machine=there)
    return replace(found, words=_words(model, dataset, loading, columns))


def _words(
    model: ModelSource,
    dataset: DatasetSource | None,
    loading: dict[str, Any],
    columns: dict[str, Any],
) -> str:
    """MODEL DATASET [flags] of a call; what is in memory stands as `MODEL` or `DATASET`."""
    named_model = str(model) if isinstance(model, str | Path) else getattr(model, "name", "MODEL")
    if dataset is None:
        named_dataset = named_model
    else:
        named_dataset = str(dataset) if isinstance(dataset, str | Path) else "DATASET"
    pair = Pair(model="", dataset="", model_name=named_model, dataset_name=named_dataset)
    return words_of(pair, made(ModelOptions, loading), made(DataOptions, columns))


def use_of(loaded: LoadedModel, temperature: float | None, told: Told) -> float:
    """The temperature at which the model will be decoded: as given, or its own, which is then said."""
    if temperature is not None:
        return temperature
    own, origin = decoding_temperature(loaded.model)
    told.notes((f"Decoding at temperature {own:g}: {origin}.",))
    return own


def _refuse_measuring(given: Mapping[str, Any]) -> None:
    """Refuse what says how to read or to measure beside a prior, which has been measured."""
    for name, value in given.items():
        if value is not None:
            raise InputError(f"{name}: a prior was measured on a dataset already: leave it out")


def _decided(
    prior: Prior | Kept,
    advice: AdviceOptions,
    known: Calibration | None,
    machine: Machine | None,
) -> Recommendation:
    """From a prior alone; one from a file brings the kind of its model and its names."""
    if advice.depth == "deep":
        raise InputError("depth deep: it trains the model, and a prior comes without one")
    if advice.temperature is None:
        raise InputError("temperature is missing: a prior does not know how the model decodes")
    kept = prior if isinstance(prior, Kept) else None
    found = decide(
        kept.prior if kept else cast(Prior, prior),
        temperature=advice.temperature,
        kind=advice.model_kind or (kept.kind if kept else None),
        calibration=known,
        machine=machine,
    )
    return replace(found, words=kept.words) if kept else found
