"""A user's own scorer of answers, where no exact match exists: a Python function, or a command.

    def score(answers, references, prompts):  # texts in, a number from 0 to 1 for each answer out
        return [float(reference in answer) for answer, reference in zip(answers, references)]

A command reads a JSON object a line, `{"prompt": ..., "answer": ..., "reference": ...}`, and writes a number
a line. Nothing but what the user names is run, from the folder that the program was started in. No torch.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.errors import InputError
from advisor.values import shown

if TYPE_CHECKING:
    from harness.evaluate.scoring_options import ScoringOptions

FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
"""`module:function`; all else is a command."""
ARGUMENTS = ("answers", "references", "prompts")
"""What a function may take, by these names: lists of texts, as long as each other."""
OF_A_METRIC = ("metric", "filter", "higher_is_better")
"""Flags that choose among the scores of a task; a scorer gives one."""
TRIED = 4
"""Rows on which a scorer is tried before any run."""
_IMPORTED: dict[str, str] = {}
"""Hash of the source of a scorer's module as it was imported last."""


class ScorerFailed(InputError):
    """A scorer that raises, or gives something else than a number from 0 to 1 for each answer."""


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """What gives every answer a number from 0 to 1, larger ones better.

    It is looked up anew where it is used, so that it travels to other processes as text.
    """

    text: str
    """As the user gave it."""
    folder: str
    """From which modules are imported and commands run; has to be there on every machine."""
    code: str
    """Hash of its source, 16 hex digits; empty for a command that names no file."""
    function: Callable[..., Any] | None = None
    """As a call from Python gave it; None: `text` says where it is."""

    @property
    def name(self) -> str:
        """Of the metric: `module:function`, or the script that a command runs."""
        if self.function or FUNCTION.fullmatch(self.text):
            return self.text
        words = shlex.split(self.text)
        files = _files(words, self.folder)
        return (files[-1] if files else Path(words[0])).name.replace(",", " ")

    def score(
        self, answers: Sequence[str], references: Sequence[str], prompts: Sequence[str]
    ) -> list[float]:
        """A number from 0 to 1 for each answer.

        Raises:
            ScorerFailed: the code raises, the command fails, or what comes is something else.
        """
        columns = dict(zip(ARGUMENTS, map(list, (answers, references, prompts)), strict=True))
        if self.function or FUNCTION.fullmatch(self.text):
            found = self._called(columns)
        else:
            found = self._run(columns)
        return _numbers(self.text, found, len(answers))

    def check(self, rows: Sequence[tuple[str, str]]) -> None:
        """Try the scorer before any run: a few references as answers, and as many empty answers.

        Args:
            rows: (prompt, reference), of which the first are used.

        Raises:
            ScorerFailed: as of `score`.
        """
        prompts, references = map(list, zip(*rows[:TRIED], strict=True))
        answers = [*references, *("" for _ in references)]
        try:
            self.score(answers, 2 * references, 2 * prompts)
        except ScorerFailed as error:
            raise ScorerFailed(
                f"{error}; it was tried on references of held-out rows and on empty answers"
            ) from None

    def _called(self, columns: Mapping[str, list[str]]) -> Any:
        function = self.function or _function(self.text, self.folder)
        wanted = _wanted(self.text, function)
        try:
            with _importing_from(self.folder), redirect_stdout(sys.stderr):
                return function(**{name: columns[name] for name in wanted})
        except (Exception, SystemExit) as error:
            own = inspect.getfile(inspect.unwrap(function))
            raise ScorerFailed(f"--scorer {self.text}: {_told(error, own)}") from error

    def _run(self, columns: Mapping[str, list[str]]) -> list[str]:
        keys = [name.removesuffix("s") for name in columns]
        rows = (dict(zip(keys, row, strict=True)) for row in zip(*columns.values(), strict=True))
        try:
            done = subprocess.run(
                shlex.split(self.text),
                input="".join(f"{json.dumps(row)}\n" for row in rows),
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                cwd=self.folder,
                check=False,
            )
        except OSError as error:
            raise ScorerFailed(f"--scorer {self.text}: cannot be run ({error})") from error
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["it says nothing on stderr"]
            raise ScorerFailed(
                f"--scorer {self.text}: fails with exit code {done.returncode}: {said[-1].strip()}"
            )
        return [line.strip() for line in done.stdout.splitlines() if line.strip()]


