"""lm-eval's logs beside the studies of records: which belong on which board, as arms of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from advisor.errors import InputError
from harness.compare.lm_eval_logs import read_logs
from harness.compare.measured import Measured, refuse_differing
from harness.evaluate.scoring import conditions_of
from harness.records.arm import BASE, LOGGED, Arm
from harness.records.metrics import NO_FILTER
from harness.study.contrasts import Board, Sheet
from harness.study.from_records import Evidence


def logs_for(
    paths: Sequence[Path | str], studies: Sequence[Evidence], asked: Mapping[str, Any]
) -> tuple[list[Measured], list[str]]:
    """lm-eval's logs; without a word by the metric and filter of the records, where they have those."""
    scores = (score for one in studies for run in one.runs[:1] for score in run.scores)
    kinds = {(score.metric, score.filter or NO_FILTER) for score in scores}
    if len(kinds) == 1 and asked["metric"] is None and asked["filter"] is None:
        metric, filter = kinds.pop()
        with suppress(InputError):
            return read_logs(paths, metric, filter, asked["higher_is_better"])
    return read_logs(paths, **asked)


def joined(board: Board, logs: Sequence[Measured], evidence: Evidence) -> Board:
    """A board with the logged arms that are on its task, at its temperature, by its metric.

    They are arms of their own, whatever they are called; one called base is the base where there is none.

    Raises:
        InputError: they were evaluated otherwise than the study's arms.
    """
    found = [log for log in logs if fits(log, board, evidence)]
    if not found:
        return board
    own = Measured(
        setting="",
        arm=next((arm.label for arm in board.runs if arm.objective != BASE), BASE),
        seed=0,
        score=found[0].score,
        conditions=conditions_of(evidence.study.evaluation),
    )
    refuse_differing([own, *found])
    return replace(board, runs={**board.runs, **logged(found, board.runs)})


def fits(log: Measured, board: Board, evidence: Evidence) -> bool:
    """Whether a log is of the board's task, temperature and metric."""
    place = (board.task, board.temperature)
    names = {
        score.name
        for run in evidence.runs
        for score in run.scores
        if (score.task, score.temperature) == place
    }
    return (log.score.task, log.score.temperature) == place and log.score.name in names


def logged(logs: Sequence[Measured], known: Collection[Arm]) -> dict[Arm, dict[int, Sheet]]:
    """Runs of logged arms by arm; `known` are those of a study beside them."""
    runs: dict[Arm, dict[int, Sheet]] = defaultdict(dict)
    based = any(arm.objective == BASE for arm in known)
    for log in logs:
        apart = known and (log.arm != BASE or based)
        arm = Arm(objective=log.arm, targets=LOGGED) if apart else Arm(objective=log.arm)
        runs[arm][log.seed] = _sheet(log)
    return dict(runs)


def _sheet(log: Measured) -> Sheet:
    return Sheet(documents=log.score.documents, values=np.array(log.score.per_document))
