"""Scores a model in memory on lm-eval tasks, one value per document and repeat, so that arms can be paired.

Greedy scores are those of `lm-eval run --seed S` with the same
batch size, dtype and number of threads.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import TemplateError

from advisor.chat.bounded_sandbox import bound_templates
from advisor.errors import InputError
from advisor.names import did_you_mean
from harness.evaluate.held_out import CHOOSING, TOKENS
from harness.evaluate.lm_eval_rows import Record, rows_of
from harness.evaluate.score_choice import (
    FIRST,
    Asked,
    Name,
    Told,
    choose,
    names_in,
    refuse_unfit,
    score_of,
)
from harness.evaluate.trained_tokens import TrainedTokens
from harness.evaluate.trusted_tasks import confined, own_files, refuse_code
from harness.evaluate.user_scorer import ScoredLater
from harness.records.runs import Score
from harness.runtime.quiet import held_at_none, quiet, undisturbed, without_remarks

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TASKS = tuple(Path(__file__).parents[1] / name / "tasks" for name in ("ladder", "gym"))
"""Folders of the task files that come with the package."""
PARTS = ("development", "test", "all")
DEVELOPMENT_SHARE = 0.25
REPEAT_STRIDE = 1_000_003  # more than any study's seeds, so that no repeat is another seed's


STOPS = "stop_strings"
"""Field of a generation config: texts at which answers end."""


class TaskNotLoaded(InputError):
    """A task that cannot be loaded, whichever model is scored."""


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """What does not depend on the task."""

    temperature: float
    limit: int | None
    seed: int
    part: str
    num_fewshot: int | None
    chat: bool
    multiturn: bool
    generated_only: bool
    trusted: bool


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[str | Path | Mapping[str, Any]],
    *,
    temperature: float,
    repeats: int = 1,
    limit: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
    part: str = "test",
    include_path: str | Path | None = None,
    num_fewshot: int | None = None,
    apply_chat_template: bool | str = False,
    fewshot_as_multiturn: bool | None = None,
    asked: Asked = FIRST,
    generated_only: bool = False,
    trust_remote_code: bool = False,
) -> list[Score]:
    """One Score per task, groups and tags spelled out; global random states are left as they were.

    Args:
        model: used where it is, and left in the mode it was in.
        tokenizer: its own; a copy is used.
        tasks: lm-eval names, with our `ladder_chain`, ... and `gym_gcd`, ... (`ladder` and `gym` are all
            of them); paths of task files; or task configurations such as `held_out.py` makes.
        temperature: of generated answers; 0 is greedy. Sampling is from the whole distribution unless
            the task or the model's generation config sets top_k or top_p. Multiple-choice and
            likelihood tasks do not depend on it: their Score has temperature None.
        repeats: generated answers per document, each with its own seed and each scored.
        limit: the first so many documents of the part.
        batch_size: documents at a time; padding makes it part of the last digits.
        seed: of few-shot examples and sampling.
        part: "test", "development" or "all". The validation split is the development part where lm-eval
            evaluates another; elsewhere it is a fixed quarter of the documents, of the user's own rows a half
            and at most 100, chosen by their content, "test" the others and "all" what lm-eval evaluates.
        include_path: folder with task files of the user's own.
        num_fewshot: None: as the task says.
        apply_chat_template: prompts as chats, by the tokenizer's own template or by the one that is given.
        fewshot_as_multiturn: few-shot examples as turns of the chat; None: where prompts are chats, as
            lm-eval does.
        asked: which of a task's scores, where it is not the first.
        generated_only: leave out tasks whose Score would have temperature None: for a second temperature.
        trust_remote_code: run code that the user's task files name (see `trusted_tasks.py`).

    Raises:
        InputError: an unknown task, one whose data cannot be had, one that needs code which is not allowed,
            one without a score per document, or a scorer of the user's that fails.
    """
    if part not in PARTS:
        raise InputError(f"part {part!r}: not one of {', '.join(PARTS)}")
    chat = bool(apply_chat_template)
    settings = _Settings(
        temperature=temperature,
        limit=limit,
        seed=seed,
        part=part,
        num_fewshot=num_fewshot,
        chat=chat,
        multiturn=chat if fewshot_as_multiturn is None else fewshot_as_multiturn,
        generated_only=generated_only,
        trusted=trust_remote_code,
    )
    with (
        undisturbed(model),
        # `generate` cannot look for texts without a tokenizer, which lm-eval does not hand it
        held_at_none(model.generation_config, [STOPS]) as own,
        quiet(),
        confined(trusted=trust_remote_code),
    ):
        lm = _language_model(model, tokenizer, apply_chat_template, batch_size)
        lm.ends = _texts(own[STOPS])
        scores, found = [], dict[str, Sequence[Name]]()
        for spec in tasks:
            runs = _repeats(lm, spec, include_path, settings, repeats if temperature > 0 else 1)
            for name, (task, records) in runs.items():
                score, found[name] = _score(name, task, records, asked, settings)
                scores.append(score)
    if not generated_only:  # which leaves out tasks that may have what is asked for
        refuse_unfit(found, asked)
    return scores


def _language_model(model: Any, tokenizer: Any, template: bool | str, batch_size: int) -> Any:
    """The model as lm-eval calls it, with a chat template of its own where one is given."""
    from lm_eval.models.huggingface import HFLM

    from advisor.model.padding import reads_padding
    from harness.evaluate.lm_eval_model import TrainedPrompts

    bound_templates()
    own = deepcopy(tokenizer)
    if isinstance(template, str):
        own.chat_template = template
    together = 1 if reads_padding(model) else batch_size
    lm = TrainedPrompts(pretrained=model, tokenizer=own, batch_size=together, backend="causal")
    # Once made, it speaks of truncated prompts alone.
    logging.getLogger(HFLM.__module__).setLevel(logging.WARNING)
    return lm


def _score(
    name: str, task: Any, runs: Sequence[Sequence[Record]], asked: Asked, settings: _Settings
) -> tuple[Score, Sequence[Name]]:
    """The score of a task's records of every repeat, and the names of all that it has."""
    told = Told(
        higher_is_better=task.higher_is_better(), metric_list=task.get_config("metric_list") or ()
    )
    rows = [rows_of(records, ()) for records in runs]
    names = names_in(rows[0], told)
    score, _ = score_of(
        name,
        rows,
        choose(name, names, asked),
        told,
        asked=asked,
        temperature=settings.temperature if _generates(task) else None,
        part=settings.part,
    )
    return score, names