@dataclass(frozen=True, kw_only=True)
class ScoredLater:
    """lm-eval's `process_results` of a task whose answers a scorer gets: all of a repeat at its end."""

    scorer: Scorer

    def __call__(self, document: Mapping[str, str], results: Sequence[str]) -> dict[str, float]:
        """What stands in an answer's place until then."""
        return {self.scorer.name: 0.0}

    def scored(self, records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """lm-eval's records of one repeat with their scores.

        Raises:
            ScorerFailed: as of `Scorer.score`.
        """
        values = self.scorer.score(
            [str(record["filtered_resps"][0]) for record in records],
            [record["doc"]["reference"] for record in records],
            [record["doc"]["prompt"] for record in records],
        )
        pairs = zip(records, values, strict=True)
        return [{**record, self.scorer.name: value} for record, value in pairs]


def scorer_of(options: ScoringOptions) -> Scorer | None:
    """The scorer that the options name, found; None where they name none.

    Raises:
        InputError: it is not there, takes other arguments, or comes with flags of a task's metrics.
    """
    if options.scorer is None:
        return None
    for name in OF_A_METRIC:
        if getattr(options, name) is not None:
            raise InputError(f"--{name}: a scorer gives one score, larger is better: leave it out")
    return read_scorer(options.scorer)


def read_scorer(given: str | Callable[..., Any]) -> Scorer:
    """A scorer as the user names it: `module:function`, a command, or from Python a function.

    Raises:
        InputError: there is none of this name, or it takes other arguments.
    """
    folder = str(Path.cwd())
    if not isinstance(given, str):
        return _of_function(given, folder)
    if FUNCTION.fullmatch(given):
        function = _function(given, folder, fresh=True)
        _wanted(given, function)
        return Scorer(text=given, folder=folder, code=_hash(_source(given, function)))
    words = _words(given)
    if shutil.which(Path(folder, words[0]) if "/" in words[0] else words[0]) is None:
        raise InputError(
            f"--scorer {given}: {words[0]} is no command that can be run; give one, or a Python function of "
            "the current folder as module:function"
        )
    return Scorer(
        text=given,
        folder=folder,
        code=_hash(b"".join(path.read_bytes() for path in _files(words, folder))),
    )


def _of_function(given: Callable[..., Any], folder: str) -> Scorer:
    if not inspect.isfunction(given):
        raise InputError(f"scorer {shown(given)}: give a function, module:function, or a command")
    text = f"{given.__module__}:{given.__qualname__}"
    _wanted(text, given)
    code = _hash(_source(text, given, whole=False))
    return Scorer(text=text, folder=folder, code=code, function=given)


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"--scorer {text}: not a command line ({error})") from None
    if not words:
        raise InputError("--scorer: is empty; give module:function or a command")
    return words


def _files(words: Sequence[str], folder: str) -> list[Path]:
    """The words of a command that are files, its script, say, or modules of the folder behind `-m`."""
    modules = [after.replace(".", "/") for before, after in pairwise(words) if before == "-m"]
    named = [*words, *(f"{m}{end}" for m in modules for end in (".py", "/__main__.py"))]
    return [path for word in named if (path := Path(folder, word)).is_file()]


