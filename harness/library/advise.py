"""`advisor.measure_prior` and `advisor.recommend`: all of the command's work, with its defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

from advisor.advice.calibration import Calibration, read
from advisor.advice.features import ANSWERED_AT
from advisor.advice.published_rule import is_settled
from advisor.advice.recommend import Recommendation
from advisor.advice.recommend import recommend as decide
from advisor.data.dataset import SFTDataset
from advisor.errors import InputError
from advisor.model.load import HOTTEST, decoding_temperature
from advisor.model.loaded import LoadedModel
from advisor.prior import prior as priors
from advisor.prior.deep import Deep
from advisor.prior.prior import Prior
from advisor.progress import Progress, untold
from harness.deep_probe.measure_deep import STEPS, measure_deep
from harness.library.pair import DatasetSource, ModelSource, dataset_of, kind_of, taken

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
    on_progress: Progress = untold,
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
        on_progress: told after every batch how many examples of at most how many are done.
        **reading: how the dataset is read, as of `load_dataset`: `prompt_field`, `split`, ...

    Returns:
        Probabilities in [0, 1], log-probabilities and entropies in nats; `to_dict()` is plain data.

    Raises:
        InputError: a model or dataset that cannot be used, in one line that says how to mend it.
    """
    with taken(model) as loaded:
        return _measured(
            loaded,
            dataset_of(dataset, loaded, reading),
            kind_of(model, model_kind),
            limit=limit,
            exact=exact,
            seed=seed,
            batch_tokens=batch_tokens,
            on_progress=on_progress,
        )


def _measured(
    loaded: LoadedModel,
    dataset: SFTDataset,
    kind: str | None,
    *,
    limit: int | None,
    exact: bool,
    seed: int,
    batch_tokens: int | None,
    on_progress: Progress,
) -> Prior:
    if limit is not None and (exact or limit < 1):
        raise InputError(f"limit {limit}: expected 1 or more examples, and not exact as well")
    return priors.measure_prior(
        loaded,
        dataset,
        limit=limit,
        exact=exact,
        seed=seed,
        batch_tokens=batch_tokens,
        settled=lambda prior: is_settled(prior, kind),
        on_progress=on_progress,
    )


def recommend(
    model: ModelSource | Prior,
    dataset: DatasetSource | None = None,
    *,
    temperature: float | None = None,
    model_kind: Kind = None,
    depth: Literal["quick", "deep"] = "quick",
    deep_steps: int = STEPS,
    calibration: Calibration | str | Path | None = None,
    limit: int | None = None,
    exact: bool = False,
    seed: int = 0,
    batch_tokens: int | None = None,
    on_progress: Progress = untold,
    **reading: Any,
) -> Recommendation:
    """Which objective to fine-tune with, and whether to believe it: load, measure, decide.

        answer = recommend("path/to/model", frame, temperature=0.7)
        answer.recommended, answer.decided
        print(answer)

    The same work with the same defaults as `advisor recommend MODEL DATASET`. A prior that was measured
    before is taken in the place of model and dataset: `recommend(prior, temperature=0.0)` only decides.

    Args:
        model: as of `measure_prior`, or the `Prior` that it gave.
        dataset: as of `measure_prior`.
        temperature: how the fine-tuned model will be decoded, 0 for greedy; by default the model's generation
            config says it. A prior needs it.
        model_kind: "base" or "instruct"; by default what the model's files say.
        depth: "deep" adds a short NLL run on up to 480 rows, gradients and sampled answers; the model and
            the global random states are left as they were.
        deep_steps: optimiser steps of that run, 8 rows each.
        calibration: what `advisor calibrate` wrote; by default what comes with the package.
        limit: measure exactly this many examples.
        exact: measure every example.
        seed: of the order of examples, and of the deep probe.
        batch_tokens: tokens that the model reads at a time.
        on_progress: told after every batch how many examples of at most how many are done.
        **reading: how the dataset is read, as of `load_dataset`.

    Returns:
        `recommended`, `decided`, `reason`, `warnings`, the `ranking` of all objectives with their gains over
        NLL in points (percentage points of the answers' score), and the `prior`; `to_dict()` is plain data.

    Raises:
        InputError: a model, dataset or setting that cannot be used, in one line that says how to mend it.
    """
    if temperature is not None and not 0 <= temperature <= HOTTEST:
        raise InputError(f"temperature {temperature:g}: expected 0 to {HOTTEST:g}")
    if depth not in ("quick", "deep"):
        raise InputError(f"depth {depth!r}: expected quick or deep")
    known = read(Path(calibration)) if isinstance(calibration, str | Path) else calibration
    if isinstance(model, Prior):
        if dataset is not None or depth == "deep":
            raise InputError("a prior was measured on a dataset already: give it by itself")
        if temperature is None:
            raise InputError("temperature is missing: a prior does not know how the model decodes")
        return decide(
            model, temperature=temperature, kind=kind_of("", model_kind), calibration=known
        )
    kind = kind_of(model, model_kind)
    with taken(model) as loaded:
        if temperature is None:
            temperature, _ = decoding_temperature(loaded.model)
        rows = dataset_of(dataset, loaded, reading)
        prior = _measured(
            loaded, rows, kind, limit=limit, exact=exact, seed=seed, batch_tokens=batch_tokens,
            on_progress=on_progress,
        )  # fmt: skip
        deep = None
        if depth == "deep":
            deep = _deep(loaded, rows, seed=seed, limit=limit, steps=deep_steps)
    return decide(prior, deep, temperature=temperature, kind=kind, calibration=known)


def _deep(
    loaded: LoadedModel, dataset: SFTDataset, *, seed: int, limit: int | None, steps: int
) -> Deep:
    """What the deep probe finds, on rows read as the dataset is."""
    return measure_deep(
        loaded,
        dataset,
        lambda rows: dataset.read([dataset.raw(row) for row in rows]),
        temperature=ANSWERED_AT,
        seed=seed,
        limit=limit,
        steps=steps,
    )
