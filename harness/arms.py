"""What there is to compare: arms and their scores, out of run records and of lm-eval's logged samples.

A study's records hold a grid of learning rates; an objective is represented by the rate that did best on the
development documents, NLL also by a tenth of it.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from advisor.errors import InputError
from harness.lm_eval_files import Log
from harness.lm_eval_logs import find_logs, read_logs
from harness.measured import Measured
from harness.records import Run, RunSpec, Score, read_run
from harness.scoring import conditions_of
from harness.studies import by_teachers
from harness.study import BASE, NLL, Arm

Setting = tuple[Any, ...]


def read_arms(
    paths: Sequence[Path | str],
    *,
    metric: str | None = None,
    filter: str | None = None,
    higher_is_better: bool | None = None,
) -> tuple[list[Measured], list[str]]:
    """The test scores under some paths, and notes on what was chosen among them.

    Args:
        paths: results folders, run records, lm-eval's output folders and its samples or results files.
        metric: of the scores in lm-eval's logs, as of `read_logs`.
        filter: as of `read_logs`.
        higher_is_better: as of `read_logs`.

    Raises:
        InputError: a path that does not exist, holds nothing to compare, or holds a broken file.
    """
    runs: dict[str, Run] = {}
    for path in map(Path, paths):
        logs = find_logs(path)
        records = _records(path, logs)
        if not records and not logs:
            raise InputError(
                f"{path}: holds neither run records nor lm-eval's samples (log them with --log_samples)"
            )
        for run in map(read_run, records):
            if run.error is not None:
                raise InputError(f"{path}: the run failed ({run.error}) and has no scores")
            runs[run.spec.id] = run
    logged, notes = read_logs(paths, metric, filter, higher_is_better)
    settings = _settings(list(runs.values())) or {"": []}
    measured = []
    for label, members in settings.items():
        of_records, said = _of_records(label, members)
        measured += of_records + [replace(m, setting=label) for m in logged]
        notes += said
    return measured, notes


def _records(path: Path, logs: Sequence[Log]) -> list[Path]:
    """Run records at a path, at which these logs are."""
    if path.is_dir():
        inside = sorted(path.glob("*.json")) if path.name in ("runs", "failed") else []
        return [*inside, *sorted(path.rglob("runs/*.json"))]
    return [] if logs else [path]


def _settings(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by what they share beside objective, rate and seed; the base belongs to all of its model."""
    tuned: dict[Setting, list[Run]] = defaultdict(list)
    base: dict[Setting, list[Run]] = defaultdict(list)
    for run in runs:
        if run.spec.objective == BASE:
            base[_problem(run.spec)].append(run)
        else:
            tuned[*_problem(run.spec), json.dumps(run.spec.training, sort_keys=True)].append(run)
    groups = [
        part + base[key[:-1]]
        for key, members in tuned.items()
        for part in by_teachers(members, lambda run: run.spec)
    ] or list(base.values())
    facets = [_facets(members[0].spec) for members in groups]
    telling = [name for name in _names(facets) if len({repr(f.get(name)) for f in facets}) > 1]
    words = [dict.fromkeys(_facet(name, f[name]) for name in telling if name in f) for f in facets]
    labels = [" ".join(word) for word in words]
    found: dict[str, list[Run]] = {}
    for number, (label, members) in enumerate(zip(labels, groups, strict=True), 1):
        found[label if label not in found else f"{label} ({number})"] = members
    return found


def _problem(spec: RunSpec) -> Setting:
    reading = json.dumps(spec.reading, sort_keys=True)
    return spec.model_fingerprint, spec.dataset_fingerprint, spec.split, reading


def _facets(spec: RunSpec) -> dict[str, Any]:
    model, dataset = Path(spec.model).name, Path(spec.dataset).name
    taught = {"teachers": " ".join(spec.teachers["models"])} if spec.teachers else {}
    read = spec.reading or {}
    return {
        "model": model,
        "dataset": dataset,
        "split": spec.split,
        **read,
        **spec.training,
        **taught,
    }


def _names(facets: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for facet in facets for name in facet))


def _facet(name: str, value: Any) -> str:
    return str(value) if name in ("model", "dataset") else f"{name}={value}"


def _of_records(setting: str, runs: Sequence[Run]) -> tuple[list[Measured], list[str]]:
    """Scores of the records of one setting, each objective at the learning rate chosen for it."""
    rates: dict[str, set[float | None]] = defaultdict(set)
    for run in runs:
        rates[run.spec.objective].add(run.spec.learning_rate)
    grids = [own for name, own in rates.items() if name != BASE]
    shared = set.intersection(*grids) if grids else set()
    chosen, notes = {}, []
    for name, own in rates.items():
        grid = (own & shared) or own
        chosen[name] = best = _best_rate([r for r in runs if r.spec.objective == name], grid)
        if best is not None and len(grid) > 1:
            where = f"{setting}: {name}" if setting else name
            notes.append(
                f"{where}: learning rate {best:g} of {len(grid)}, by development documents"
            )
    measured = [
        Measured(setting=setting, arm=label, seed=run.spec.seed, score=score,
                 conditions=conditions_of(run.spec.evaluation))
        for run in sorted(runs, key=lambda run: (run.spec.objective, run.spec.seed))
        if (label := _label(run.spec, chosen[run.spec.objective]))
        for score in run.scores
        if score.part != "development"
    ]  # fmt: skip
    return measured, notes


def _best_rate(runs: Sequence[Run], rates: set[float | None]) -> float | None:
    """The only rate, or the best on development documents over the seeds that all have; None: not known."""
    if len(rates) == 1:
        return next(iter(rates))
    candidates: dict[float, dict[int, float]] = defaultdict(dict)
    for run in runs:
        scores = [score.mean for score in run.scores if _decides(score, run.spec)]
        if run.spec.learning_rate in rates and run.spec.learning_rate is not None and scores:
            candidates[run.spec.learning_rate][run.spec.seed] = fmean(scores)
    seeds = set.intersection(*map(set, candidates.values())) if candidates else set()
    if not seeds or len(candidates) < len(rates):
        return None
    means = {rate: fmean(found[seed] for seed in seeds) for rate, found in candidates.items()}
    return max(sorted(means), key=lambda rate: means[rate])


def _decides(score: Score, spec: RunSpec) -> bool:
    """Whether a score counts in the choice of a learning rate: development, at the temperature of use."""
    of_use = spec.evaluation.get("temperature", score.temperature)
    return score.part == "development" and score.temperature in (of_use, None)


def _label(spec: RunSpec, chosen: float | None) -> str | None:
    """What the run's arm is called; None for a learning rate that was not chosen."""
    rate = spec.learning_rate
    if rate is None or rate == chosen:
        return spec.objective
    if chosen is None:
        return f"{spec.objective} @ {rate:g}"
    tenth = spec.objective == NLL and math.isclose(10 * rate, chosen)
    return Arm(objective=NLL, learning_rate=rate, tenth=True).label if tenth else None
