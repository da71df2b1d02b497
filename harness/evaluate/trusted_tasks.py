"""What a task of lm-eval may run: a user's task files are read here before lm-eval reads them.

A task file can run code in four ways: `!function` imports a Python file or an installed module;
a metric that lm-eval does not have is loaded by `evaluate.load`, which runs a script of the working
directory or of the hub; a prompt that `use_prompt` names comes from another library; and templates are
rendered without a sandbox. Without the user's trust the first three are refused and templates are confined.
Files of lm-eval and of this package are trusted as the packages are; so is a configuration that a caller
makes in Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from advisor.errors import InputError

BUILT_IN_PROMPTS = "qa-basic:"
"""Of `use_prompt`: what lm-eval itself holds."""
OWN_FUNCTIONS = (
    "harness.gym.gym_tasks.problem_sets",
    "harness.gym.gym_tasks.score",
    "harness.ladder.ladder_tasks.problem_sets",
)
"""What the task files of this package name; a copy of one may name it too."""
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, kw_only=True)
class TaskFile:
    """One YAML file, without the files that it includes."""

    path: Path
    """Where it lies, links followed."""
    settings: Any
    """Whatever the file holds."""
    functions: tuple[tuple[str, int], ...]
    """What `!function` names and on which line, also where a later key replaces it."""

    @property
    def foreign(self) -> list[str]:
        """Those that are not the package's own; a file beside the task's goes before an installed module."""
        return [
            f"!function {name}, line {line}"
            for name, line in self.functions
            if name not in OWN_FUNCTIONS or (self.path.parent / name.split(".")[0]).exists()
        ]


@dataclass(kw_only=True)
class _Walk:
    """Goes through names, files and what they include, each once."""

    index: Mapping[str, Any]
    """Name -> entry of lm-eval's index."""
    refuses: bool = True
    """Whether it raises at the first code of the user's."""
    seen: set[Any] = field(default_factory=set)
    """Names and paths that need no second look."""
    own: list[Path] = field(default_factory=list)
    """Files of the user's, and the Python files that they name."""

    def task(self, spec: Any) -> None:
        """A name of the index, or the path of a task file."""
        if str(spec) in self.index:
            self.name(str(spec))
        elif Path(spec).is_file():
            self.file(Path(spec))

    def name(self, name: str) -> None:
        """A task, a group or a tag; an unknown one is lm-eval's to refuse."""
        entry = self.index.get(name)
        if entry is None or name in self.seen:
            return
        self.seen.add(name)
        for member in sorted(entry.tags) if entry.yaml_path is None else ():
            self.name(member)
        if entry.yaml_path is not None:
            self.file(entry.yaml_path)

    def file(self, path: Path) -> None:
        """A task file and what it includes."""
        path = path.expanduser().resolve()
        if path in self.seen:
            return
        self.seen.add(path)
        found = read_task_file(path)
        own = not any(path.is_relative_to(root) for root in _trusted_folders())
        if own:
            modules = (path.parent / f"{name.split('.')[0]}.py" for name, _ in found.functions)
            self.own += [path, *(module for module in modules if module.is_file())]
        if own and found.foreign and self.refuses:
            raise _refusal(path, found.foreign[0])
        self.settings(path, found.settings, own=own and self.refuses)

    def settings(self, path: Path, value: Any, *, own: bool) -> None:
        """A part of what a file holds: a group may hold whole tasks."""
        if isinstance(value, list):
            for item in value:
                self.settings(path, item, own=own)
        if not isinstance(value, dict):
            return
        self._metrics(path, value.get("metric_list"), own=own)
        self._prompt(path, value.get("use_prompt"), own=own)
        self._others(path, value)
        for item in value.values():
            self.settings(path, item, own=own)

    def _metrics(self, path: Path, metrics: Any, *, own: bool) -> None:
        for metric in metrics if isinstance(metrics, list) else ():
            name = metric.get("metric") if isinstance(metric, dict) else None
            if not isinstance(name, str) or not _is_loaded(name, metric):
                continue
            if own:
                raise _refusal(path, f"metric {name}, loaded by the evaluate library")
            if self.refuses and (here := _script(name)):
                raise _refusal(path, f"metric {name}, which would be read from {here}")

    def _prompt(self, path: Path, prompt: Any, *, own: bool) -> None:
        if own and prompt is not None and not str(prompt).startswith(BUILT_IN_PROMPTS):
            raise _refusal(path, f"use_prompt: {prompt}")

    def _others(self, path: Path, value: Mapping[str, Any]) -> None:
        """Files that are included, tasks and groups that are named."""
        for file in _listed(value.get("include")):
            self.file(path.parent / str(file))
        for key in ("task", "group"):
            for name in _listed(value.get(key)):
                if isinstance(name, str):
                    self.name(name)


