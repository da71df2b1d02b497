"""Records of runs: what was run, on what, and what came out of it; the only file that touches `results/`.

A record states facts, never verdicts: a better rule re-reads old records. One JSON file per run, written once
under the hash of its specification, to a temporary name first, so that a file which is there is whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from advisor.errors import InputError
from advisor.files import publish, read_json
from advisor.values import built, dataclass_of
from harness.records import record_parts
from harness.records.arm import Arm
from harness.records.metrics import SHARE, from_first_records, one_each, split_name
from harness.records.schemas import SCHEMA, upgrade
from harness.records.training_texts import settled
from harness.runtime.environment import Environment

DIGITS = 6
"""Significant digits kept of what was measured; specifications are kept exactly."""

SCORE_FIELDS = ("task", "metric", "filter", "higher_is_better", "unit", "temperature", "part")
"""What a record says of a score beside documents and values."""

__all__ = ["Environment", "Results", "Run", "RunSpec", "Score", "read_run"]


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Everything that decides what a run does."""

    model: str
    """As the user typed it."""
    model_fingerprint: str
    """Of the weights."""
    dataset: str
    """As the user typed it."""
    dataset_fingerprint: str
    """Of the content."""
    split: str | None
    """Of the dataset."""
    arm: Arm
    """What is trained; `decoding` is None, for a run is scored at several temperatures."""
    seed: int
    """Of the order of the data, the initialisation of adapters and sampling."""
    training: Mapping[str, Any]
    """Settings of TRL's SFTConfig that differ from its defaults, as texts (see `training_texts`)."""
    tasks: tuple[str, ...]
    """Names of lm-eval tasks."""
    evaluation: Mapping[str, Any]
    """Temperatures, repeats, limit, few-shot examples."""
    reading: Mapping[str, Any] | None = None
    """How the dataset was read, where that was said: its columns, template, longest sequence."""
    teachers: Mapping[str, Any] | None = None
    """Of an arm that learns from teachers: `models`, by key name and fingerprint of the weights, and `route`,
    the column with the key of a row's teacher, None where there is one teacher."""

    @cached_property
    def id(self) -> str:
        """16 hex digits of the SHA-256 of the canonical JSON of all fields that decide what the run does.

        A field at its default does not enter, so that one added later changes no id; nor does why an
        arm was run (`Arm.control`), so that a control is not run again as an arm; nor how a setting is spelt.
        """
        content = {
            **_set_fields(self),
            "arm": _set_fields(self.arm.trained),
            "training": settled(self.training),
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _set_fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not at their default."""
    return {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        if getattr(value, field.name) != field.default
    }


@dataclass(frozen=True, kw_only=True)
class Score:
    """What the documents of a task scored by one metric at one temperature."""

    task: str
    """Name of the task."""
    metric: str
    """Name of the metric, without its filter."""
    temperature: float | None
    """0 is greedy; None where nothing is generated."""
    part: str
    """"development", on which learning rates are chosen, "test" or "guard"."""
    documents: tuple[str, ...]
    """Stable ids, distinct."""
    values: tuple[tuple[float, ...], ...]
    """[documents][repeats], finite; of a share between 0 and 1."""
    filter: str | None = None
    """Name of lm-eval's filter of answers; None where they are taken as they are."""
    higher_is_better: bool = True
    """Whether larger values are better."""
    unit: str = SHARE
    """"share": shown in points; else the metric's own, shown as it is and without a default margin."""

    def __post_init__(self) -> None:
        repeats = {len(value) for value in self.values}
        if len(self.documents) != len(self.values) or len(repeats) > 1 or 0 in repeats:
            raise ValueError(f"{self.task}: one row of equally many values is needed per document")
        if len(set(self.documents)) < len(self.documents):
            raise ValueError(f"{self.task}: a document occurs twice")
        if not all(math.isfinite(x) for value in self.values for x in value):
            raise ValueError(f"{self.task}: {self.metric} is not finite on every document")
        if self.unit == SHARE and not all(0 <= x <= 1 for value in self.values for x in value):
            raise ValueError(
                f"{self.task}: {self.metric} is no share: not between 0 and 1 everywhere"
            )

    @property
    def name(self) -> str:
        """Metric and filter as lm-eval's results name them, without the filter "none"."""
        return f"{self.metric},{self.filter}" if self.filter else self.metric

    @cached_property
    def per_document(self) -> tuple[float, ...]:
        """[documents] means over the repeats."""
        return tuple(fmean(value) for value in self.values)

    @property
    def oriented(self) -> tuple[float, ...]:
        """[documents] means over the repeats, with the sign that makes larger ones better."""
        return self.per_document if self.higher_is_better else tuple(-x for x in self.per_document)

    @property
    def mean(self) -> float:
        """Over documents and repeats, with the metric's own sign."""
        return fmean(self.per_document)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a run scored before its end."""

    share: float
    """Of its optimiser steps that lay behind."""
    scores: tuple[Score, ...]
    """Of development documents, at the temperature of use."""
    seconds: float = 0.0
    """Of the training since the look before it, and of its scores."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A specification and what came of it."""

    spec: RunSpec
    """What was to be done."""
    environment: Environment
    """With what it was done."""
    domain: str
    """"ladder", "user" or "published"."""
    prior: Mapping[str, Any] | None
    """What was measured before training."""
    steps: tuple[Mapping[str, Any], ...]
    """Log of the training, thinned to at most 200 entries."""
    held_out: Mapping[str, float]
    """Measures on demonstrations kept back; raw NLL is among them and favours the arm that trains on it."""
    scores: tuple[Score, ...]
    """Per task, metric, temperature and part."""
    seconds: float
    """Wall time, without what `began` was trained in."""
    tokens: int
    """Trained on, with repetition; with those of `began`, for the model has seen them."""
    peak_memory_bytes: int
    """Of the device, or of the process on a CPU."""
    error: str | None = None
    """Why it failed."""
    began: Mapping[str, Any] | None = None
    """What it took over from another run that trained the same until then: `as`, the method of that arm,
    `step`, the optimiser steps, and `tokens`; None: it trained all of its steps."""
    planned: Mapping[str, Any] | None = None
    """What the study that it was run for meant to run, see `Study.planned`; None: not known."""
    curve: tuple[Look, ...] = ()
    """What it scored along the way, by share."""
    guards: tuple[Score, ...] = ()
    """On tasks that nothing was trained for, which tell what it forgot; the part of each is "guard"."""
    smaller_batches: Mapping[str, int] | None = None
    """Where memory had no room for as many as were asked for: `rows` of a micro-batch, `documents` that were
    scored or `prompts` that were answered at a time; None: it had."""
    schema: int = field(default=SCHEMA)
    """Version of the format."""


RUN = dataclass_of(Run)
"""A record in the newest format, after its columns and documents are put in their places."""


class Results:
    """A folder of records: finished runs in `runs/`, the last failure of a specification in `failed/`.

    What was scored of runs that a race has not taken to their end is in `parts/`, what came of runs that were
    continued in `afterwards/`.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def prepare(self) -> None:
        """Make the folder and write into it once.

        Raises:
            InputError: it cannot be written; better known before the work than after.
        """
        probe = self.folder / "runs" / f".{secrets.token_hex(4)}.part"
        self._publish(probe, "{}\n")
        probe.unlink(missing_ok=True)

    def path(self, spec: RunSpec) -> Path:
        """Where the record of a finished run is; one of an older format keeps the name that it had."""
        path = self.folder / "runs" / f"{spec.id}.json"
        return path if path.exists() else self._older.get(spec.id, path)

    @cached_property
    def _older(self) -> dict[str, Path]:
        """Records whose file is not named by their id of today, by that id."""
        runs = ((path, read_run(path)) for path in self._files("runs"))
        return {run.spec.id: path for path, run in runs if run.spec.id != path.stem}

    def _files(self, kind: str) -> list[Path]:
        return sorted((self.folder / kind).glob("*.json"))

    def find(self, spec: RunSpec) -> Run | None:
        """The finished run of a specification; None where there is none, also after a failure."""
        path = self.path(spec)
        return read_run(path) if path.exists() else None

    def write(self, run: Run) -> Path:
        """Write a record; a finished run that is there already stays as it is.

        Raises:
            InputError: the folder cannot be written or is full.
        """
        path = self.path(run.spec)
        if run.error is not None:
            path = self.folder / "failed" / f"{run.spec.id}.json"
        elif path.exists():
            return path
        self._publish(path, _encode(run))
        return path

    def write_part(self, run: Run) -> None:
        """Write what a run that is not at its end has scored so far, over what was known before."""
        self._publish(self.folder / "parts" / f"{run.spec.id}.json", _encode(run))

    def parts(self) -> list[Run]:
        """The runs that are not at their end: they have a curve and no scores."""
        found = []
        for path in self._files("parts"):
            try:
                found.append(read_run(path))
            except InputError:
                if path.exists():  # else another process has just taken the run to its end
                    raise
        return found

    def write_afterwards(self, run: Run) -> None:
        """Write what came of continuing a run: its curve is from before, its scores are from after."""
        self._publish(self._afterwards(run.spec), _encode(run))

    def find_afterwards(self, spec: RunSpec) -> Run | None:
        """What came of a continuation, also where it failed; None where it is still to be made."""
        path = self._afterwards(spec)
        return read_run(path) if path.exists() else None

    def afterwards(self) -> list[Run]:
        """All continuations that have ended."""
        return [read_run(path) for path in self._files("afterwards")]

    def _afterwards(self, spec: RunSpec) -> Path:
        return self.folder / "afterwards" / f"{spec.id}.json"

    def _publish(self, path: Path, text: str) -> None:
        remedy = "make room or give another --results folder"
        publish(path, text.encode(), subject=str(path.parent), remedy=remedy)

    def runs(self) -> list[Run]:
        """All finished runs.

        Raises:
            InputError: a file is broken, foreign, or written by a newer version.
        """
        return [read_run(path) for path in self._files("runs")]

    def failed(self) -> list[Run]:
        """The last failure of every specification that has failed, also where a retry went well."""
        return [read_run(path) for path in self._files("failed")]

    def frame(self) -> Any:
        """A pandas long table: one row per run and score."""
        import pandas as pd

        rows = [row for run in self.runs() for row in _rows(run)]
        return pd.DataFrame([{name: _whole(value) for name, value in row.items()} for row in rows])


def read_run(path: Path) -> Run:
    """One record; fields of newer versions that this one does not know are left out.

    Raises:
        InputError: unreadable, not a record, or of a newer format.
    """
    try:
        return _decode(read_json(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise InputError(
            f"{path}: not a whole record of a run ({type(error).__name__}): move it out of the folder"
        ) from None


def as_kept(run: Run) -> Run:
    """A run as it is read back: with the digits that its record keeps.

    What is chosen by its scores is then the same before and after a restart, also where they nearly tie.
    """
    return _decode(json.loads(_encode(run)))


def _encode(run: Run) -> str:
    """JSON, a line per field: documents once per distinct set, values flat, steps by column."""
    looked = [score for look in run.curve for score in look.scores]
    every = (*run.scores, *looked, *run.guards)
    sets = list(dict.fromkeys(score.documents for score in every))
    columns = list(dict.fromkeys(name for step in run.steps for name in step))
    content = {
        "schema": run.schema,
        "id": run.spec.id,
        "spec": dataclasses.asdict(run.spec),
        "environment": dataclasses.asdict(run.environment),
        "domain": run.domain,
        "prior": _compact(run.prior),
        "steps": {name: [_compact(step.get(name)) for step in run.steps] for name in columns},
        "held_out": _compact(run.held_out),
        "documents": sets,
        "scores": [_of_score(score, sets) for score in run.scores],
        "seconds": _compact(run.seconds),
        "tokens": run.tokens,
        "peak_memory_bytes": run.peak_memory_bytes,
        "error": run.error,
        "planned": run.planned,
        **({"began": run.began} if run.began else {}),
        **({"curve": [_of_look(look, sets) for look in run.curve]} if run.curve else {}),
        **({"guards": [_of_score(score, sets) for score in run.guards]} if run.guards else {}),
        **({"smaller_batches": run.smaller_batches} if run.smaller_batches else {}),
    }  # fmt: skip
    lines = (
        f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'), allow_nan=False)}"
        for name, value in content.items()
    )
    return "{" + ",\n".join(lines) + "}\n"


def _of_score(score: Score, sets: Sequence[Sequence[str]]) -> dict[str, Any]:
    return {
        **{name: getattr(score, name) for name in SCORE_FIELDS},
        "documents": sets.index(score.documents),
        "values": _compact([value for row in score.values for value in row]),
    }


def _of_look(look: Look, sets: Sequence[Sequence[str]]) -> dict[str, Any]:
    scores = [_of_score(score, sets) for score in look.scores]
    return {"share": look.share, "seconds": _compact(look.seconds), "scores": scores}


def _compact(value: Any) -> Any:
    """Measured numbers to DIGITS significant digits; what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {key: _compact(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_compact(inner) for inner in value]
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    return int(value) if value in (0, 1) else float(f"{value:.{DIGITS}g}")


def _decode(content: Mapping[str, Any]) -> Run:
    content = upgrade(content)
    columns = content["steps"]
    steps = zip(*columns.values(), strict=True)
    decoded = {
        "steps": [
            {name: value for name, value in zip(columns, step, strict=True) if value is not None}
            for step in steps
        ],
        "held_out": {
            name: value for name, value in content["held_out"].items() if value is not None
        },
        "scores": [_score(score, content["documents"]) for score in content["scores"]],
        "curve": [_look(look, content["documents"]) for look in content.get("curve", ())],
        "guards": [_score(score, content["documents"]) for score in content.get("guards", ())],
    }
    run = built(RUN, {**content, **decoded}, "record")
    record_parts.check(run.spec, run.planned)
    return run


def _look(content: Mapping[str, Any], sets: Sequence[Sequence[str]]) -> dict[str, Any]:
    return {**content, "scores": [_score(score, sets) for score in content["scores"]]}


def _score(content: Mapping[str, Any], sets: Sequence[Sequence[str]]) -> dict[str, Any]:
    documents = tuple(sets[content["documents"]])
    flat = content["values"]
    repeats = len(flat) // max(len(documents), 1)
    rows = tuple(tuple(flat[i : i + repeats]) for i in range(0, len(flat), repeats or 1))
    documents, rows = one_each(documents, rows)
    said = {}
    if "higher_is_better" not in content:
        metric, chosen = split_name(content["metric"])
        rows, higher, unit = from_first_records(metric, rows)
        said = {"metric": metric, "filter": chosen, "higher_is_better": higher, "unit": unit}
    return {**content, **said, "documents": documents, "values": rows}


def _whole(value: Any) -> Any:
    """A text without the halves of characters that names of files may hold, and Arrow does not."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _rows(run: Run) -> list[dict[str, Any]]:
    """The rows of a run in the long table."""
    spec = run.spec
    common = {
        "run": spec.id, "domain": run.domain, "model": spec.model, "dataset": spec.dataset,
        "split": spec.split, "objective": spec.arm.method,
        "learning_rate": spec.arm.learning_rate, "seed": spec.seed,
    }  # fmt: skip
    after = {
        "seconds": run.seconds,
        "tokens": run.tokens,
        "peak_memory_bytes": run.peak_memory_bytes,
    }
    return [
        {
            **common, "task": score.task, "metric": score.metric, "filter": score.filter,
            "higher_is_better": score.higher_is_better, "unit": score.unit,
            "temperature": score.temperature, "part": score.part, "mean": score.mean,
            "documents": len(score.documents),
            "repeats": len(score.values[0]) if score.values else 0, **after,
        }
        for score in (*run.scores, *run.guards)
    ]  # fmt: skip