def _hash(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()[:16] if source else ""


def _source(text: str, function: Callable[..., Any], *, whole: bool = True) -> bytes:
    """The file of a function; its own lines where it is not named by its file, but given by a call.

    A call stands in a script or a notebook, which changes with every other setting.
    """
    try:
        path = Path(inspect.getfile(inspect.unwrap(function)))
        return path.read_bytes() if whole else inspect.getsource(function).encode()
    except (OSError, TypeError):
        raise InputError(
            f"--scorer {text}: its source is not known, so that scores of another could be taken for its "
            "own: put it into a file"
        ) from None


def _function(text: str, folder: str, *, fresh: bool = False) -> Callable[..., Any]:
    """The function that `module:function` names.

    Args:
        text: what was given.
        folder: goes before installed modules.
        fresh: import a module of the folder again that has changed since it was imported.
    """
    name, _, attribute = text.partition(":")
    try:
        with _importing_from(folder), redirect_stdout(sys.stderr):
            module = _imported(name, folder, fresh=fresh)
    except (Exception, SystemExit) as error:
        missing = getattr(error, "name", None)
        if (
            isinstance(error, ModuleNotFoundError)
            and missing
            and f"{name}.".startswith(f"{missing}.")
        ):
            raise InputError(
                f"--scorer {text}: no module {missing} in {folder}, nor installed: start where it lies"
            ) from None
        raise InputError(f"--scorer {text}: cannot be imported: {_told(error)}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        where = getattr(module, "__file__", None) or name
        raise InputError(f"--scorer {text}: {where} has no function {attribute}")
    return function  # type: ignore[no-any-return]


def _imported(name: str, folder: str, *, fresh: bool) -> Any:
    known = sys.modules.get(name)
    importlib.invalidate_caches()
    module = importlib.import_module(name)
    file = Path(getattr(module, "__file__", None) or "/")
    if not (fresh and file.is_relative_to(folder)):
        return module
    now = _hash(file.read_bytes())
    if known is not None and _IMPORTED.get(name) != now:
        module = importlib.reload(module)
    _IMPORTED[name] = now
    return module


@contextmanager
def _importing_from(folder: str) -> Iterator[None]:
    """Within the block, modules of a folder go before installed ones."""
    before = list(sys.path)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path[:] = before


def _wanted(text: str, function: Callable[..., Any]) -> list[str]:
    """Which of ARGUMENTS a function takes."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise InputError(f"--scorer {text}: what it takes is not known; {_signature()}") from None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return list(ARGUMENTS)
    others = [
        p.name
        for p in parameters
        if p.kind is not p.VAR_POSITIONAL
        and (p.kind is p.POSITIONAL_ONLY or (p.name not in ARGUMENTS and p.default is p.empty))
    ]
    wanted = [p.name for p in parameters if p.name in ARGUMENTS]
    if others or "answers" not in wanted:
        what = f"takes {', '.join(others)}" if others else "takes no answers"
        raise InputError(f"--scorer {text}: {what}; {_signature()}")
    return wanted


def _signature() -> str:
    return "its arguments have to be called answers, references and prompts, or be some of these"


def _told(error: BaseException, own: str | None = None) -> str:
    """An exception of the user's code in one line: its class, its text, where it was raised.

    Args:
        error: as it was caught here.
        own: the user's file, whose last line counts where it is in the traceback.
    """
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in frames if frame.filename == own] or [
        frame for frame in frames if "importlib" not in frame.filename
    ]
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError):  # which says its file and line itself
        return said
    return f"{said} ({mine[-1].filename}, line {mine[-1].lineno})"


def _numbers(text: str, found: Any, count: int) -> list[float]:
    """What a scorer gave as finite numbers from 0 to 1, one for each answer."""
    try:
        values = list(found)
    except TypeError:
        raise ScorerFailed(
            f"--scorer {text}: gives {shown(found)}, not a list of numbers"
        ) from None
    if len(values) != count:
        raise ScorerFailed(
            f"--scorer {text}: gives {len(values)} scores for {count} answers: one for each is needed"
        )
    numbers = []
    for place, value in enumerate(values, 1):
        try:
            numbers.append(float(value))
        except (TypeError, ValueError):
            raise ScorerFailed(
                f"--scorer {text}: score {place} is {shown(value)}, not a number"
            ) from None
        if not 0 <= numbers[-1] <= 1:
            raise ScorerFailed(
                f"--scorer {text}: score {place} is {numbers[-1]:g}: a score is a number from 0 to 1, larger "
                "is better"
            )
    return numbers
