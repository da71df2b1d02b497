"""What there is to compare: arms and their scores, out of run records and of lm-eval's logged samples.

A study's records hold a grid of learning rates; an objective is represented by the rate that did best on the
development documents, NLL also by a tenth of it.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from advisor.errors import InputError
from harness.evaluate import read_samples
from harness.records import Run, RunSpec, Score, read_run
from harness.studies import by_teachers
from harness.study import BASE, NLL, Arm

TIME = re.compile(r"_(\d{4}-\d\d-\d\dT[^_]*)$")
"""The end of the names of lm-eval's files."""

Setting = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run of one arm on one task."""

    setting: str
    """Model, dataset and training, as far as they tell settings apart; empty where there is one."""
    arm: str
    """Label."""
    seed: int
    """0 where it is not known."""
    score: Score
    """On test documents."""
    conditions: Mapping[str, Any]
    """How it was evaluated: num_fewshot, chat_template; None where it is not known."""


def read_arms(paths: Sequence[Path | str]) -> tuple[list[Measured], list[str]]:
    """The test scores under some paths, and notes on what was chosen among them.

    Args:
        paths: results folders, run records, lm-eval's output folders and its samples or results files.

    Raises:
        InputError: a path that does not exist, holds nothing to compare, or holds a broken file.
    """
    runs: dict[str, Run] = {}
    logs: list[Path] = []
    names: dict[Path, tuple[str, str]] = {}
    for path in map(Path, paths):
        records, found = _find(path)
        if not records and not found:
            raise InputError(
                f"{path}: holds neither run records nor lm-eval's samples (log them with --log_samples)"
            )
        for run in map(read_run, records):
            if run.error is not None:
                raise InputError(f"{path}: the run failed ({run.error}) and has no scores")
            runs[run.spec.id] = run
        logs += found
        names |= _names_at(path, {log.parent for log in found})
    labels = _distinct(names)
    samples = {log: labels[log.parent] for log in logs}
    settings = _settings(list(runs.values())) or {"": []}
    measured, notes = [], []
    for label, members in settings.items():
        of_records, said = _of_records(label, members)
        measured += of_records + _of_samples(label, samples)
        notes += said
    return measured, notes


def _find(path: Path) -> tuple[list[Path], list[Path]]:
    """Run records and samples files at a path."""
    if path.is_dir():
        inside = sorted(path.glob("*.json")) if path.name in ("runs", "failed") else []
        return [*inside, *sorted(path.rglob("runs/*.json"))], sorted(path.rglob("samples_*.jsonl"))
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    if path.suffix == ".jsonl":
        return [], [path]
    if path.name.startswith("results_") and (time := TIME.search(path.stem)):
        return [], sorted(path.parent.glob(f"samples_*_{time[1]}.jsonl"))
    return [path], []


def _names_at(path: Path, folders: set[Path]) -> dict[Path, tuple[str, str]]:
    """Short and long name of each folder of logs: of the path given, or of its models if several."""
    if path.is_dir() and len(folders) == 1:
        return {folder: (path.resolve().name, str(path)) for folder in folders}
    return {folder: (_model_name(folder), str(folder)) for folder in folders}


def _distinct(names: Mapping[Path, tuple[str, str]]) -> dict[Path, str]:
    """The short names, or the long ones where short ones coincide."""
    short = Counter(name for name, _ in names.values())
    return {folder: long if short[name] > 1 else name for folder, (name, long) in names.items()}


def _model_name(folder: Path) -> str:
    """The last part of the model's name in lm-eval's results, else the folder's."""
    for path in sorted(folder.glob("results_*.json")):
        if name := _results(path).get("model_name"):
            return Path(str(name)).name
    return folder.name


def _results(path: Path) -> Mapping[str, Any]:
    """lm-eval's results file; nothing where it is not there."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not lm-eval's results ({error})") from None
    return content if isinstance(content, Mapping) else {}


def _of_samples(setting: str, samples: Mapping[Path, str]) -> list[Measured]:
    """Scores of lm-eval's samples files; of several of one task and temperature the latest counts."""
    latest: dict[Any, Measured] = {}
    for path in sorted(samples, key=_time):
        score, arm = read_samples(path), samples[path]
        results = _results(path.with_name(f"results_{_time(path)}.json"))
        conditions = {
            "num_fewshot": results.get("n-shot", {}).get(score.task),
            "chat_template": bool(results["chat_template"]) if "chat_template" in results else None,
        }
        latest[path.parent, score.task, score.temperature] = Measured(
            setting=setting, arm=arm, seed=0, score=score, conditions=conditions
        )
    return list(latest.values())


def _time(path: Path) -> str:
    found = TIME.search(path.stem)
    return found[1] if found else ""


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
        Measured(setting=setting, arm=label, seed=run.spec.seed, score=score, conditions=_how(run.spec))
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


def _how(spec: RunSpec) -> dict[str, Any]:
    return {
        "num_fewshot": spec.evaluation.get("num_fewshot"),
        "chat_template": spec.evaluation.get("apply_chat_template"),
    }
