"""Teachers are loaded once a study, and forgotten after the last run that may ask for them."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from harness.distill import teachers as module
from harness.distill.teachers import Teachers, read_teachers
from harness.records.runs import Run, RunSpec
from harness.study.study import Study
from harness.study.teachers_due import teachers_due
from tests.helpers.studies import flat, run_of, study_of


def test_teachers_are_loaded_once_until_they_are_freed(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    real = module.load_model

    def counted(name: str, **loading: Any) -> Any:
        loads.append(name)
        return real(name, **loading)

    monkeypatch.setattr(module, "load_model", counted)
    teachers = read_teachers([str(model_folder)], None, {"device": "cpu"})
    [first] = teachers.load().values()
    forward = first.model.forward
    vars(first.model).update(_original_forward=forward, forward=lambda *_: None)
    teachers.rest()
    [again] = teachers.load().values()
    assert again is first and len(loads) == 1
    assert again.model.forward == forward  # not what a trainer wrapped it in
    assert pickle.loads(pickle.dumps(teachers)).held == {}
    assert teachers == Teachers(names=teachers.names, loading={"device": "cpu"})
    teachers.free()
    assert not teachers.held and len(loads) == 1
    teachers.load()
    assert len(loads) == 2


def done_of(study: Study, *specs: RunSpec) -> dict[str, Run]:
    return {spec.id: run_of(spec, flat(0.5)) for spec in specs}


def test_they_are_due_until_the_last_run_that_learns_from_them() -> None:
    study = study_of(objectives=("nll", "opd"), learning_rates=(1e-3,), seeds=(0, 1))
    first = study.grid()
    second = [study.spec(spec.arm, 1) for spec in first]
    assert teachers_due(study, {})
    assert teachers_due(study, done_of(study, *first))
    assert not teachers_due(study, done_of(study, *first, *second))
    taught = [spec for spec in (*first, *second) if spec.arm.method == "opd"]
    assert not teachers_due(study, done_of(study, *first, *taught))
    assert not teachers_due(study_of(objectives=("nll", "sdft")), {})
    alone = study_of(objectives=("nll", "opd"), learning_rates=(1e-3,), seeds=(0,))
    assert not teachers_due(
        alone, done_of(alone, *(spec for spec in alone.grid() if spec.arm.method == "opd"))
    )
