"""`advisor compare`: which arm is better, by how much, and whether that is more than noise.

Takes records of runs and lm-eval's logged samples. Records become studies (`from_records.evidence_of`), whose
verdict and rows are those of `confirm`, `report` and `calibrate`; logs join the studies that have the same
task, or stand by themselves. Needs no torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from advisor.errors import InputError
from advisor.files import find
from harness.compare.lm_eval_logs import find_logs
from harness.compare.logs import fits, joined, logged, logs_for
from harness.compare.measured import Measured, refuse_differing
from harness.records.arm import BASE, LOGGED, NLL, Arm, labels
from harness.records.runs import Run, read_run
from harness.statistics.power import documents_needed
from harness.study.contrasts import Board, Race, Row, contrasts, paired
from harness.study.from_records import Evidence, evidence_of, settings_of
from harness.study.study import board_unit
from harness.study.verdict import settle


@dataclass(frozen=True, kw_only=True)
class Level:
    """Where an arm stands on one task."""

    arm: Arm
    task: str
    """As in the rows."""
    temperature: float | None
    """As in the rows."""
    mean: float
    """Over seeds and documents, in the unit of the rows."""
    seeds: int
    """Runs."""
    documents: int
    """Of the first run."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Arms against a baseline and against the base."""

    baseline: str
    """Text of the baseline."""
    rows: tuple[Row, ...]
    """Per task and temperature, every arm against the baseline, then against the base."""
    levels: tuple[Level, ...]
    """Per task and temperature, every arm: the base first, then the baseline."""
    headlines: tuple[str, ...]
    """The verdict on each study, a sentence or two; none for logs."""
    notes: tuple[str, ...]
    """What was chosen, left out, or differs between arms and should not."""
    labels: Mapping[Arm, str]
    """Every arm and baseline to its text."""
    unfinished: frozenset[str]
    """Tasks of the rows whose study is not complete, or cannot be settled."""
    of_logs: frozenset[str]
    """Tasks of the rows that are of logs alone."""

    def table(self) -> list[dict[str, Any]]:
        """The rows as dictionaries, for JSON."""
        return [
            {
                "arm": self.labels[row.arm],
                "baseline": self.labels[row.baseline],
                "task": row.task,
                "temperature": row.temperature,
                "difference": row.difference.estimate,
                "interval": list(row.difference.interval),
                "p_value": row.adjusted_p,
                "verdict": row.verdict,
                "seeds": row.difference.seeds,
                "dropped": row.dropped,
                "complete": row.task not in self.unfinished,
                "unit": row.unit,
                "higher_is_better": row.higher_is_better,
            }
            for row in self.rows
        ]


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What is compared side by side: a study, or logs."""

    boards: list[Board]
    race: Race
    """What its rows rest on besides the scores."""
    of_use: float | None
    """Temperature that decides; None where that is not known."""
    headline: str
    complete: bool
    """Whether nothing of the study is left to run."""
    told: bool
    """Whether the task can tell arms apart, so that more documents would help."""
    notes: list[str]


def compare(
    paths: Sequence[Path | str],
    *,
    baseline: str | None = None,
    margin: float | None = None,
    task: str | None = None,
    temperature: float | None = None,
    metric: str | None = None,
    filter: str | None = None,
    higher_is_better: bool | None = None,
) -> Comparison:
    """Compare what is recorded under some paths.

    Args:
        paths: results folders, run records, lm-eval's output folders and its samples or results files.
        baseline: text of an arm; by default `nll`, or without one the first arm that is not the base.
        margin: difference that does not matter, in the unit of the scores; None: one point for shares.
        task: only this one.
        temperature: only this one, and what does not depend on it.
        metric: of the scores in lm-eval's logs, see `read_logs`.
        filter: as metric.
        higher_is_better: as metric.

    Raises:
        InputError: nothing to compare, a broken file, an unknown arm or task, arms that were evaluated
            differently.
    """
    studies = _studies([find(str(path))[0] for path in paths])
    asked = {"metric": metric, "filter": filter, "higher_is_better": higher_is_better}
    logs, said = logs_for(paths, studies, asked)
    cases = _cases(studies, logs, margin)
    boards = [board for case in cases for board in case.boards]
    wanted = [board for board in boards if _asked(board, task, temperature)]
    if not wanted:
        raise InputError(_nothing(boards, task, temperature))
    texts = _texts(cases, wanted)
    chosen = _baseline(texts, baseline)
    rows: list[Row] = []
    notes = [*said, *(note for case in cases for note in case.notes)]
    for case in cases:
        for board in (board for board in case.boards if _asked(board, task, temperature)):
            found = _compare_board(board, texts, chosen, case.race)
            rows += found
            if case.told and (case.of_use is None or board.temperature in (case.of_use, None)):
                notes += (
                    text for row in found for text in _remarks(board, row, texts, found, margin)
                )
    if not rows:
        raise InputError(
            f"nothing to compare: {', '.join(texts.values())} have no task, metric and temperature in common"
        )
    if all(arm.objective != BASE for arm in texts):
        notes.append(
            f"no arm is called {BASE}: add the untouched model, to see whether to fine-tune at all"
        )
    return Comparison(
        baseline=chosen,
        rows=tuple(rows),
        levels=tuple(_level(board, arm) for board in wanted for arm in _in_order(board, chosen)),
        headlines=tuple(case.headline for case in cases if case.headline),
        notes=tuple(dict.fromkeys(notes)),
        labels=texts,
        unfinished=frozenset(b.name for case in cases if not case.complete for b in case.boards),
        of_logs=frozenset(b.name for case in cases if case.of_use is None for b in case.boards),
    )


def _cases(
    studies: Sequence[Evidence], logs: Sequence[Measured], margin: float | None
) -> list[_Case]:
    """Every study with the logs that join it, then the logs that join none."""
    found = [
        _of_study(evidence, name, logs, margin)
        for evidence, name in zip(studies, settings_of(studies), strict=True)
    ]
    alone = [log for log in logs if not any(_joins(log, one) for one in studies)]
    return [*found, _of_logs(alone, margin)] if alone else found


def _texts(cases: Sequence[_Case], wanted: Sequence[Board]) -> dict[Arm, str]:
    """Every arm to its text; with its rate where it is called like another of the same study."""
    found: dict[Arm, str] = {}
    for case in cases:
        boards = [board for board in case.boards if any(board is one for one in wanted)]
        for arm, text in labels(arm for board in boards for arm in board.runs).items():
            found[arm] = max(found.get(arm, ""), text, key=len)
    return found


def _studies(paths: Sequence[Path]) -> list[Evidence]:
    """The studies that the records under some paths are of."""
    runs: dict[str, Run] = {}
    failed: dict[str, Run] = {}
    for path in paths:
        logs = find_logs(path)
        records = _records(path) if path.is_dir() else [] if logs else [path]
        if not records and not logs:
            raise InputError(
                f"{path}: holds neither run records nor lm-eval's samples (log them with --log_samples)"
            )
        for run in map(read_run, records):
            if run.error is not None and path.is_file():
                raise InputError(f"{path}: the run failed ({run.error}) and has no scores")
            (runs if run.error is None else failed)[run.spec.id] = run
    return evidence_of(list(runs.values()), list(failed.values()))


def _records(folder: Path) -> list[Path]:
    """Records of runs in a folder of them or below, of finished and of failed ones."""
    own = sorted(folder.glob("*.json")) if folder.name in ("runs", "failed") else []
    return [*own, *sorted(folder.rglob("runs/*.json")), *sorted(folder.rglob("failed/*.json"))]


def _of_study(
    evidence: Evidence, name: str, logs: Sequence[Measured], margin: float | None
) -> _Case:
    """A study with the logs that are on its tasks; its verdict where it can be settled."""
    prefix = f"{name}: " if name else ""
    arms = evidence.arms()
    boards = [joined(board, logs, evidence) for board in _boards(evidence, arms)]
    notes = [f"{prefix}{text}" for text in _choices(evidence, arms)]
    if weights := evidence.prior.get("weights"):
        notes.append(f"{prefix}trained with weights of the data, {weights}")
    obstacle = evidence.obstacle()
    if obstacle is not None:
        race = Race(margin=margin)
        notes.append(f"{prefix}not settled: {obstacle}")
        headline, complete, told = "", False, True
    else:
        verdict = settle(evidence.study, evidence.runs, margin=margin)
        race, headline = verdict.race, f"{prefix}{verdict.headline}"
        complete, told = verdict.incomplete is None, verdict.undecided is None
        notes += [f"{prefix}{text}" for text in (*verdict.out, verdict.remark) if text]
    named = [replace(board, study=name) for board in boards]
    of_use = evidence.study.temperature
    return _Case(
        boards=named,
        race=race,
        of_use=of_use,
        headline=headline,
        complete=complete,
        told=told,
        notes=notes,
    )


def _boards(evidence: Evidence, arms: Sequence[Arm]) -> list[Board]:
    """Every task at every temperature, the cooler first; all tasks together where there are several."""
    scores = [s for run in evidence.runs for s in run.scores if s.part != "development"]
    found = dict.fromkeys((score.task, score.temperature) for score in scores)
    tasks = list(dict.fromkeys(task for task, _ in found))
    boards = []
    for task in (
        [None] if len(tasks) > 1 and set(tasks) <= set(evidence.study.tasks) else []
    ) + tasks:
        heats = {heat for name, heat in found if task in (None, name)}
        for heat in sorted(heats, key=lambda heat: (heat is not None, heat)):
            if task is None and not all({(t, heat), (t, None)} & found.keys() for t in tasks):
                continue
            with suppress(InputError):  # all together, where they mix units
                board = evidence.board(arms, task=task, temperature=heat)
                boards.append(replace(board, temperature=heat))
    return boards


def _joins(log: Measured, evidence: Evidence) -> bool:
    """Whether a log is on a board of a study."""
    return any(fits(log, board, evidence) for board in _boards(evidence, []))


def _of_logs(logs: Sequence[Measured], margin: float | None) -> _Case:
    """Logged samples alone: a board for each task, metric and temperature."""
    members: dict[tuple[Any, ...], list[Measured]] = defaultdict(list)
    for log in logs:
        members[log.score.task, log.score.name, log.score.temperature].append(log)
    boards = []
    for (task, _, heat), found in members.items():
        refuse_differing(found)
        unit = board_unit([log.score for log in found])
        boards.append(Board(task=task, temperature=heat, runs=logged(found, ()), **unit))
    return _Case(
        boards=boards,
        race=Race(margin=margin),
        of_use=None,
        headline="",
        complete=True,
        told=True,
        notes=[],
    )


def _choices(evidence: Evidence, arms: Sequence[Arm]) -> list[str]:
    """Which learning rate stands for each objective, where there were several."""
    study, done = evidence.study, evidence.done
    found = []
    for method in study.objectives:
        tried = [s for s in study.grid() if s.arm.method == method and s.id in done]
        own = [arm for arm in arms if arm.method == method and not arm.control]
        if len(tried) > 1 and len(own) == 1:
            found.append(
                f"{method}: learning rate {own[0].learning_rate:g} of {len(tried)}, by development documents"
            )
    used = {spec.id for spec in (study.base(), *study.grid())}
    used |= {study.spec(arm, seed).id for arm in arms for seed in evidence.seeds(arm)}
    apart = [run.spec.arm.label for run in evidence.runs if run.spec.id not in used]
    if apart:
        found.append(
            f"{len(apart)} runs are of no arm that is compared ({', '.join(dict.fromkeys(apart))}): other "
            f"rates, or without a run on seed {study.seeds[0]}"
        )
    return found


def _asked(board: Board, task: str | None, temperature: float | None) -> bool:
    same_task = task is None or board.task == task
    return same_task and (temperature is None or board.temperature in (temperature, None))


def _nothing(boards: Sequence[Board], task: str | None, temperature: float | None) -> str:
    tasks = ", ".join(dict.fromkeys(board.name for board in boards)) or "none"
    heats = sorted({b.temperature for b in boards if b.temperature is not None})
    return (
        f"no test scores of task {task or 'any'} at temperature "
        f"{'any' if temperature is None else f'{temperature:g}'}: there are tasks {tasks} at temperatures "
        f"{', '.join(f'{heat:g}' for heat in heats) or 'none'}"
    )


def _baseline(texts: Mapping[Arm, str], asked: str | None) -> str:
    names = list(texts.values())
    if asked is None:
        return NLL if NLL in names else next((name for name in names if name != BASE), BASE)
    if asked not in names:
        raise InputError(f"--baseline {asked}: the arms are {', '.join(names)}")
    return asked


def _in_order(board: Board, baseline: str) -> list[Arm]:
    """The arms of a board: the base first, then the baseline."""
    return sorted(board.runs, key=lambda arm: (arm.objective != BASE, arm.label != baseline))


def _level(board: Board, arm: Arm) -> Level:
    runs = list(board.runs[arm].values())
    return Level(
        arm=arm,
        task=board.name,
        temperature=board.temperature,
        mean=board.mean(arm),
        seeds=len(runs),
        documents=len(runs[0].documents),
    )


def _compare_board(board: Board, texts: Mapping[Arm, str], baseline: str, race: Race) -> list[Row]:
    """Rows against the baseline, then against the base; logged arms are a family of their own."""
    tuned = [arm for arm in board.runs if arm.objective != BASE]
    asked = next((arm for arm in board.runs if texts[arm] == baseline), None)
    if asked is None and tuned:
        asked = next((arm for arm in tuned if texts[arm] == NLL), tuned[0])
    base = next(
        (arm for arm in board.runs if arm.objective == BASE and arm.targets != LOGGED), None
    )
    families = [
        [arm for arm in tuned if arm.targets != LOGGED],
        [arm for arm in board.runs if arm.targets == LOGGED],
    ]
    rows: list[Row] = []
    for against in dict.fromkeys((asked, base)):
        for family in families if against is not None else ():
            rows += contrasts(board, family, against, race) if family and against else []
    return rows


def _remarks(
    board: Board, row: Row, texts: Mapping[Arm, str], rows: Sequence[Row], asked: float | None
) -> Iterable[str]:
    """What was left out of a comparison, and what it would take to resolve it down to the margin."""
    pair = paired(board, row.arm, row.baseline)
    names = f"{texts[row.arm]} and {texts[row.baseline]}"
    if row.difference.documents < pair.most:
        yield f"{row.task}: {names} share {row.difference.documents} of {pair.most} documents"
    margin = board.margin(asked)
    if row.verdict != "not resolved" or margin is None:
        return
    family = sum(other.baseline == row.baseline for other in rows)
    wanted = margin / board.scale
    needed = documents_needed(wanted, len(pair.first), pair.spread(), alpha=0.05 / family)
    what = "more seeds" if needed is None else f"about {needed:,} documents"
    yield (
        f"{row.task}, temperature {heat(row.temperature)}: {names} are not told apart; a difference of "
        f"{margin:g} takes {what}"
    )


def heat(temperature: float | None) -> str:
    """A temperature as text; a dash where nothing is generated."""
    return "-" if temperature is None else f"{temperature:g}"
