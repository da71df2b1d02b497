"""Records: what is written is read back, whole or not at all, whatever happens in between."""

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advisor.errors import InputError
from harness.records.arm import Arm
from harness.records.record_parts import schema_of_file
from harness.records.runs import RUN, Environment, Results, Score, read_run
from harness.records.schemas import SCHEMA, first_id
from tests.helpers.paths import ROOT
from tests.helpers.records import SCORE, SPEC, make


def test_the_id_is_the_hash_of_the_canonical_text() -> None:
    text = (
        '{"arm":{"learning_rate":1e-05,"objective":"threshold(10%)"},"dataset":"d",'
        '"dataset_fingerprint":"g","evaluation":{"limit":null,"temperatures":[0.0,1.0]},'
        '"model":"m","model_fingerprint":"f","seed":0,'
        '"split":null,"tasks":["a","b"],"training":{"max_steps":3,"warmup_ratio":0.1}}'
    )
    assert SPEC.id == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"arm": replace(SPEC.arm, learning_rate=1.1e-5)}, {"tasks": ("a",)},
     {"arm": replace(SPEC.arm, objective="nll")}, {"arm": replace(SPEC.arm, targets="own(4)")},
     {"split": "x"},
     {"training": {"max_steps": 3, "warmup_ratio": 0.10000000000000002}}, {"evaluation": {}}],
    ids=str,
)  # fmt: skip
def test_every_setting_makes_another_run(change: dict[str, Any]) -> None:
    assert replace(SPEC, **change).id != SPEC.id


def test_a_control_is_not_run_again_as_an_arm() -> None:
    """Why an arm was run decides nothing of what its run does."""
    control = replace(SPEC, arm=replace(SPEC.arm, control="tenth", decoding=0.0))
    assert control.id == SPEC.id and control != SPEC


OLD = Path(__file__).parent
"""Records of every format so far lie beside this file."""


KINDS = {"part": "parts", "afterwards": "afterwards", "failed": "failed"}
"""Records that are no finished runs, by the end of their names: the folder in which they stood."""
FINISHED = [path for path in sorted(OLD.glob("*.json")) if path.stem.split("-")[-1] not in KINDS]


@pytest.mark.parametrize("path", FINISHED, ids=lambda path: path.stem)
def test_records_of_every_format_so_far_open(path: Path, tmp_path: Path) -> None:
    """A finished run is found under its id of today in the file of then: nothing is repeated."""
    run = read_run(path)
    assert run.schema == SCHEMA and run.error is None and run.scores
    results = Results(tmp_path)
    copy = tmp_path / "runs" / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    assert results.find(run.spec) == run and results.path(run.spec) == copy
    assert results.write(run) == copy and len(list(copy.parent.iterdir())) == 1


def test_records_of_what_is_no_finished_run_open(tmp_path: Path) -> None:
    """A part of a race, a continuation and a failure of then are what they were."""
    for end, folder in KINDS.items():
        [path] = OLD.glob(f"*-{end}.json")
        (tmp_path / folder).mkdir()
        copy = tmp_path / folder / f"{json.loads(path.read_text())['id']}.json"
        copy.write_bytes(path.read_bytes())
    results = Results(tmp_path)
    [part], [continued], [failed] = results.parts(), results.afterwards(), results.failed()
    assert [look.share for look in part.curve] == [0.125, 0.5] and not part.scores
    assert results.find_afterwards(continued.spec) == continued and continued.scores
    assert str(failed.error).startswith("TrainingDiverged: ") and not results.runs()


def test_there_is_a_record_of_every_format_and_with_every_field() -> None:
    """A field that comes later is kept in a record here, too."""
    stored = [json.loads(path.read_text()) for path in OLD.glob("*.json")]
    assert {record["schema"] for record in stored} == {1, 2, SCHEMA}
    assert {name for record in stored for name in record} == schema_of_file(RUN.adapter)[
        "properties"
    ].keys()
    first = [record for record in stored if record["schema"] == 1]
    fields = {len(record["spec"]) for record in first}
    assert fields == {11, 12, 13}  # first without reading and teachers, then without teachers
    assert {len(record["scores"][0]) for record in first} == {6, 9}  # and filter, direction, unit


def test_the_first_format_is_read_as_it_was_meant() -> None:
    old = read_run(OLD / "schema-1-rewritten.json")
    assert old.spec.arm == Arm(objective="cadft(1)", targets="resampled", learning_rate=0.0003)
    assert old.spec.teachers is None
    taught = read_run(OLD / "schema-1-teacher.json")
    assert taught.spec.arm == Arm(
        objective="fire(sampled)", targets="rollouts", learning_rate=0.0003
    )
    assert taught.spec.teachers and taught.spec.tasks == ("ladder_chain",)