def _generates(task: Any) -> bool:
    return bool(task.OUTPUT_TYPE == "generate_until")


def _repeats(
    lm: Any, spec: Any, include_path: str | Path | None, settings: _Settings, repeats: int
) -> dict[str, tuple[Any, list[list[Record]]]]:
    """Task name to the task and its records of every repeat; only generated answers are repeated."""
    import torch

    runs: dict[str, tuple[Any, list[list[Record]]]] = {}
    for repeat in range(repeats):
        random.seed(settings.seed)  # before loading, as lm-eval does
        np.random.seed(settings.seed)  # noqa: NPY002  # what lm-eval's tasks draw from
        for name, task in _load(spec, include_path, trusted=settings.trusted).items():
            if _generates(task) or (repeat == 0 and not settings.generated_only):
                # For every task anew, so that its answers do not hang on what else is asked.
                torch.manual_seed(settings.seed + REPEAT_STRIDE * repeat)
                records = _run(lm, task, settings)
                runs.setdefault(name, (task, []))[1].append(records)
    return runs


def _run(lm: Any, task: Any, settings: _Settings) -> list[Record]:
    """What lm-eval's `simple_evaluate` does with one task, less its calls of git, pip and the hub."""
    from lm_eval.evaluator import evaluate as lm_evaluate

    _configure(lm, task, settings)
    chosen = _choose_documents(task, settings)
    try:
        results: Any = lm_evaluate(
            lm,
            {"tasks": {task.task_name: task}},
            limit=settings.limit if chosen is None else None,
            samples=None if chosen is None else {task.task_name: chosen},
            bootstrap_iters=0,
            apply_chat_template=settings.chat,
            fewshot_as_multiturn=settings.multiturn,
        )
    except (
        AssertionError,
        TypeError,
        ValueError,
        TemplateError,
    ) as error:  # of a task's own code too
        raise InputError(f"task {task.task_name}: {_one_line(error)}") from error
    records: list[Record] = results["samples"][task.task_name]
    judge = task.get_config("process_results")
    return judge.scored(records) if isinstance(judge, ScoredLater) else records


def _configure(lm: Any, task: Any, settings: _Settings) -> None:
    lm.tokens = (task.get_config("metadata") or {}).get(TOKENS, TrainedTokens())
    own = task.get_config("num_fewshot")
    if own is None or (settings.num_fewshot is not None and own != 0):  # 0 is a task's veto
        task.set_config("num_fewshot", settings.num_fewshot or 0)
    task.set_fewshot_seed(settings.seed)
    if not _generates(task):
        return
    given = task.get_config("generation_kwargs") or {}
    heat = float(settings.temperature)
    decoding: dict[str, Any] = {"do_sample": heat > 0, "temperature": heat}
    if heat > 0 and lm.model.generation_config.top_k is None:
        # Without a word from anyone transformers samples from the 50 likeliest tokens.
        decoding["top_k"] = given.get("top_k", 0)
    if lm.ends:
        decoding["until"] = [*_texts(given.get("until")), *lm.ends]
    task.set_config("generation_kwargs", decoding, update=True)


