"""Every reader reads what is whole, reads or refuses what is broken; crashes that were found stay mended."""

import gc
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from advisor.errors import InputError
from harness.experiments.fuzz.fuzz import fuzz, inputs, read
from harness.experiments.fuzz.targets import ALONE, TARGETS, TIME

FEW = {"record": 30, "checkpoint": 30, "csv": 30, "json": 50, "jsonl": 50}
"""Of broken files, where a reader takes long."""


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_whole_is_read(target: str, tmp_path: Path) -> None:
    whole = TARGETS[target].files()
    folders = [{name: content} for name, content in whole.items()] if target in ALONE else [whole]
    for files in folders:
        assert read(target, files, tmp_path / "input") is None, list(files)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # files that datasets left open
@pytest.mark.parametrize("target", TARGETS)
def test_what_is_broken_is_read_or_refused(target: str, tmp_path: Path) -> None:
    found = fuzz(target, FEW.get(target, 100), seed=7, folder=tmp_path)
    gc.collect()  # here, where the warning of an open file is ignored, not in whichever test comes next
    assert not found.crashes, found.examples
    assert found.read and found.refused and found.inputs == found.read + found.refused


def test_inputs_are_the_same_for_a_seed_and_broken() -> None:
    once, again, other = (list(inputs("plan", 20, seed)) for seed in (1, 1, 2))
    assert once == again != other
    whole = TARGETS["plan"].files()
    assert sum(files != whole for files in once) > 15


def test_a_crash_is_counted_with_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def crash(folder: Path) -> None:
        raise KeyError(folder.name)

    monkeypatch.setitem(TARGETS, "plan", type(TARGETS["plan"])(TARGETS["plan"].files, crash))
    found = fuzz("plan", 5, seed=0, folder=tmp_path)
    [kind] = found.crashes
    assert (
        kind.startswith("KeyError in ?") and found.crashes[kind] == 5 and len(found.examples) == 1
    )


def changed(target: str, place: str, value: Any) -> dict[str, bytes]:
    """The files of a target with another value at one place, or without it where the value is `...`."""
    name, *keys = place.split("|")
    files = dict(TARGETS[target].files())
    lines = [json.loads(line) for line in files[name].split(b"\n") if line]
    holder: Any = lines
    *way, last = [int(key) if key.isdigit() else key for key in keys]
    for key in way:
        holder = holder[key]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    files[name] = "\n".join(map(json.dumps, lines)).encode()
    return files


CRASHED = [
    ("record", "runs/a.json|0|spec|training", [], "spec.training is"),
    ("record", "runs/a.json|0|spec|evaluation|temperature", "hot", "evaluation.temperature is 'hot'"),
    ("record", "runs/a.json|0|spec|evaluation|temperature", 0.5, "no development score of ladder_chain"),
    ("record", "runs/a.json|0|planned|learning_rates", None, "planned.learning_rates is None, not a list"),
    ("record", "runs/a.json|0|planned|at", ..., "planned lacks 'at'"),
    ("calibration", "calibration.json|0|sizes", [0, 1], "no two numbers of parameters"),
    ("calibration", "calibration.json|0|cells|0|gains", {"nll": "3"}, "gains.nll is '3', not a number"),
    ("calibration", "calibration.json|0|cells|0|error", float("nan"), "not JSON compliant"),
    ("calibration", "calibration.json|0|levels|greedy|0|mean", [], "mean is not of shape"),
    ("calibration", "calibration.json|0|levels|greedy", ..., "no levels"),
    ("checkpoint", "trainer_state.json|0", [], "holds no settings"),
    ("inspect", "log.json|0|samples|0|scores", [1, 2], "samples[0].scores is [1, 2], not an object"),
    ("inspect", "log.json|0|samples|0|id", {}, "samples[0].id"),
    ("inspect", "log.json|0|plan|config|temperature", 10**400, "nor inspect_ai's logs in JSON"),
    ("lm-eval", f"results_{TIME}.json|0|higher_is_better", [], "higher_is_better is [], not an object"),
    ("lm-eval", f"results_{TIME}.json|0|configs|sums|metric_list", ["a"], "metric_list[0] is 'a', not an"),
    ("inspect", "log.json|0|samples|0|scores|match|value", 10**400, "nor inspect_ai's logs in JSON"),
    ("inspect", "log.json|0|samples|0|scores|match|value", float("inf"), "inf, not a finite number"),
    ("lm-eval", f"results_{TIME}.json|0|config|limit", 10**400, "an integer of 309 digits or more"),
    ("lm-eval", f"samples_sums_{TIME}.jsonl|0|exact_match", 10**400, "an integer of 309 digits or more"),
    ("prior", "prior.json|0|mean_log_p", 1e308, "prior.mean_log_p"),
    ("prior", "prior.json|0|mean_p", 3, "prior.mean_p"),
    ("provenance", "rows.jsonl|1|row", "2", "no row's outcome"),
    ("provenance", "rows.jsonl|1|row", -1, "no row's outcome"),
    ("provenance", "rows.jsonl|1|origin", "", "no row's outcome"),
]  # fmt: skip
"""What left a reader as a traceback, or a value that broke what was computed from it later."""


@pytest.mark.parametrize(
    ("target", "place", "value", "reason"),
    CRASHED,
    ids=[f"{n}-{c[0]}" for n, c in enumerate(CRASHED)],
)
def test_crashes_that_were_found_are_refusals(
    tmp_path: Path, target: str, place: str, value: Any, reason: str
) -> None:
    error = read(target, changed(target, place, value), tmp_path / "input")
    assert isinstance(error, InputError) and reason in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("target", [name for name in TARGETS if name not in ("csv", "config")])
@pytest.mark.parametrize("content", [b"[" * 100_000, b"9" * 5000, b"\xff", b"null", b""])
def test_no_json_is_too_odd_to_be_refused(tmp_path: Path, target: str, content: bytes) -> None:
    whole = TARGETS[target].files()
    beside = {} if target in ALONE else whole
    for name in whole.keys() - TARGETS[target].spared:
        error = read(target, {**beside, name: content}, tmp_path / "input")
        assert error is None or isinstance(error, InputError), (name, error)