def test_what_was_called_rewriting_is_read_as_resampling() -> None:
    """Arm, plan and counts have one name, so that a finished study is asked for under it and runs nothing."""
    old = read_run(OLD / "schema-2-rewritten.json")
    assert old.spec.arm == Arm(objective="cadft(1)", targets="resampled(0.2)", learning_rate=0.001)
    assert old.planned and old.planned["objectives"] == ["nll", "cadft(1)@resampled(0.2)"]
    counts = {"steps": [4, 5, 7], "chosen": 18, "sampled": 10, "replaced": 10, "same": 0, "unfinished": 0,
              "wrong": 0, "rows_resampled": 10, "trained_on_resampled": 6}  # fmt: skip
    assert old.prior and old.prior["resampling"] == counts and "rewriting" not in old.prior


@pytest.mark.parametrize("path", sorted(OLD.glob("schema-1-*.json")), ids=lambda path: path.stem)
def test_the_id_of_the_first_format_is_found_again(path: Path) -> None:
    assert first_id(read_run(path).spec) == json.loads(path.read_text())["id"]


@pytest.mark.parametrize("smaller", [None, {"rows": 4}])
@pytest.mark.parametrize("began", [None, {"as": "nll", "step": 30, "tokens": 400}])
def test_what_is_written_is_read_back(tmp_path: Path, began: Any, smaller: Any) -> None:
    results, run = Results(tmp_path / "new" / "folder"), make(began=began, smaller_batches=smaller)
    assert results.runs() == [] and results.find(run.spec) is None
    assert results.write(run) == results.path(run.spec)
    assert results.find(run.spec) == run and results.runs() == [run]
    assert results.path(run.spec).stem == run.spec.id
    assert [path.name for path in results.folder.rglob("*")] == ["runs", f"{run.spec.id}.json"]


def test_means_are_over_repeats_and_documents(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.write(make())
    [score] = results.runs()[0].scores
    assert score.per_document == (0.25, 0.5) and score.mean == 0.375


def test_a_finished_run_is_written_once(tmp_path: Path) -> None:
    results = Results(tmp_path)
    path = results.write(make())
    before = path.read_bytes()
    results.write(make(seconds=99.0))
    assert path.read_bytes() == before


def test_a_failure_is_kept_beside_and_does_not_block(tmp_path: Path) -> None:
    results, failed = Results(tmp_path), make(error="RuntimeError: out of memory", scores=())
    results.write(failed)
    assert results.find(failed.spec) is None and results.runs() == []
    results.write(make())
    assert results.find(failed.spec) == make()
    assert results.failed() == [failed]


def test_records_are_compact(tmp_path: Path) -> None:
    names = tuple(hashlib.sha256(str(i).encode()).hexdigest()[:16] for i in range(1000))
    scores = tuple(
        Score(task="a", metric="acc", temperature=t, part="test", documents=names,
              values=tuple((float(i % 3 == 0),) for i in range(1000)))
        for t in (0.0, 0.5, 1.0)
    )  # fmt: skip
    run = make(
        scores=scores, seconds=1 / 3, steps=({"step": 1, "loss": 2 / 3, "norm": float("nan")},)
    )
    results = Results(tmp_path)
    path = results.write(run)
    text = path.read_text()
    assert text.count(names[7]) == 1
    assert len(text) < 1000 * (len('"0123456789abcdef",') + 3 * len("0,")) + 2000
    assert results.runs()[0].scores == scores
    assert results.runs()[0].seconds == 0.333333
    assert results.runs()[0].steps == ({"step": 1, "loss": 0.666667},)  # NaN is absence
    assert "1.0" not in text.split('"values":')[1]


@pytest.mark.parametrize(
    ("documents", "values"),
    [(("x",), ((1.0,), (0.0,))), (("x", "y"), ((1.0,), (0.0, 1.0))), (("x", "x"), ((1.0,), (0.0,))),
     (("x",), ((float("nan"),),)), (("x",), ((),))],
    ids=["too few", "ragged", "twice", "nan", "none"],
)  # fmt: skip
def test_scores_that_cannot_be_paired_are_refused(documents: Any, values: Any) -> None:
    with pytest.raises(ValueError, match="a: "):
        replace(SCORE, documents=documents, values=values)


def test_fields_of_newer_versions_are_left_out(tmp_path: Path) -> None:
    results = Results(tmp_path)
    path = results.write(make())
    content = json.loads(path.read_text())
    for part in (content, content["spec"], content["environment"], content["scores"][0]):
        part["from_the_future"] = {"a": 1}
    path.write_text(json.dumps(content))
    assert results.runs() == [make()]


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "not a whole record"), ('{"schema": 1, "spec"', "not a whole record"),
     ("[1, 2]", "not a whole record"),
     ('{"model_type": "llama"}', "not a whole record"), ('{"schema": 1}', "not a whole record"),
     ("\udcff", "not a whole record"), ("[" * 100_000, "not a whole record"),
     ('{"schema": 4, "spec": {}}', "format 4 is not among the formats 1 to 3")],
    ids=["empty", "cut", "list", "foreign", "only a schema", "not UTF-8", "deep", "newer"],
)  # fmt: skip
def test_a_broken_file_is_named_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    results = Results(tmp_path)
    path = results.write(make())
    path.write_bytes(text.encode(errors="surrogateescape"))
    for read in (results.runs, lambda: results.find(SPEC), lambda: read_run(path)):
        with pytest.raises(InputError, match=says) as refusal:
            read()
        assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)