def _choose_documents(task: Any, settings: _Settings) -> list[int] | None:
    """Numbers of the part's documents; None: all that lm-eval evaluates."""
    development, test = task.get_config("validation_split"), task.get_config("test_split")
    if settings.part == "all":
        return None
    if development and test and development != test:
        if settings.part == "development":
            task.set_config("test_split", development)  # so that few-shot examples leave it out too
        return None
    documents = list(task.eval_docs)
    own = _development(documents, (task.get_config("metadata") or {}).get(CHOOSING))
    wanted = settings.part == "development"
    chosen = [i for i in range(len(documents)) if (i in own) == wanted]
    if not chosen:
        raise InputError(f"task {task.task_name}: no document falls into its {settings.part} part")
    return chosen[: settings.limit]


def _development(documents: Sequence[Any], number: int | None) -> set[int]:
    """Numbers of the documents that choose: a quarter by their content, or so many as a task asks for."""
    marks = [
        hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).digest()
        for document in documents
    ]
    if number is None:
        return {i for i, mark in enumerate(marks) if mark[0] < 256 * DEVELOPMENT_SHARE}
    return set(sorted(range(len(marks)), key=marks.__getitem__)[:number])


def task_names(
    spec: Any, include_path: str | Path | None = None, *, trust_remote_code: bool = False
) -> list[str]:
    """The names under which the tasks of a name, group, file or configuration are scored.

    Raises:
        InputError: there is no such task, it cannot be loaded, or it needs code which is not allowed.
    """
    # the bars stay: data may have to be downloaded
    with without_remarks(), confined(trusted=trust_remote_code):
        return list(_load(spec, include_path, trusted=trust_remote_code))


def task_files(spec: str, include_path: str | Path | None = None) -> list[Path]:
    """The user's files that a task is made of; none of lm-eval's own tasks.

    Raises:
        InputError: there is no such task, or a file cannot be read.
    """
    manager = _manager_for(spec, str(include_path) if include_path else None)
    return own_files(spec, manager.task_index)


def questions(
    spec: Any, include_path: str | Path | None = None, *, trust_remote_code: bool = False
) -> dict[str, list[str]]:
    """Task name to what its documents ask, without examples; what asks nothing is there as its longest text.

    Raises:
        InputError: as of `task_names`.
    """
    with without_remarks(), confined(trusted=trust_remote_code):
        loaded = _load(spec, include_path, trusted=trust_remote_code)
        return {
            name: [_asked(task, document) for document in task.eval_docs]
            for name, task in loaded.items()
        }


def _asked(task: Any, document: Any) -> str:
    """What a document asks; of a text that is only read, or the number of a choice, the document itself."""
    text = task.doc_to_text(document)
    if isinstance(text, str) and text.strip():
        return text
    values = document.values() if isinstance(document, Mapping) else ()
    return max((value for value in values if isinstance(value, str)), key=len, default="")


def _texts(given: str | Sequence[str] | None) -> list[str]:
    """What is one text, several, or none."""
    return [given] if isinstance(given, str) else list(given or ())


def _load(spec: Any, include_path: str | Path | None, *, trusted: bool) -> dict[str, Any]:
    """Task name to task, for one name, path or configuration; freshly made, since running changes them."""
    manager = _manager_for(spec, str(include_path) if include_path else None)
    refuse_code(spec, manager.task_index, trusted=trusted)
    asked = spec["task"] if isinstance(spec, Mapping) else spec
    try:
        loaded = manager.load([deepcopy(dict(spec)) if isinstance(spec, Mapping) else str(spec)])
    except Exception as error:  # a task file may run any code and ask for any data
        raise TaskNotLoaded(f"task {asked}: cannot be loaded ({_one_line(error)})") from error
    tasks: dict[str, Any] = loaded["tasks"]
    return tasks


def _manager_for(spec: Any, include_path: str | None) -> Any:
    """lm-eval's index of tasks, without its own where they are not asked for: reading those takes seconds."""
    local = _manager(include_path, False)
    if isinstance(spec, Mapping) or str(spec) in {*local.all_subtasks, *local.all_tags}:
        return local
    if Path(spec).is_file():
        if re.search("^group:", Path(spec).read_text(encoding="utf-8"), re.MULTILINE):
            raise InputError(
                f"task {spec}: a group: give its name, and its folder with --include_path"
            )
        return local
    full = _manager(include_path, True)
    if str(spec) not in full.all_tasks:
        near = did_you_mean(str(spec), full.all_tasks)
        hint = near or "`lm-eval ls tasks` lists lm-eval's"
        raise InputError(
            f"task {spec}: neither a task of lm-eval or --include_path nor a file: {hint}"
        )
    return full


@lru_cache
def _manager(include_path: str | None, defaults: bool) -> Any:
    from lm_eval.tasks import TaskManager

    if include_path and not Path(include_path).is_dir():
        raise InputError(f"--include_path {include_path}: no such folder")
    folders: list[str | Path] = [*TASKS, *([include_path] if include_path else [])]
    return TaskManager(include_path=folders, include_defaults=defaults)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
