"""Logs of inspect_ai in their JSON form (`inspect log convert --to json`), read as scores of documents.

A log is one model on one task; its samples have an id, an epoch, and a value by scorer. Values are as
inspect's own `value_to_float` takes them: C is 1, P 0.5, I and N 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.errors import InputError
from advisor.files import read_json
from advisor.values import Kind, listed, object_of, parse, shown
from harness.compare.score_tables import WHOLE, Cell, scored
from harness.compare.scored_arm import Scored, arm_named

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


def read_inspect(
    paths: Sequence[Path], scorer: str | None, higher_is_better: bool | None
) -> tuple[list[Scored], list[str]]:
    """The scores of logs, and what was chosen or left out.

    Args:
        paths: of logs.
        scorer: name of the one that counts; None: the first of each log.
        higher_is_better: of its scores; None: true.

    Raises:
        InputError: an evaluation that did not end, a scorer that is not there, a value that is no number.
    """
    found, notes = dict[str, list[Cell]](), list[str]()
    contents = {path: _content(path) for path in paths}
    models = {path: _model(content) for path, content in contents.items()}
    alike = Counter(Path(model).name for model in set(models.values()))
    for path, model in models.items():
        short = Path(model).name
        named = model if alike[short] > 1 else short
        name, cells, said = _read(path, contents[path], scorer, named)
        found.setdefault(name, []).extend(cells)
        notes += said
    runs = list[Scored]()
    for name, cells in found.items():
        own, said = scored(cells, name, higher_is_better=higher_is_better is not False)
        runs += own
        notes += said
    return runs, list(dict.fromkeys(notes))


def _read(
    path: Path, content: Any, scorer: str | None, model: str
) -> tuple[str, list[Cell], list[str]]:
    """The scorer of a log, a cell for every sample that it scored, and notes; `model` is its name."""
    content = parse(LOG, content, str(path))
    try:
        spec, samples = content["eval"], content.get("samples") or []
        task = str(spec["task"])
        config = {**(spec.get("model_generate_config") or {}),
                  **((content.get("plan") or {}).get("config") or {})}  # fmt: skip
        heat = config.get("temperature")
        arm = arm_named(model, decoding=None if heat is None else float(heat))
        whole = content["status"] == "success"
        if not model:
            raise KeyError("model")
        values = {(s["id"], s.get("epoch", 1)): s.get("scores") or {} for s in samples}
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(f"{path}: not a whole log of inspect_ai ({error!r})") from None
    if not whole:
        raise InputError(
            f"{path}: the evaluation has not ended (status {content['status']}): go on with it, "
            "inspect eval-retry"
        )
    names = list(dict.fromkeys(name for scores in values.values() for name in scores))
    if not names or (scorer is not None and scorer not in names):
        raise InputError(
            f"{path}: no sample has a score{f' of {scorer}' if scorer else ''}; there are "
            f"{listed(names) or 'none'}"
        )
    chosen = scorer or names[0]
    others = [name for name in names if name != chosen]
    notes = [f"{task}: scored by {chosen}"
             + (f"; also there: {listed(others)} (--metric chooses another)" if others else "")]  # fmt: skip
    cells = [
        Cell(key=(arm, 0, task, WHOLE), document=str(document), value=value)
        for (document, _), scores in values.items()
        if chosen in scores and not math.isnan(value := _value(path, document, scores[chosen]))
    ]
    if len(cells) < len(values):
        notes.append(f"{task}: {len(values) - len(cells)} samples of {model} have no {chosen}")
    return chosen, cells, notes


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
    if math.isinf(found):
        raise InputError(
            f"{path}, sample {document}: its score is {shown(value)}, not a finite number: choose another "
            "with --metric"
        )
    return found