def test_values_that_lost_a_number_are_refused(tmp_path: Path) -> None:
    path = Results(tmp_path).write(make())
    content = json.loads(path.read_text())
    del content["scores"][0]["values"][0]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="not a whole record"):
        read_run(path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_write_that_fails_leaves_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    results = Results(tmp_path)
    monkeypatch.setattr(os, "fsync", fail)
    for attempt in (results.prepare, lambda: results.write(make())):
        with pytest.raises(InputError) as refusal:
            attempt()
        assert os.strerror(code) in str(refusal.value) and "--results" in str(refusal.value)
        assert "\n" not in str(refusal.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Not a directory"):
        Results(tmp_path / "file").prepare()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(InputError, match="Permission denied"):
        Results(tmp_path).prepare()


WRITER = """
import sys
from tests.helpers.records import make
from harness.records.runs import Results
from harness.records.runs import Score
many = tuple(str(i) for i in range(3000))
score = Score(task="a", metric="acc", temperature=0.0, part="test", documents=many, values=((1.0,),) * 3000)
results = Results(sys.argv[1])
for seed in range(int(sys.argv[2])):
    results.write(make(seed=seed, scores=(score,)))
    print(seed, flush=True)
"""


def writer(folder: Path, runs: int) -> "subprocess.Popen[str]":
    """A process that writes records one after the other and tells each on its stdout."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(runs)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_kill_at_any_moment_leaves_whole_records(tmp_path: Path) -> None:
    moments = random.Random(0)
    for attempt in range(10):
        folder = tmp_path / str(attempt)
        process = writer(folder, 10**6)
        assert process.stdout is not None and process.stdout.readline() == "0\n"
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        told = 1 + len(process.stdout.readlines())
        process.wait()
        process.stdout.close()
        seeds = {run.spec.seed for run in Results(folder).runs()}
        assert set(range(told)) <= seeds <= set(range(told + 1))


def test_a_kill_between_two_halves_of_a_file_leaves_no_record(tmp_path: Path) -> None:
    half = """
import io, os, pathlib, signal
class Dying(io.FileIO):
    def write(self, content):
        super().write(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
plain = pathlib.Path.open
def opened(self, mode="r", *rest, **more):
    return Dying(self, "x") if mode == "xb" else plain(self, mode, *rest, **more)
pathlib.Path.open = opened
"""
    script = WRITER.replace("for seed", half + "for seed")
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), "1"], cwd=ROOT, check=False
    )
    assert result.returncode == -signal.SIGKILL
    [left] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left.stat().st_size > 1000 and left.suffix == ".part"
    assert Results(tmp_path).runs() == [] and Results(tmp_path).find(SPEC) is None


@pytest.mark.slow
def test_two_processes_write_the_same_runs(tmp_path: Path) -> None:
    """Protects records: two processes on one folder never leave, or read, half of one."""
    processes = [writer(tmp_path, 100) for _ in range(2)]
    while any(process.poll() is None for process in processes):
        Results(tmp_path).runs()  # never sees half a record
    assert [process.communicate()[0].split()[-1] for process in processes] == ["99", "99"]
    assert [process.returncode for process in processes] == [0, 0]
    assert {run.spec.seed for run in Results(tmp_path).runs()} == set(range(100))
    assert len(list((tmp_path / "runs").iterdir())) == 100


def test_a_file_that_outgrows_its_room_leaves_nothing(tmp_path: Path) -> None:
    script = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n" + WRITER
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr.splitlines()[-1].startswith("advisor.errors.InputError: ")
    assert "File too large" in result.stderr.splitlines()[-1]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_records_load_into_pandas_in_one_call(tmp_path: Path) -> None:
    results = Results(tmp_path)
    for seed in range(3):
        second = replace(SCORE, temperature=None, values=((0.0,), (1.0,)))
        results.write(make(seed=seed, scores=(SCORE, second), domain="a\udc80"))
    frame = results.frame()
    assert set(frame["domain"]) == {"a\\udc80"}  # half a character, as a file name may hold
    assert len(frame) == 6
    means = frame.groupby("temperature", dropna=False)["mean"].mean()
    assert means.loc[1.0] == 0.375 and means[means.index.isna()].item() == 0.5
    assert set(frame["objective"]) == {"threshold(10%)"} and set(frame["repeats"]) == {1, 4}


def test_no_torch_is_needed() -> None:
    code = "import harness.records.runs as r, sys; r.Environment.here(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_environment_says_with_what() -> None:
    import torch

    here = Environment.here(device=torch.device("cpu"), dtype=torch.float32)
    assert here.versions["torch"] == torch.__version__ and here.threads == torch.get_num_threads()
    assert (here.device, here.dtype) == ("cpu", "torch.float32")
    assert os.uname().nodename not in (here.platform, *here.versions.values())
