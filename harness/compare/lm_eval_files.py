"""Which files of a folder are lm-eval's logs, and what of its results belongs to which samples.

| since   | files in the output folder |
|---------|----------------------------|
| 0.4.2   | `results.json`, `MODELARGS_TASK.jsonl` |
| 0.4.3   | `MODEL/results_TIME.json`, `MODEL/samples_TASK_TIME.jsonl` |
| 0.4.9.1 | of an --output_path that ends in .json: `STEM_TIME.json` beside the samples |
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.errors import InputError
from advisor.files import read_json
from advisor.values import Kind, object_of, parse

if TYPE_CHECKING:
    from pydantic import TypeAdapter

TIME = re.compile(r"_(\d{4}-\d\d-\d\dT[^_]*)$")
"""The end of the names of lm-eval's files."""
MODEL = ("peft", "delta", "pretrained", "model", "path", "engine")
"""Which of lm-eval's --model_args names the model: the first that is there."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """The samples of one task in one evaluation."""

    path: Path
    """Of the samples."""
    task: str
    """Name of the task."""
    results: Mapping[str, Any]
    """The evaluation's results file; empty where there is none."""
    label: tuple[str, str] = ("", "")
    """Short and long name of the model, whichever tells models apart."""

    @property
    def time(self) -> str:
        """When it was made, as text that sorts; empty where the file does not say."""
        return _time(self.path)

    @property
    def model(self) -> str:
        """Name of the model, less its folders; empty where nothing says it."""
        given = self.results.get("model_name")
        return Path(
            str(given or _model_of((self.results.get("config") or {}).get("model_args")))
        ).name

    def of_task(self, section: str) -> Any:
        """What a section of the results says of the task; None where nothing."""
        found = self.results.get(section)
        return found.get(self.task) if isinstance(found, Mapping) else None


def _model_of(args: Any) -> str:
    """The model's name in --model_args, text or an object; empty where it is not there."""
    if not isinstance(args, Mapping):
        args = dict(word.partition("=")[::2] for word in str(args or "").split(","))
    return str(next((args[key] for key in MODEL if args.get(key)), ""))


def find_logs(path: Path) -> list[Log]:
    """The logs at a path: lm-eval's output folder, its samples or its results; none at anything else.

    Raises:
        InputError: it does not exist, or its results are damaged.
    """
    if path.is_dir():
        logs = [log for folder in _folders(path) for log in _in_folder(folder)]
    elif not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    elif path.suffix == ".jsonl":
        logs = [log for log in _in_folder(path.parent) if log.path == path]
        logs = logs or [Log(path=path, task=_task(path), results={})]
    elif path.suffix == ".json" and _is_results(content := _content(path), path):
        logs = _of_results(path, content)
        if not logs:
            raise InputError(f"{path}: lm-eval's results without samples: log them (--log_samples)")
    else:
        return []
    return _labelled(path, logs)


def _folders(path: Path) -> list[Path]:
    return sorted({file.parent for file in path.rglob("*.jsonl")})


def _in_folder(folder: Path) -> Iterator[Log]:
    """Logs of a folder: samples with the results of their time, and those that results of 0.4.2 name."""
    results = {
        file: content
        for file in sorted(folder.glob("*.json"))
        if _is_results(content := _content(file), file)
    }
    by_time = {time: content for file, content in results.items() if (time := _time(file))}
    for file in sorted(folder.glob("samples_*.jsonl")):
        yield Log(path=file, task=_task(file), results=by_time.get(_time(file), {}))
    for file, content in results.items():
        if not _time(file):
            yield from _of_results(file, content)


def _time(path: Path) -> str:
    """When lm-eval wrote a file, as its name says; empty where it does not."""
    found = TIME.search(path.stem)
    return found[1] if found else ""


def _task(samples: Path) -> str:
    return TIME.sub("", samples.stem).removeprefix("samples_")


def _of_results(path: Path, content: Mapping[str, Any]) -> list[Log]:
    """The logs that a results file speaks of."""
    if time := _time(path):
        files = {_task(p): p for p in sorted(path.parent.glob(f"samples_*_{time}.jsonl"))}
    else:  # 0.4.2
        args = str((content.get("config") or {}).get("model_args") or "")
        stem = re.sub("/|=", "__", args)
        files = {
            task: path.with_name(f"{stem}_{task}.jsonl") for task in content.get("configs") or {}
        }
    return [Log(path=p, task=task, results=content) for task, p in files.items() if p.is_file()]


def _content(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        if path.name.startswith("results"):
            raise InputError(f"{path}: not lm-eval's results ({error})") from None
        return None


def _is_results(content: Any, path: Path) -> bool:
    """Whether a JSON file is one of lm-eval's results; InputError where one is damaged."""
    keys = content.keys() if isinstance(content, Mapping) else set()
    found = "results" in keys and bool(keys & {"configs", "n-shot"})
    if found:
        parse(RESULTS, content, str(path))
    return found


def _results() -> TypeAdapter[Any]:
    """What is read of results."""
    from pydantic import TypeAdapter

    task: Any = object_of("task", {"metric_list": list[dict[str, Any]] | None}, total=False)
    kinds: dict[str, Any] = {
        "results": dict[str, dict[str, Any]] | None,
        "higher_is_better": dict[str, dict[str, Any]] | None,
        "configs": dict[str, task] | None,
        "config": dict[str, Any] | None,
    }
    return TypeAdapter(object_of("results", kinds, total=False))


RESULTS: Kind[Any] = Kind(_results)


def _labelled(path: Path, logs: Sequence[Log]) -> list[Log]:
    """Short and long names: of the path given where it holds one model, else of its models."""
    models = {(log.path.parent, log.model) for log in logs}
    if path.is_dir() and len(models) == 1:
        return [replace(log, label=(path.resolve().name, str(path))) for log in logs]
    several = Counter(folder for folder, _ in models)
    return [
        replace(log, label=(log.model or folder.name, _long(folder, log, several[folder])))
        for log in logs
        for folder in [log.path.parent]
    ]


def _long(folder: Path, log: Log, models: int) -> str:
    return str(folder / log.model) if models > 1 else str(folder)
