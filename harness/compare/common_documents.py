"""The arms of `advisor decide` on the documents that all of them have: which choose, and their order.

Pure. What is compared has to be the same documents of the same tasks for every arm; what is left out is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from advisor.errors import InputError
from harness.compare.score_tables import WHOLE
from harness.compare.scored_arm import Scored
from harness.records.arm import BASE, Arm
from harness.records.runs import Score
from harness.study.contrasts import Array, Board
from harness.study.study import board_unit, sheet_of


def parts_of(scored: Sequence[Scored]) -> tuple[str, list[Scored], list[Scored]]:
    """Which part chooses, its scores, and those of test documents, which do not.

    Raises:
        InputError: some say their part and others not, or all are of test documents.
    """
    parts = {one.measured.score.part for one in scored}
    if WHOLE in parts and len(parts) > 1:
        raise InputError(
            "some scores say their part, development or test, and others do not: give it for all, or for none"
        )
    if parts == {"test"}:
        raise InputError(
            "all scores are of test documents, which do not choose: give scores of development documents "
            "too, or leave out the column part to choose by all"
        )
    name = WHOLE if WHOLE in parts else "development"
    chooses = [one for one in scored if one.measured.score.part == name]
    return name, chooses, [one for one in scored if one.measured.score.part == "test"]


def board_of(
    part: str, scored: Sequence[Scored], texts: Mapping[Arm, str]
) -> tuple[Board, list[int], list[str]]:
    """Arms on the documents that all have, the number of these in each task, and what was left out.

    Raises:
        InputError: an arm lacks a task, or fewer than two documents are common to all.
    """
    runs: dict[Arm, dict[int, dict[str, Score]]] = {}
    for one in sorted(scored, key=lambda one: one.arm.preference):
        own, score = runs.setdefault(one.arm, {}), one.measured.score
        if score.task in own.setdefault(one.measured.seed, {}):
            raise InputError(
                f"{texts[one.arm]} has two sets of scores of {score.task}: leave one out"
            )
        own[one.measured.seed][score.task] = score
    tasks = sorted({one.measured.score.task for one in scored})
    _refuse_gaps(runs, tasks, texts)
    runs, notes = _of_common_seeds(runs, texts)
    shared = dict[str, list[str]]()
    for task in tasks:
        scores = [(arm, s[task]) for arm, own in runs.items() for s in own.values()]
        common = set.intersection(*(set(score.documents) for _, score in scores))
        most = max(len(score.documents) for _, score in scores)
        if len(common) < min(2, most):
            arm = min(scores, key=lambda pair: len(common & set(pair[1].documents)))[0]
            raise InputError(
                f"{task}: the arms have {len(common)} documents in common ({texts[arm]} and others): score "
                "all on the same ones"
            )
        shared[task] = [name for name in scores[0][1].documents if name in common]
        if len(common) < most:
            kind = "documents" if part == WHOLE else f"{part} documents"
            few = [texts[arm] for arm, score in scores if len(score.documents) < most]
            notes.append(
                f"{task}: {len(common)} of {most} {kind} have scores of every arm, and count "
                f"(fewer: {', '.join(dict.fromkeys(few))})"
            )
    sizes = [len(own) for own in shared.values()]
    if sum(sizes) < 2:
        raise InputError(
            f"{tasks[0]}: one score for each arm says nothing of noise: give a row for each document, with "
            "its name in a column document"
        )
    sheets = {
        arm: {seed: sheet_of([_only(s[t], shared[t]) for t in tasks]) for seed, s in own.items()}
        for arm, own in runs.items()
    }
    unit = board_unit([one.measured.score for one in scored])
    board = Board(task=", ".join(tasks), temperature=None, runs=sheets, **unit)
    return board, sizes, notes


def _of_common_seeds(
    runs: dict[Arm, dict[int, dict[str, Score]]], texts: Mapping[Arm, str]
) -> tuple[dict[Arm, dict[int, dict[str, Score]]], list[str]]:
    """The runs of the seeds that all fine-tunes have: an arm must not lead by seeds that others lack.

    The untouched model, which has none, counts as it is. Where no seed is common, the first so many runs of
    each arm count.
    """
    tuned = {arm: own for arm, own in runs.items() if arm.objective != BASE}
    seeds = {frozenset(own) for own in tuned.values()}
    fewest = min(map(len, seeds), default=0)
    common = frozenset.intersection(*seeds) if seeds else frozenset()
    if len(seeds) < 2 or (not common and all(len(one) == fewest for one in seeds)):
        return runs, []
    kept = {
        arm: {seed: own[seed] for seed in sorted(common)}
        if common
        else {seed: own[seed] for seed in sorted(own)[:fewest]}
        for arm, own in tuned.items()
    }
    more = [texts[arm] for arm in tuned if len(kept[arm]) < len(tuned[arm])]
    named = (
        f"seed {', '.join(map(str, sorted(common)))}" if common else f"{fewest} run(s) of each arm"
    )
    return runs | kept, [
        f"only {named} counts, as not every arm has more (more: {', '.join(more)}): score the same seeds of "
        "every arm to use all"
    ]


def _refuse_gaps(
    runs: Mapping[Arm, Mapping[int, Mapping[str, Score]]],
    tasks: Sequence[str],
    texts: Mapping[Arm, str],
) -> None:
    """See that every run has scores of every task: the mean over tasks decides."""
    for arm, own in runs.items():
        for seed, scores in own.items():
            if absent := [task for task in tasks if task not in scores]:
                whose = f" of seed {seed}" if len(own) > 1 else ""
                raise InputError(
                    f"{texts[arm]}{whose} has no scores of {absent[0]}, as other arms have: score it there, "
                    f"or leave out {absent[0]}"
                )


def _only(score: Score, documents: Sequence[str]) -> Score:
    place = {name: i for i, name in enumerate(score.documents)}
    return replace(
        score,
        documents=tuple(documents),
        values=tuple(score.values[place[name]] for name in documents),
    )


def values_of(board: Board, arm: Arm) -> Array:
    """[seeds, documents], unscaled; larger is better."""
    sign = 1.0 if board.higher_is_better else -1.0
    return sign * np.array([sheet.values for sheet in board.runs[arm].values()])


def best_first(board: Board) -> list[Arm]:
    """Best first; arms that score alike stand as `Arm.preference` says, which is how the board has them."""
    means = {arm: round(float(values_of(board, arm).mean()), 12) for arm in board.runs}
    return sorted(means, key=lambda arm: -means[arm])