def refuse_code(spec: Any, index: Mapping[str, Any], *, trusted: bool) -> None:
    """Refuse a task that would run code which the user did not allow; reads files, imports nothing of them.

    Args:
        spec: a name, the path of a task file, or a configuration made in Python, which is its maker's.
        index: lm-eval's, name -> entry.
        trusted: whether the user allows such code.

    Raises:
        InputError: the file, the code that it names, and the flag that allows it.
    """
    if trusted or isinstance(spec, Mapping):
        return
    _Walk(index=index).task(spec)


def own_files(spec: str, index: Mapping[str, Any]) -> list[Path]:
    """The user's files that decide what a task is: its own, those that it includes, and their Python.

    Args:
        spec: a name or the path of a task file.
        index: lm-eval's, name -> entry.

    Raises:
        InputError: a file cannot be read.
    """
    walk = _Walk(index=index, refuses=False)
    walk.task(spec)
    return list(dict.fromkeys(walk.own))


def read_task_file(path: Path) -> TaskFile:
    """Read a task file as data: `!function` gives its text and its line.

    Raises:
        InputError: unreadable, not YAML, or with another tag than `!function`.
    """
    functions: list[tuple[str, int]] = []

    class Loader(_Safe):  # type: ignore[misc]
        """One for each file: constructors belong to a class."""

    def named(loader: Any, node: yaml.Node) -> str:
        text = str(loader.construct_scalar(node))
        functions.append((text, node.start_mark.line + 1))
        return text

    Loader.add_constructor("!function", named)
    try:
        settings = yaml.load(path.read_bytes(), Loader=Loader)  # a safe loader
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"task {path}: cannot be read ({' '.join(str(error).split())})") from error
    return TaskFile(path=path, settings=settings, functions=tuple(functions))


@contextmanager
def confined(*, trusted: bool) -> Iterator[None]:
    """Within the block lm-eval renders templates in a sandbox and no script of a local folder is a metric."""
    import evaluate as metrics  # type: ignore[import-untyped]
    from jinja2.sandbox import SandboxedEnvironment
    from lm_eval import utils

    if trusted:
        yield
        return
    load, free = metrics.load, utils.env
    sandbox = SandboxedEnvironment(
        loader=free.loader, undefined=free.undefined, keep_trailing_newline=True
    )
    sandbox.filters.update(free.filters)

    def load_from_the_hub(path: str, *arguments: Any, **settings: Any) -> Any:
        if here := _script(path):
            raise InputError(f"metric {path}: {_remedy(str(here))}")
        return load(path, *arguments, **settings)

    with (
        patch.object(utils, "env", sandbox),
        patch.object(metrics, "load", load_from_the_hub),
    ):
        yield


def _is_loaded(name: str, metric: Mapping[str, Any]) -> bool:
    """Whether lm-eval would ask the evaluate library for a metric."""
    import lm_eval.api.metrics  # noqa: F401  # fills the registry
    from lm_eval.api.registry import metric_registry

    return metric.get("hf_evaluate") is True or name not in metric_registry


def _script(name: str) -> Path | None:
    """The script of the working directory that `evaluate.load(name)` would run."""
    path = Path(name)
    for script in (path, path / f"{path.name}.py"):
        if script.suffix == ".py" and script.is_file():
            return script
    return None


@cache
def _trusted_folders() -> tuple[Path, ...]:
    import lm_eval.tasks

    return Path(lm_eval.tasks.__file__).resolve().parent, Path(__file__).resolve().parents[1]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _refusal(path: Path, what: str) -> InputError:
    return InputError(f"task {path}: {_remedy(what)}")


def _remedy(what: str) -> str:
    return (
        f"needs code ({what}): read that code, then allow it to run here with --trust_remote_code"
    )
