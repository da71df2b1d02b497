"""What `decide` and `confirm` print with `--json` keeps to the schemas that others read it by."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli.verdict_table import as_json
from harness.compare.decide import SCHEMA, decide
from harness.compare.plan_decision import decision_of
from harness.compare.score_files import read_scores
from harness.records.arm import Arm
from harness.records.runs import Run, Score
from harness.statistics.paired import paired_difference
from harness.statistics.pass_at_k import Coverage
from harness.study.afterwards import Afterwards, Continued
from harness.study.failures import Failure
from harness.study.run_study import Confirmed
from harness.study.verdict import settle
from tests.helpers.answers import faults, schema_of
from tests.helpers.score_rows import right, rows, write_rows
from tests.helpers.studies import (
    plan_of,
    play,
    prior_leaning_wins,
    study_of,
    truth_of_the_plan,
)

EVALUATION = {"temperature": 1.0, "temperatures": [0.0, 0.5, 1.0], "repeats": 1, "guards": ["g"]}
FAILURE = Failure(method="dpo(0.5)", learning_rate=1e-3, seed=0, reason="it diverged")
CHANGE = paired_difference(np.array([[50.0, 75.0, 100.0]]), np.array([[0.0, 50.0, 100.0]]))
AFTERWARDS = Afterwards(
    rows=(
        Continued(
            arm=Arm(objective="nll", learning_rate=1e-3), seeds=(0,), documents=3,
            before={1: 50.0, 16: 75.0}, after={1: 75.0, 16: 74.0}, change={1: CHANGE, 16: CHANGE},
        ),
    ),
    coverage=Coverage(items=20, lost=0.3, gained=0.1), failed=("a sentence",), left=1, steps=40,
)  # fmt: skip


def guarded(run: Run) -> Run:
    score = Score(task="g", metric="acc", temperature=1.0, part="guard", documents=("a", "b"),
                  values=((1.0,), (0.0,)))  # fmt: skip
    return replace(run, guards=(score,))


def plan_answer(folder: Path, afterwards: Afterwards | None = None) -> dict[str, Any]:
    study = plan_of(evaluation=EVALUATION)
    runs = tuple(map(guarded, play(study, truth_of_the_plan)))
    found = Confirmed(
        verdict=None, study=study, runs=runs, left_out=(FAILURE,), afterwards=afterwards
    )
    decision = decision_of(found, folder)
    assert decision is not None
    return decision.to_dict()


def verdict_answer(afterwards: Afterwards | None = None, **changes: Any) -> dict[str, Any]:
    study = study_of(evaluation=EVALUATION, **changes)
    verdict = settle(study, list(map(guarded, play(study, prior_leaning_wins))))
    left_out = [FAILURE.to_dict()]
    return {**as_json(study, replace(verdict, afterwards=afterwards)), "left_out": left_out}


def test_a_decision_keeps_to_its_schema(tmp_path: Path) -> None:
    """With and without test documents, a base, a second arm and a temperature."""
    several = [
        rows(arm, right(share, seed=i), part=part, **more)
        for i, (arm, share, more) in enumerate(
            [("nll", 0.5, {"learning_rate": 1e-5, "temperature": 0.0}), ("neg_p", 0.8, {}), ("base", 0.4, {})]
        )
        for part in ("development", "test")
    ]  # fmt: skip
    for arms in (several, [rows("nll", right(0.5))]):
        path = write_rows(tmp_path / "scores.jsonl", *arms)
        found = decide(read_scores([path])[0])
        assert not faults("decide", found.to_dict())
        acted = replace(found, missing=(Arm(objective="nll"),), keep=None)
        assert not faults("decide", acted.to_dict())


@pytest.mark.parametrize("afterwards", [None, AFTERWARDS], ids=["plain", "afterwards"])
def test_a_plan_and_a_verdict_keep_to_the_schema(
    afterwards: Afterwards | None, tmp_path: Path
) -> None:
    for answer in (
        plan_answer(tmp_path, afterwards),
        verdict_answer(afterwards),
        verdict_answer(afterwards, seeds=(0,)),
        verdict_answer(afterwards, full=True),
    ):
        assert not faults("confirm", answer)
        assert answer["guards"] and answer["left_out"]


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object within an answer, itself first."""
    if isinstance(value, dict):
        yield value
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from parts(inner)


def test_another_form_is_a_fault(tmp_path: Path) -> None:
    """A key more, a key less and a value of another type, anywhere within an answer."""
    free = ("curve", "along", "open_rates")  # by temperature, share or method
    for answer in (plan_answer(tmp_path, AFTERWARDS), verdict_answer(AFTERWARDS)):
        answer = {name: value for name, value in answer.items() if name not in free} | {
            name: {} for name in free if name in answer
        }
        assert not faults("confirm", answer)
        for part in parts(answer):
            if part == {}:
                continue
            part["more"] = 1
            assert faults("confirm", answer)
            del part["more"]
            for name in [name for name in part if name != "afterwards"]:
                value = part.pop(name)
                assert faults("confirm", answer), name
                part[name] = value
        assert not faults("confirm", answer)


def test_the_schemas_know_the_numbers_and_have_their_parts_in_common() -> None:
    one, other = schema_of("decide"), schema_of("confirm")
    decision, study = other["$defs"]["decision"], other["$defs"]["study"]
    assert one["properties"]["schema"] == decision["properties"]["schema"] == {"const": SCHEMA}
    assert study["properties"]["schema"] == {"const": verdict_answer()["schema"]}
    assert one["$defs"].items() <= other["$defs"].items()
    assert one["properties"].items() <= decision["properties"].items()
