"""Rewriting of a dataset in the model's own words: the targets change instead of the weights.

Pipeline of DDT (arXiv:2602.12222). The model first answers unaided; a right answer is kept as it is.
Where it fails, hinted decoding (`harness.generate.hinted`) writes the demonstration anew, and only
verified answers are kept. The result is a dataset in the format of the input; what came of each row stands
in a file beside it, written row by row, so that a killed rewriting goes on where it stopped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from advisor.data.dataset import SFTDataset
from advisor.data.edit import check_editable, question_and_answer, with_completion, with_question
from advisor.data.formats import Format, Row, detect
from advisor.errors import InputError
from advisor.files import publish
from advisor.model.load import LoadedModel
from advisor.progress import Progress, untold
from harness.evaluate.final_answers import ANSWER_PATTERNS, compile_pattern, extract_answer
from harness.generate.decoding import prompt_of, refuse_padded, text_of
from harness.generate.first_rows import SMALL, FirstRows
from harness.generate.hint import ending_of, fill
from harness.generate.hinted import (
    Answer,
    Mixing,
    analyses,
    hinted_answers,
    plain_answers,
)
from harness.generate.own_answers import answers_of
from harness.generate.provenance import KEPT, Outcome, Provenance
from harness.generate.rewrite_settings import DEFAULT, SPLITTERS, Settings, splitter_of
from harness.generate.turn_end import turn_end_of
from harness.runtime.memory import largest_that_fits
from harness.runtime.quiet import quiet, undisturbed

NOT_HINTED = ("own", "no_target", "unverifiable", "too_long")

Read = Callable[[Sequence[Mapping[str, Any]]], SFTDataset]


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """What came of a dataset."""

    rows: int
    written: int
    """Rows of the new dataset."""
    origins: dict[str, int]
    """Number of rows by `Outcome.origin`."""
    marker_missing_rate: float | None
    """Share of rows given to hinted decoding whose analysis lacks the marker; None: no such row or marker."""
    own_share: float | None
    """Mean of the hinted rows' `own_share`."""
    path: str
    provenance: str
    """File with the settings on its first line and an `Outcome` on each other."""

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def rewrite(
    loaded: LoadedModel,
    dataset: SFTDataset,
    read: Read,
    path: Path,
    settings: Settings = DEFAULT,
    *,
    fields: tuple[str | None, str | None] = (None, None),
    on_progress: Progress = untold,
    say: Callable[[str], None] = lambda line: None,
) -> Rewritten:
    """Write the rewritten dataset to `path`, as JSON Lines in the format of the source.

    Args:
        loaded: the model whose words are wanted.
        dataset: prompts and demonstrations.
        read: source rows to a dataset, as `dataset` was read but with a `max_length` of the model's whole
            context, which a hint and an analysis need.
        path: a .jsonl file; the provenance goes beside it, and is taken up again where it is there.
        settings: of the rewriting.
        fields: names of the columns with prompt and completion, as `dataset` was read with.
        on_progress: told the rows done and their number.
        say: told, after the first few rows, where all fail for one reason, and how to mend it.

    Raises:
        InputError: the final answer cannot be found, the format has no prompt, or nothing is verified.
    """
    job = _Job(loaded, dataset, read, settings, fields)
    provenance = Provenance(path.with_suffix(".provenance.jsonl"), _header(loaded, dataset, job))
    order = sorted(
        set(range(len(dataset))) - provenance.outcomes.keys(),
        key=lambda row: (len(dataset[row].input_ids), row),
    )
    first = FirstRows(say, job.splitter)
    with undisturbed(loaded.model), quiet():
        loaded.model.eval()
        start, size = 0, settings.batch_size
        while start < len(order):
            few = size > SMALL and first.waits(provenance.outcomes.values())

            def done(size: int, start: int = start) -> tuple[int, list[Outcome]]:
                return size, job.run(order[start : start + size])

            taken, outcomes = largest_that_fits(done, SMALL if few else size, "rows")
            size = size if few and taken == SMALL else taken
            provenance.append(outcomes)
            start += taken
            first.look(provenance.outcomes.values())
            on_progress(len(provenance.outcomes), len(dataset))
    return _publish(path, dataset, job, provenance)


