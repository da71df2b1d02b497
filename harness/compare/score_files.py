"""What `advisor decide` is given: which files are tables, lm-eval's or inspect_ai's logs, and all scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advisor.errors import InputError
from advisor.files import find, parse_json, read_json
from advisor.names import neighbour
from harness.compare.inspect_logs import is_log, logs_in, read_inspect
from harness.compare.lm_eval_logs import find_logs, read_logs
from harness.compare.measured import Measured, refuse_differing
from harness.compare.score_tables import read_tables
from harness.compare.scored_arm import Scored, arm_named

TABLE, LM_EVAL, INSPECT = "table", "lm-eval", "inspect_ai"
OF_LM_EVAL = {"doc_id", "doc", "arguments"}
"""Keys of what lm-eval logs for a document."""
OF_A_RECORD = {"spec", "scores", "environment"}
"""Keys of a record of a run."""


def read_scores(
    paths: Sequence[Path | str],
    *,
    metric: str | None = None,
    filter: str | None = None,
    higher_is_better: bool | None = None,
) -> tuple[list[Scored], list[str]]:
    """All scores under some paths, and what was chosen or assumed.

    Args:
        paths: tables; lm-eval's output folders, samples or results; inspect_ai's logs in JSON, or a folder
            of them.
        metric: of logs, as `read_logs` and `read_inspect`.
        filter: of lm-eval's logs.
        higher_is_better: of scores whose direction nothing tells; None: true.

    Raises:
        InputError: a path that does not exist, a file that cannot be read, logs of arms that were evaluated
            differently.
    """
    files: dict[str, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(find(str(path))[0] for path in paths):
        kind, own = _kind(path)
        files[kind] += own
    if not (files[LM_EVAL] or files[INSPECT]):
        _refuse_of_logs({"metric": metric, "filter": filter})
    found, notes = list[Scored](), list[str]()
    if tables := files[TABLE]:
        found, notes = read_tables(tables, higher_is_better)
    if logs := files[LM_EVAL]:
        measured, said = read_logs(logs, metric, filter, higher_is_better)
        _refuse_differing(measured)
        found += _of_decodings(measured)
        notes += said
    if logs := files[INSPECT]:
        scored, said = read_inspect(logs, metric, higher_is_better)
        found, notes = [*found, *scored], [*notes, *said]
    return found, notes


def _of_decodings(measured: Sequence[Measured]) -> list[Scored]:
    """A checkpoint is an arm for each of its decodings; what generates nothing belongs to all of them."""
    heats: dict[str, dict[float | None, None]] = defaultdict(dict)
    for one in measured:
        if one.score.temperature is not None:
            heats[one.arm][one.score.temperature] = None
    found = []
    for one in measured:
        own = one.score.temperature
        found += [
            Scored(arm=arm_named(one.arm, decoding=heat), measured=one)
            for heat in ([own] if own is not None else heats[one.arm] or [None])
        ]
    return found


def _refuse_of_logs(given: Mapping[str, str | None]) -> None:
    for name, value in given.items():
        if value is not None:
            raise InputError(
                f"--{name}: chooses among the scores of logs; a table has one: leave it out"
            )


def _refuse_differing(measured: Sequence[Measured]) -> None:
    """Of each task at each temperature: decodings of a checkpoint differ, and compete."""
    groups: dict[Any, list[Measured]] = defaultdict(list)
    for one in measured:
        groups[one.score.task, one.score.temperature].append(one)
    for members in groups.values():
        refuse_differing(members)


def _kind(path: Path) -> tuple[str, list[Path]]:
    """What a path holds, and the files to read."""
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        near = neighbour(path)
        raise InputError(f"{path}: no such file or folder" + (f"; {near}" if near else ""))
    if path.suffix == ".eval":
        raise InputError(
            f"{path}: inspect_ai's packed form: make JSON of it, inspect log convert --to json "
            f"--output-dir logs {path.name}"
        )
    if path.suffix == ".jsonl":
        return (LM_EVAL if _first(path).keys() >= OF_LM_EVAL else TABLE), [path]
    if path.suffix != ".json":
        return TABLE, [path]
    content = _content(path)
    if isinstance(content, Mapping) and content.keys() >= OF_A_RECORD:
        raise InputError(f"{path}: {_OF_RUNS}")
    if is_log(content):
        return INSPECT, [path]
    return (LM_EVAL if find_logs(path) else TABLE), [path]


_OF_RUNS = "holds records of runs made here: `advisor confirm` decides on them, `advisor compare` shows them"


def _of_folder(path: Path) -> tuple[str, list[Path]]:
    if find_logs(path):
        return LM_EVAL, [path]
    if logs := logs_in(path):
        return INSPECT, logs
    if any(path.rglob("runs/*.json")):
        raise InputError(f"{path}: {_OF_RUNS}")
    raise InputError(
        f"{path}: holds neither lm-eval's samples (log them with --log_samples) nor inspect_ai's logs in "
        "JSON; give tables by their names"
    )


def _first(path: Path) -> Mapping[str, Any]:
    """The first object of a file of them; empty where there is none."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            text = next((line for line in lines if line.strip()), "")
        found = parse_json(text)
    except (OSError, ValueError):
        return {}
    if isinstance(found, list) and found:  # lm-eval 0.4.2 writes an array
        found = found[0]
    return found if isinstance(found, dict) else {}


def _content(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError):  # the reader of tables says what is wrong
        return None
