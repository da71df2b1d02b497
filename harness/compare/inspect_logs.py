"""Logs of inspect_ai in their JSON form (`inspect log convert --to json`), read as scores of documents.

A log is one model on one task; its samples have an id, an epoch, and a value by scorer. Values are as
inspect's own `value_to_float` takes them: C is 1, P 0.5, I and N 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.errors import InputError
from advisor.files import read_json
from advisor.values import Kind, listed, object_of, parse, shown
from harness.compare.score_tables import LARGEST, WHOLE, Cell, scored
from harness.compare.scored_arm import Scored, arm_named
from harness.records.arm import Arm

if TYPE_CHECKING:
    from pydantic import TypeAdapter

GRADES = {
    "c": 1.0, "p": 0.5, "i": 0.0, "n": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0,
}  # fmt: skip
"""What inspect_ai makes of words, in lower case."""


def is_log(content: Any) -> bool:
    """Whether a JSON value is a log of inspect_ai."""
    return isinstance(content, Mapping) and {"eval", "status"} <= content.keys()


def logs_in(folder: Path) -> list[Path]:
    """The logs in a folder or below, in the order of their names."""
    return [path for path in sorted(folder.rglob("*.json")) if is_log(_content(path))]


def _content(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def _log() -> TypeAdapter[Any]:
    """What is read of the samples of a log."""
    from pydantic import TypeAdapter

    kinds = {"id": int | str, "epoch": int, "scores": dict[str, dict[str, Any]] | None}
    sample: Any = object_of("sample", kinds, total=False)
    return TypeAdapter(object_of("log", {"samples": list[sample] | None}, total=False))


LOG: Kind[Any] = Kind(_log)


@dataclass(frozen=True, kw_only=True)
class _Log:
    """One model on one task."""

    path: Path
    task: str
    arm: Arm
    model: str
    """Its name, with folders where names alone are alike."""
    created: str
    """When, ISO 8601; empty where the log does not tell."""
    values: Mapping[tuple[Any, int], Mapping[str, Any]]
    """Of each sample, by id and epoch, scorer -> score."""

    @property
    def documents(self) -> set[Any]:
        """Their ids."""
        return {document for document, _ in self.values}

    @property
    def scorers(self) -> list[str]:
        """In the order of the samples."""
        return list(dict.fromkeys(name for scores in self.values.values() for name in scores))


def read_inspect(
    paths: Sequence[Path], scorer: str | None, higher_is_better: bool | None
) -> tuple[list[Scored], list[str]]:
    """The scores of logs, and what was chosen or left out.

    Args:
        paths: of logs.
        scorer: name of the one that counts; None: of each task the first that all of its logs have.
        higher_is_better: of its scores; None: true.

    Raises:
        InputError: an evaluation that did not end, a scorer that is not there, a value that is no number.
    """
    contents = {path: _content(path) for path in paths}
    models = {path: _model(content) for path, content in contents.items()}
    alike = Counter(Path(model).name for model in set(models.values()))
    logs, notes = _latest(
        [
            _read(path, contents[path], model if alike[Path(model).name] > 1 else Path(model).name)
            for path, model in models.items()
        ]
    )
    found = dict[str, list[Cell]]()
    for task in dict.fromkeys(log.task for log in logs):
        own = [log for log in logs if log.task == task]
        name, said = _scorer_of(task, own, scorer)
        notes.append(said)
        for log in own:
            cells = _cells(log, name)
            found.setdefault(name, []).extend(cells)
            if len(cells) < len(log.values):
                left = len(log.values) - len(cells)
                notes.append(f"{task}: {left} samples of {log.model} have no {name}")
    runs = list[Scored]()
    for name, cells in found.items():
        own_runs, more = scored(cells, name, higher_is_better=higher_is_better is not False)
        runs += own_runs
        notes += more
    return runs, list(dict.fromkeys(notes))


def _read(path: Path, content: Any, model: str) -> _Log:
    content = parse(LOG, content, str(path))
    try:
        spec, samples = content["eval"], content.get("samples") or []
        config = {**(spec.get("model_generate_config") or {}),
                  **((content.get("plan") or {}).get("config") or {})}  # fmt: skip
        heat = config.get("temperature")
        whole = content["status"] == "success"
        if not model:
            raise KeyError("model")
        log = _Log(
            path=path,
            task=str(spec["task"]),
            arm=arm_named(model, decoding=None if heat is None else float(heat)),
            model=model,
            created=str(spec.get("created") or ""),
            values={(s["id"], s.get("epoch", 1)): s.get("scores") or {} for s in samples},
        )
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(f"{path}: not a whole log of inspect_ai ({error!r})") from None
    if not whole:
        raise InputError(
            f"{path}: the evaluation has not ended (status {content['status']}): go on with it, "
            "inspect eval-retry"
        )
    return log


def _latest(logs: Sequence[_Log]) -> tuple[list[_Log], list[str]]:
    """Of several evaluations of one model on the same documents the latest; parts of one stay together.

    Raises:
        InputError: two of which the logs do not tell which is the later.
    """
    kept: dict[tuple[str, Arm], list[_Log]] = {}
    notes = []
    for log in sorted(logs, key=lambda log: log.created, reverse=True):
        later = kept.setdefault((log.task, log.arm), [])
        again = next((one for one in later if one.documents & log.documents), None)
        if again is None:
            later.append(log)
        elif again.created == log.created:
            raise InputError(
                f"{log.path} and {again.path}: both are of {log.model} on {log.task}, and they do not tell "
                "which is the later: leave one out"
            )
        else:
            notes.append(
                f"{log.task}: {log.model} was evaluated again; the latest counts ({again.path.name}, not "
                f"{log.path.name})"
            )
    paths = {one.path for several in kept.values() for one in several}
    return [log for log in logs if log.path in paths], notes


def _scorer_of(task: str, logs: Sequence[_Log], asked: str | None) -> tuple[str, str]:
    """The scorer that counts on a task, and what is said of it.

    Raises:
        InputError: a log that has not the one that was asked for, or logs that have none in common.
    """
    for log in logs:
        if not log.scorers or (asked is not None and asked not in log.scorers):
            raise InputError(
                f"{log.path}: no sample has a score{f' of {asked}' if asked else ''}; there are "
                f"{listed(log.scorers) or 'none'}"
            )
    shared = [name for name in logs[0].scorers if all(name in log.scorers for log in logs)]
    if not shared:
        raise InputError(
            f"{task}: no scorer scored all of its logs: {logs[0].path} has {listed(logs[0].scorers)}, "
            f"{logs[-1].path} has {listed(logs[-1].scorers)}"
        )
    chosen = asked or shared[0]
    others = [name for name in shared if name != chosen]
    more = f"; also there: {listed(others)} (--metric chooses another)" if others else ""
    return chosen, f"{task}: scored by {chosen}{more}"


def _cells(log: _Log, scorer: str) -> list[Cell]:
    """A cell for every sample that the scorer scored."""
    return [
        Cell(key=(log.arm, 0, log.task, WHOLE), document=str(document), value=value)
        for (document, _), scores in log.values.items()
        if scorer in scores and not math.isnan(value := _value(log.path, document, scores[scorer]))
    ]


def _model(content: Any) -> str:
    """The model of a log, with its folders; empty where it names none, which `_read` refuses."""
    try:
        spec = content["eval"]
        return str((spec.get("model_args") or {}).get("model_path") or spec["model"])
    except (LookupError, TypeError, AttributeError):
        return ""


def _value(path: Path, document: Any, score: Any) -> float:
    """A score as a number; NaN where inspect_ai could not score."""
    value: Any = score.get("value") if isinstance(score, Mapping) else score
    if isinstance(value, str):
        value = GRADES.get(value.lower(), value)
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.inf
    if abs(found) > LARGEST:
        what = "not a finite number" if math.isinf(found) else f"more than {LARGEST:g}"
        raise InputError(
            f"{path}, sample {document}: its score is {shown(value)}, {what}: choose another with --metric"
        )
    return found