def _header(loaded: LoadedModel, dataset: SFTDataset, job: _Job) -> dict[str, Any]:
    """What the outcomes depend on."""
    settings = {
        k: v
        for k, v in asdict(job.settings).items()
        if k not in ("method", "batch_size", "keep_failed")
    }
    return {
        "method": job.settings.method,
        "model": {"name": loaded.name, "fingerprint": loaded.fingerprint, "dtype": loaded.dtype},
        "dataset": {
            "name": dataset.info.name,
            "fingerprint": dataset.info.fingerprint,  # of its files: those of every split
            "split": dataset.info.split,
            "fields": list(job.fields),
            "rows": len(dataset),
            "format": dataset.info.format,
            "template": dataset.info.template_hash,
            "max_length": dataset.info.max_length,
        },
        "reading": _reading(dataset),
        "settings": settings,
    }


def _reading(dataset: SFTDataset) -> dict[str, Any]:
    """How the rows are read, by option, beside what a header says of the dataset; None: not chosen."""
    said = dataset.options.said()
    elsewhere = ("split", "prompt_field", "completion_field", "chat_template", "max_length")
    kept = {name: value for name, value in said.items() if name not in elsewhere}
    return {**kept, "eos_token": dataset.info.eos_token}


def _publish(path: Path, dataset: SFTDataset, job: _Job, provenance: Provenance) -> Rewritten:
    outcomes = [provenance.outcomes[row] for row in range(len(dataset))]
    rows = [
        dataset.raw(outcome.row) if outcome.completion is None
        else with_completion(dataset.raw(outcome.row), job.format, outcome.completion)
        for outcome in outcomes
        if outcome.origin in KEPT or job.settings.keep_failed
    ]  # fmt: skip
    origins = Counter(outcome.origin for outcome in outcomes)
    if not origins.keys() & set(KEPT):
        found = ", ".join(f"{number} {origin}" for origin, number in origins.most_common())
        raise InputError(
            f"{dataset.info.name}: no answer of the model is verified ({found}); {provenance.path} has every "
            "row's outcome: try another --hint or a stronger model"
        )
    lines = (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    # Half a surrogate pair, which UTF-8 cannot hold, is escaped as JSON does it.
    content = "".join(lines).encode(errors="backslashreplace")
    publish(path, content, subject=str(path), remedy="give another --output_path")
    hinted = sum(number for origin, number in origins.items() if origin not in NOT_HINTED)
    shares = [outcome.own_share for outcome in outcomes if outcome.own_share is not None]
    return Rewritten(
        rows=len(dataset),
        written=len(rows),
        origins=dict(origins),
        marker_missing_rate=origins["marker_missing"] / hinted
        if hinted and job.settings.marker
        else None,
        own_share=sum(shares) / len(shares) if shares else None,
        path=str(path),
        provenance=str(provenance.path),
    )


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A row that can be rewritten."""

    row: int
    prompt: list[int]
    truth: str


class _Job:
    """Rows to outcomes; a row's outcome does not depend on those beside it."""

    def __init__(
        self,
        loaded: LoadedModel,
        dataset: SFTDataset,
        read: Read,
        settings: Settings,
        fields: tuple[str | None, str | None],
    ) -> None:
        self.loaded, self.dataset, self.read, self.fields = loaded, dataset, read, fields
        weight = dataset.options.weight_field
        self.format = detect(dataset.info.columns, dataset.raw(0), *fields, weight)
        check_editable(dataset.info.name, self.format, dataset.raw(0))
        if settings.method == "hinted":
            refuse_padded(loaded, "hinted decoding", ", or --method cascade")
        pattern = answers_of(dataset, settings.answer_regex)
        if pattern is None:
            raise InputError(_unmarked(dataset, self.format))
        splitter = splitter_of(pattern, settings.splitter)
        self.pattern = compile_pattern(pattern)
        self.mixing = Mixing(splitter=splitter, beta=settings.beta)
        self.splitter = splitter
        self.turn_end = turn_end_of(dataset)
        self.settings = replace(settings, answer_regex=pattern, splitter=splitter)

    def run(self, rows: Sequence[int]) -> list[Outcome]:
        """The outcomes of these rows, in any order."""
        found: dict[int, Outcome] = {}
        tasks = [task for row in rows if (task := self._task(row, found))]
        for attempt in range(self.settings.tries):
            tasks = [task for task in tasks if task.row not in found]
            for outcome in self._unaided(tasks, attempt):
                if outcome.origin == "own":
                    found[outcome.row] = outcome
        left = [task for task in tasks if task.row not in found]
        return [*found.values(), *self._hinted(left)]

    def _task(self, row: int, found: dict[int, Outcome]) -> _Task | None:
        example = self.dataset[row]
        if not example.target_tokens:  # such a row may be one that cannot be read
            found[row] = Outcome(row=row, origin="no_target")
            return None
        truth = extract_answer(
            question_and_answer(self.dataset.raw(row), self.format)[1], self.pattern
        )
        if truth is not None:
            return _Task(row=row, prompt=prompt_of(example), truth=truth)
        found[row] = Outcome(row=row, origin="unverifiable")
        return None

    def _unaided(self, tasks: Sequence[_Task], attempt: int) -> Iterator[Outcome]:
        if not tasks:
            return
        numbers = [self._uniforms(task, attempt, self._room(task)) for task in tasks]
        prompts = [task.prompt for task in tasks]
        answers = plain_answers(self.loaded, prompts, numbers, self.settings.sampling)
        for task, answer in zip(tasks, answers, strict=True):
            yield self._judged(task, answer, "own")

    def _hinted(self, tasks: Sequence[_Task]) -> Iterator[Outcome]:
        """Hinted decoding, after the analysis where there is one."""
        prompts, limit = self._hinted_prompts(tasks)
        for task in tasks:
            if task.row not in prompts:
                yield Outcome(row=task.row, origin="too_long")
        tasks = [task for task in tasks if task.row in prompts]
        analysed = self._analysed(tasks, prompts, limit)
        for row in prompts.keys() - analysed.keys():
            yield Outcome(row=row, origin="marker_missing")
        tasks = [task for task in tasks if task.row in analysed]
        if not tasks:
            return
        hinted, plain = [analysed[task.row] for task in tasks], [task.prompt for task in tasks]
        numbers = [
            self._uniforms(task, self.settings.tries, min(self._room(task), limit - len(prompt)))
            for task, prompt in zip(tasks, hinted, strict=True)
        ]
        sampling = self.settings.sampling
        if self.settings.method == "cascade":
            guided = plain_answers(self.loaded, hinted, numbers, sampling)
            for task, answer in zip(tasks, guided, strict=True):
                yield self._judged(task, answer, "guided")
            return
        answers = hinted_answers(self.loaded, hinted, plain, numbers, sampling, self.mixing)
        for task, answer in zip(tasks, answers, strict=True):
            outcome = self._judged(task, answer, "hinted")
            yield replace(outcome, own_share=answer.own_share)

    def _hinted_prompts(self, tasks: Sequence[_Task]) -> tuple[dict[int, list[int]], int]:
        """Row -> its prompt with the hint, where the context has room for an analysis and an answer too."""
        if not tasks:
            return {}, 0
        asked = self.read([self._with_hint(self.dataset.raw(task.row)) for task in tasks])
        limit = asked.info.max_length
        prompts = {
            task.row: prompt_of(example)
            for task, example in zip(tasks, asked, strict=True)
            if example.target_tokens
        }
        reference = {
            task.row: len(self.dataset[task.row].input_ids) - len(task.prompt) for task in tasks
        }
        parts = 2 if self.settings.marker else 1
        return {
            row: prompt
            for row, prompt in prompts.items()
            if len(prompt) + parts * reference[row] <= limit
        }, limit

    def _with_hint(self, row: Row) -> dict[str, Any]:
        question, answer = question_and_answer(row, self.format)
        text = fill(
            self.settings.hint, question, answer, ending_of(answer, self.pattern, self.splitter)
        )
        return with_question(row, self.format, text)

    def _analysed(
        self, tasks: Sequence[_Task], prompts: dict[int, list[int]], limit: int
    ) -> dict[int, list[int]]:
        """The prompts with what the model writes up to the marker; without those where it does not."""
        marker = self.settings.marker
        if marker is None or not tasks:
            return prompts
        hinted = [prompts[task.row] for task in tasks]
        lengths = [
            max(1, min(self._room(task), (limit - len(prompt)) // 2))  # the rest is the answer's
            for task, prompt in zip(tasks, hinted, strict=True)
        ]
        found = analyses(self.loaded, hinted, marker, lengths)
        return {
            task.row: prompt + analysis
            for task, prompt, analysis in zip(tasks, hinted, found, strict=True)
            if analysis is not None
        }

    def _room(self, task: _Task) -> int:
        """Longest answer that leaves the row within the dataset's `max_length`, in tokens."""
        room = self.dataset.info.max_length - len(task.prompt)
        return max(1, min(room, self.settings.max_new_tokens or room))

    def _uniforms(self, task: _Task, attempt: int, length: int) -> torch.Tensor:
        """Random numbers [length] that depend on seed, row and attempt alone."""
        numbers = np.random.default_rng([self.settings.seed, task.row, attempt])
        return torch.from_numpy(numbers.random(length, dtype=np.float32))

    def _judged(self, task: _Task, answer: Answer, origin: str) -> Outcome:
        if answer.repeated or not answer.ended:
            return Outcome(row=task.row, origin="repeated" if answer.repeated else "unfinished")
        text = self._said(answer.tokens)
        said_last = extract_answer(text, self.pattern)
        if said_last != task.truth:
            return Outcome(row=task.row, origin="unmarked" if said_last is None else "wrong")
        return Outcome(row=task.row, origin=origin, completion=text)

    def _said(self, tokens: list[int]) -> str:
        """The text of a finished answer without what ends it, which need not be a special token."""
        within = tokens[-1] in self.turn_end.pieces
        text = text_of(self.dataset.tokenizer, tokens if within else tokens[:-1])
        return self.turn_end.cut_off(text, within=within).strip()


def _unmarked(dataset: SFTDataset, format: Format) -> str:
    """Why no known pattern finds every final answer: the one that finds most, and where it fails."""
    answers = {
        row: question_and_answer(dataset.raw(row), format)[1]
        for row, example in enumerate(dataset)
        if example.target_tokens and not example.truncated
    }
    missing = {
        name: [row for row, text in answers.items() if extract_answer(text, compiled) is None]
        for name, compiled in ((name, compile_pattern(p)) for name, p in ANSWER_PATTERNS.items())
    }
    name, rows = min(missing.items(), key=lambda item: len(item[1]))
    found = len(answers) - len(rows)
    if not (rows and found):
        return (
            f"{dataset.info.name}: answers cannot be verified, no known mark of the final answer (####, "
            "\\boxed{}) stands in every demonstration: give --answer_regex"
        )
    return (
        f"{dataset.info.name}: row {rows[0]} (counted from 0) has no final answer after {SPLITTERS[name]}, "
        f"which {found} of {len(answers)} rows have: mend such rows or take them out, or pass over them with "
        f"--answer_regex '{ANSWER_PATTERNS[name]}'"
    )
