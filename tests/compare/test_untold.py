"""What is said where a plan ends early, and that the runs that would follow are not made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.compare.plan_decision import decision_of
from harness.compare.untold import untold
from harness.records.runs import Run, RunSpec
from harness.study.run_study import Confirmed
from harness.study.study import next_runs
from tests.helpers.studies import flat, plan_of, run_of

ALL = ["base", "p_pow(0.5)", "cadft(1)", "nll"]


def scored(spec: RunSpec, share: float) -> Run:
    """A run that has exactly this share of its documents right, at places of its own."""
    run = run_of(spec, flat(0.5))
    rng = np.random.default_rng(ALL.index(spec.arm.method))

    def values(count: int) -> Any:
        return tuple((float(x),) for x in rng.permutation(np.arange(count) < share * count))

    scores = (replace(score, values=values(len(score.documents))) for score in run.scores)
    return replace(run, scores=tuple(scores))


def decided(shares: dict[str, float], folder: Path) -> tuple[list[str], Any]:
    """The runs that a plan makes where they score so, and its decision."""
    study = plan_of()
    runs = list[Run]()
    while specs := next_runs(study, runs):
        runs.append(scored(specs[0], shares[specs[0].arm.method]))
    answer = decision_of(Confirmed(verdict=None, study=study, runs=tuple(runs)), folder)
    assert answer is not None and answer.headline == (untold(study, runs) or answer.headline)
    return [run.spec.arm.method for run in runs], answer


NOTHING = {"base": 0.0, "p_pow(0.5)": 0.0, "cadft(1)": 0.9, "nll": 0.0}


@pytest.mark.parametrize(
    ("shares", "made", "said"),
    [
        (NOTHING, ["base", "p_pow(0.5)", "nll"], "2 runs (p_pow(0.5), nll) score 0.0 of 100 points at most"),
        (dict.fromkeys(ALL, 0.4), ["base", "p_pow(0.5)", "cadft(1)"], "which is within noise"),
    ],
)  # fmt: skip
def test_a_plan_ends_where_its_task_cannot_tell(
    shares: dict[str, float], made: list[str], said: str, tmp_path: Path
) -> None:
    found, answer = decided(shares, tmp_path)
    assert found == made and said in answer.headline and "--tasks" in answer.headline
    assert answer.decision.action == "undecided" and not answer.fine_tune
    assert answer.checkpoint is None and answer.best_checkpoint is not None


def test_a_model_that_knows_all_is_not_trained(tmp_path: Path) -> None:
    """Breaks where runs are made that have nothing to gain, or a decision without any is refused."""
    study = plan_of()
    base = scored(study.base(), 1.0)
    assert next_runs(study, [base]) == []
    answer = decision_of(Confirmed(verdict=None, study=study, runs=(base,)), tmp_path)
    assert answer is not None and "at most 0.0 are to be gained" in answer.headline
    assert answer.best_checkpoint is None and answer.to_dict()["best_checkpoint"] is None
    assert answer.place == "no fine-tune was made"


def test_a_small_task_counts_as_much_as_a_large_one(tmp_path: Path) -> None:
    """Breaks where a plan ends at the floor of its documents, though the mean over tasks has left it."""
    study = plan_of(tasks=("t", "u"), evaluation=plan_of().evaluation)

    def run(spec: RunSpec) -> Run:
        large = scored(spec, 0.0)
        right = 0.8 if spec.arm.method == "nll" else 0.0
        small = (
            replace(score, task="u", documents=score.documents[:20],
                    values=tuple((float(i < 20 * right),) for i in range(20)))
            for score in large.scores
        )  # fmt: skip
        return replace(large, scores=(*large.scores, *small))

    runs = list[Run]()
    while specs := next_runs(study, runs):
        runs.append(run(specs[0]))
    assert "nll" in {run.spec.arm.method for run in runs} and untold(study, runs) is None
    answer = decision_of(Confirmed(verdict=None, study=study, runs=tuple(runs)), tmp_path)
    assert answer is not None and answer.decision.action == "keep"
    poor = untold(study, [run for run in runs if run.spec.arm.method != "nll"] + [
        replace(run, spec=study.of_steps()[-1]) for run in runs[:1]])  # fmt: skip
    assert poor is not None and "on 640 documents of 2 tasks that count alike" in poor


def test_what_training_lifts_from_nothing_is_not_given_up(tmp_path: Path) -> None:
    """Breaks where a base at zero ends a plan: ladder:weak goes from 0 to 99."""
    for lifted in ("p_pow(0.5)", "nll"):
        found, answer = decided({**dict.fromkeys(ALL, 0.0), lifted: 0.9}, tmp_path)
        assert lifted in found and answer.decision.best.method == lifted
        assert answer.decision.action == "keep"
