"""`advisor confirm` end to end on the ladder, in miniature: records, resuming, refusals."""

import gc
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import weakref
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from advisor.advice.recommend import recommend
from advisor.data.dataset import Example, load_dataset
from advisor.errors import InputError
from advisor.model.load import load_model
from advisor.options import DataOptions, ModelOptions
from harness.cli.inputs import measure, read_pair
from harness.cli.main import main
from harness.evaluate.final_answers import extract_answer, find_answer_pattern
from harness.evaluate.lm_eval import task_names
from harness.evaluate.scoring_options import ScoringOptions
from harness.evaluate.split import own_task, split_rows
from harness.experiments.kills.works import outcome
from harness.generate.decoding import prompt_of
from harness.ladder import resolve
from harness.ladder.named_pair import pair_of
from harness.records.arm import Arm
from harness.records.runs import Results
from harness.study.fit_arm import fit, save_whole
from harness.study.methods import labels_of
from harness.study.plan_study import ANSWERING, Request, plan_study
from harness.study.problem import Problem
from harness.study.study import Study
from harness.study.study_options import StudyOptions, seconds_of
from harness.study.study_settings import refuse_arms, refuse_unbuildable, training_of
from harness.train.trl_settings import read_words
from tests.helpers.answers import faults
from tests.helpers.byte_tokens import byte_tokenizer
from tests.helpers.killed_study import KILLS
from tests.helpers.paths import ROOT
from tests.helpers.records import make
from tests.helpers.tiny import tiny_tokenizer

QUICK = [
    *("ladder:strong", "--objectives", "neg_p", "--learning_rates", "1e-3", "--seeds", "1"),
    *("--max_steps", "2", "--limit", "6", "--temperature", "0"),
]


GENERATION = "generation_config.json"


def confirmed(capsys: Any, *flags: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["confirm", *QUICK, "--json", *flags]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_a_miniature_confirmation(capsys: Any, tmp_path: Path) -> None:
    answer = confirmed(capsys, "--results", str(tmp_path))
    assert not faults("confirm", answer)
    assert answer["complete"] and answer["tasks"] == ["ladder_chain"]
    arms = {tuple(Arm(**row[side]).label for side in ("arm", "baseline")) for row in answer["rows"]}
    others = {"neg_p", "nll, lr/10"}
    assert arms == {(a, "nll") for a in others} | {(a, "base") for a in (*others, "nll")}
    assert {row["verdict"] for row in answer["rows"]} <= {"ahead", "behind", "not resolved"}
    assert answer["arm"] == asdict(Arm(**answer["arm"]))
    assert answer["winner"] == Arm(**answer["arm"]).label
    runs = Results(tmp_path).runs()
    assert {run.spec.arm.method for run in runs} == {"base", "nll", "neg_p"}
    trained = next(run for run in runs if run.spec.arm.method == "neg_p")
    assert trained.prior and trained.tokens and trained.domain == "ladder"
    test = [score for score in trained.scores if score.part == "test"]
    development = [score for score in trained.scores if score.part == "development"]
    assert {s.temperature for s in test} == {0.0, 1.0} and len(test[0].documents) == 6
    assert not set(test[0].documents) & set(development[0].documents)

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    again = confirmed(capsys, "--results", str(tmp_path))
    assert again == answer
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == before


@pytest.mark.slow
def test_sampled_development_documents_get_several_answers(capsys: Any, tmp_path: Path) -> None:
    """Protects the choice of a learning rate: sampled, one answer a document settles none."""
    confirmed(capsys, "--temperature", "1", "--repeats", "3", "--results", str(tmp_path))
    sizes = {
        (score.part, score.temperature): {len(values) for values in score.values}
        for run in Results(tmp_path).runs()
        for score in run.scores
    }
    assert sizes.pop(("development", 1.0)) == {4} and sizes.pop(("test", 1.0)) == {3}
    assert set(map(frozenset, sizes.values())) == {frozenset({1})}


TAUGHT = ("--teacher", "ladder:mid", "--objectives", "opd", "fire(percentile=50)")


@pytest.mark.slow
def test_distillation_is_an_arm_that_repeats_no_run_of_the_others(
    capsys: Any, tmp_path: Path
) -> None:
    """Protects finished runs: a teacher that is named later adds its arms and repeats nothing."""
    more = ("--logging_steps", "1", "--results", str(tmp_path))
    confirmed(capsys, *more)
    before = {path.name for path in tmp_path.rglob("*.json")}
    answer = confirmed(capsys, *TAUGHT, *more)
    assert {"opd", "fire(percentile=50)"} <= {Arm(**row["arm"]).label for row in answer["rows"]}
    assert len({path.name for path in tmp_path.rglob("*.json")} - before) == 2
    runs = {run.spec.arm.method: run for run in Results(tmp_path).runs()}
    models = {
        "ladder:mid": {
            "name": "ladder:mid",
            "fingerprint": load_model(str(resolve("mid")[0])).fingerprint,
        }
    }
    for name in ("opd", "fire(percentile=50)"):
        assert runs[name].spec.teachers == {"route": None, "models": models} and runs[name].tokens
        assert len(runs[name].steps) == 2 and runs[name].steps[0]["completions/mean_length"] > 1
    assert runs["nll"].spec.teachers is None
    assert (
        0 < runs["fire(percentile=50)"].steps[0]["kept"] < 1 and "kept" not in runs["opd"].steps[0]
    )


STUDY = [*QUICK, "--learning_rates", "1e-3", "5e-4", "--seeds", "3", "--full"]
RACE = [
    *("ladder:strong", "--plan", "race", "--point_cost", "20", "--max_steps", "8"),
    *("--limit", "40", "--temperature", "0"),
]


@pytest.mark.slow
@pytest.mark.parametrize("words", [STUDY, RACE], ids=["study", "race"])
def test_killed_again_and_again_it_loses_nothing_and_repeats_nothing(
    words: list[str], tmp_path: Path
) -> None:
    """Protects hours of work: wherever a study is killed, records are whole and nothing is made again."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    script = ["-m", "tests.helpers.killed_study"]
    done = subprocess.run(
        [sys.executable, *script, str(tmp_path), "confirm", *words, "--json"],
        env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    killed, whole = (
        {run.spec.id: run for run in Results(tmp_path / name).runs()}
        for name in ("killed", "whole")
    )  # reading refuses a broken record
    assert killed.keys() == whole.keys()
    assert len(whole) == 12 if words is STUDY else 2 <= len(whole) < 10
    assert all(killed[key].scores == whole[key].scores for key in whole)
    journal = (tmp_path / "killed" / "journal").read_text().splitlines()
    assert journal.count("kill") == KILLS
    begun: set[str] = set()
    kept: set[str] = set()
    interrupted = 0
    for line, after in itertools.pairwise([*journal, "end"]):
        word, _, key = line.partition(" ")
        assert not (word == "begin" and key in kept), "a finished run was executed again"
        (kept if word == "kept" else begun if word == "begin" else set()).add(key)
        interrupted += word == "begin" and after == "kill"
    undisturbed = (tmp_path / "whole" / "journal").read_text().splitlines()
    expected = {line.partition(" ")[2] for line in undisturbed}
    assert begun == expected and kept <= expected and interrupted >= 1


SET_BACK = """
import sys, time
from harness.cli.main import main
from harness.records.runs import Results
write, now = Results.write, time.time

def written(self, run):
    time.time = lambda: now() - 3600
    return write(self, run)

Results.write = written
sys.exit(main(sys.argv[1:]))
"""
"""The command line, whose clock is set back by an hour when the first run has ended."""


@pytest.mark.slow
def test_another_process_writes_the_same_but_for_times(capsys: Any, tmp_path: Path) -> None:
    """Protects comparisons: same seed, same machine, same records, though the clock jumps meanwhile."""
    answer = confirmed(capsys, "--results", str(tmp_path / "here"))
    words = ["confirm", *QUICK, "--json", "--results", str(tmp_path / "there")]
    done = subprocess.run(
        [sys.executable, "-c", SET_BACK, *words], capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == answer
    here, there = (outcome(tmp_path / name) for name in ("here", "there"))
    assert sum(name.startswith("runs/") for name in here) == 4
    assert json.dumps(here) == json.dumps(there)  # the order of what stands in them too
    runs = Results(tmp_path / "there").runs()
    assert all(run.seconds >= 0 for run in runs)
    first, last = sorted({run.planned["at"] for run in runs if run.planned})
    assert last - first == pytest.approx(0.001, abs=1e-6), (
        "no jump, or the last plan is not the last"
    )


def test_a_users_own_data_become_a_task(
    capsys: Any, model_folder: Path, write: Any, tmp_path: Path
) -> None:
    prompts = itertools.islice(itertools.product("abcdef", repeat=4), 200)
    rows = [
        {"prompt": " ".join(p) + " ", "completion": "cdefgh"[i % 6]} for i, p in enumerate(prompts)
    ]
    data = write("d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--learning_rates", "1e-3", "--seeds", "1", "--objectives", "nll", "--max_steps", "1"]
    words = ["confirm", str(model_folder), str(data), *flags, "--results", str(tmp_path), "--json"]
    capsys.readouterr()
    assert main([*words, "--temperature", "0", "--answer_regex", "([c-h])"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["tasks"] == ["held_out"] and not answer["fine_tune"]
    run = next(run for run in Results(tmp_path).runs() if run.spec.arm.method == "nll")
    assert {"nll", "mean_p"} <= set(run.held_out)


@pytest.mark.slow
def test_a_group_of_tasks_is_scored_by_its_members(capsys: Any, tmp_path: Path) -> None:
    """Protects groups and task files of the user's own: a study pairs documents, task by task."""
    task = tmp_path / "mine.yaml"
    task.write_text("task: mine\ninclude: _ladder\ndataset_kwargs:\n  skill: rev\n")
    shared = ROOT / "harness" / "ladder" / "tasks" / "_ladder"
    (tmp_path / "_ladder").write_text(shared.read_text())
    results = tmp_path / "r"
    confirmed(capsys, "--results", str(results), "--tasks", str(task), "ladder_add")
    [spec] = {run.spec.tasks for run in Results(results).runs()}
    assert spec == ("mine", "ladder_add")
    [files] = {tuple(run.spec.evaluation["task_files"]) for run in Results(results).runs()}
    assert files == ("mine.yaml", "_ladder")
    assert len(task_names("ladder")) > 8


def test_held_out_rows_are_fixed_and_kept_back() -> None:
    rows = [{"prompt": f"{i}? ", "completion": "a"} for i in range(1000)]
    tokenizer = byte_tokenizer()
    train, held_out = split_rows(load_dataset(rows, tokenizer))
    assert not set(train) & set(held_out) and len(train) + len(held_out) == 1000
    assert held_out == sorted(np.random.default_rng(0).permutation(1000)[:200].tolist())
    assert (train, held_out) == split_rows(load_dataset(rows, tokenizer))
    of_three = split_rows(load_dataset(rows * 3, tokenizer))[1]
    assert len(of_three) == 399  # a prompt's rows together, and at most 400


@pytest.mark.parametrize("key", ["completion", "text"])
def test_what_is_trained_on_is_not_scored(key: str) -> None:
    rows = [{"prompt": f"{i % 10}? ", "completion": "ab"} for i in range(100)]
    if key == "text":
        rows = [{"text": f"{i % 10}? ab"} for i in range(100)]
    train, held_out = split_rows(load_dataset(rows, byte_tokenizer()))
    assert {i % 10 for i in train} & {i % 10 for i in held_out} == set()
    assert len(held_out) == 20
    always = [{"prompt": "Tell! ", "completion": f"{i % 10}"} for i in range(100)]
    train, held_out = split_rows(load_dataset(always, byte_tokenizer()))
    assert {i % 10 for i in train} & {i % 10 for i in held_out} == set() and len(held_out) == 20
    few = [{"prompt": "Tell! ", "completion": f"{i}"} for i in range(90)]
    train, held_out = split_rows(load_dataset([*few, *rows[:10]], byte_tokenizer()))
    assert len(held_out) == 20  # a prompt of most rows does not take the training with it
    with pytest.raises(InputError, match="too few to keep some back"):
        split_rows(load_dataset(rows[:1] * 50, byte_tokenizer()))


@pytest.mark.parametrize("plain", [False, True])
def test_without_answers_the_completions_become_a_choice(
    capsys: Any, model_folder: Path, write: Any, tmp_path: Path, plain: bool
) -> None:
    stories = list(
        itertools.product(itertools.permutations("abcd"), itertools.permutations("efgh", 3))
    )[::5]
    rows = [{"prompt": " ".join(a) + " ", "completion": " ".join(b)} for a, b in stories]
    rows = [{"text": row["prompt"] + row["completion"]} for row in rows] if plain else rows
    data = write("d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--learning_rates", "1e-3", "--seeds", "1", "--objectives", "nll", "--max_steps", "1"]
    words = ["confirm", str(model_folder), str(data), *flags, "--results", str(tmp_path), "--json"]
    capsys.readouterr()
    assert main([*words, "--temperature", "0.5"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"] == ["held_out_choice"]
    for run in Results(tmp_path).runs():
        parts = [(score.part, score.temperature, score.metric) for score in run.scores]
        assert parts == [("development", None, "acc_norm"), ("test", None, "acc_norm")]


def own_rows(rows: list[tuple[str, str]], **settings: Any) -> dict[str, Any]:
    source = [{"prompt": prompt, "completion": completion} for prompt, completion in rows]
    return own_task(load_dataset(source, byte_tokenizer(**settings)), None)


def test_known_answers_are_found() -> None:
    for marked in (["so\n#### 12", "#### -3"], [r"thus \boxed{7}", r"\boxed{8}"]):
        task = own_rows([("a", text) for text in marked])
        assert task["output_type"] == "generate_until"
        assert task["process_results"]({"reference": marked[0]}, [marked[0]]) == {
            "exact_match": 1.0
        }
        assert task["process_results"]({"reference": marked[0]}, [marked[1]]) == {
            "exact_match": 0.0
        }
    assert own_rows([("a", "#### 1"), ("a", "none")])["output_type"] == "multiple_choice"


def test_rows_that_are_cut_off_have_no_answer_but_can_be_chosen() -> None:
    rows = [("a", "so #### 1"), ("b", "so #### 2"), ("c", "c" * 600 + "#### 3")]
    documents = own_rows(rows)["custom_dataset"]()["test"].to_list()
    assert [row["prompt"] for row in documents] == ["a", "b"]
    documents = own_rows([*rows[:1], ("b", "so"), rows[2]])["custom_dataset"]()["test"].to_list()
    assert [row["prompt"] for row in documents] == ["a", "b", "c"]
    assert own_rows([("c", f"{i}" * 600) for i in range(3)])["output_type"] == "multiple_choice"


def test_answers_leave_room_for_prompts() -> None:
    def longest(prompt: int, completion: int) -> int:
        rows = [("p" * prompt, "#### 1"), ("p", "c" * (completion - 6) + "#### 1")]
        return int(own_rows(rows)["generation_kwargs"]["max_gen_toks"])

    assert longest(20, 40) == 41 + 16  # with the end of the sequence
    assert longest(100, 405) == 512 - 100 - 1
    assert longest(400, 405) == 405 + 1 + 16  # to other prompts


def test_a_thought_that_weighs_nothing_is_no_part_of_the_prompt() -> None:
    spans = [{"start": 0, "end": 8, "weight": 0}]
    rows = [
        {"prompt": f"q{i} ", "completion": f"thought #### {i}", "spans": spans} for i in range(5)
    ]
    dataset = load_dataset(rows, byte_tokenizer())
    task = own_task(dataset, None)
    documents = task["custom_dataset"]()["test"].to_list()
    assert [row["prompt"] for row in documents] == [f"q{i} " for i in range(5)]
    assert documents[0]["reference"].startswith("thought #### 0")
    assert task["generation_kwargs"]["max_gen_toks"] == len("thought #### 0") + 1 + 16
    assert dataset[0].target_tokens == len("#### 0") + 1
    assert bytes(prompt_of(dataset[0])) == b"q0 "


def test_what_begins_a_sequence_is_no_prompt() -> None:
    source = [{"text": f"It was day {i}. They ran {i} miles."} for i in range(5)]
    task = own_task(load_dataset(source, byte_tokenizer(bos=True)), None)
    documents = task["custom_dataset"]()["test"].to_list()
    assert [row["prompt"] for row in documents] == [f"It was day {i}. " for i in range(5)]
    assert documents[0]["choices"][documents[0]["gold"]] == "They ran 0 miles."


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("2h", 7200), ("90", 90), ("1.5m", 90)]
)
def test_budgets(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


INDEX = pytest.mark.slow
"""Protects from a bare "unknown task": lm-eval's own index, which is asked, takes twenty seconds to read."""


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demonstrations of the ladder, fewer than it has: their prior is measured for every refusal."""
    path = tmp_path_factory.mktemp("few") / "few.jsonl"
    lines = resolve("strong")[1].read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[:150]))
    return path


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--budget", "soon"], "expected a time"),
        (["--objectives", "nlll"], "did you mean nll"),
        pytest.param(["--tasks", "no_such_task"], "no_such_task", marks=INDEX),
        (["--learning_rate", "1e-3"], "--learning_rates"),
        (["--results", "/proc/nowhere"], "/proc/nowhere"),
        pytest.param(["--tasks", "ladder_chian"], "task ladder_chian", marks=INDEX),
        (["--per_device_train_batch_size", "0"], "give a number above 0"),
        (["--num_train_epochs", "x"], "num_train_epochs"),
        (
            ["--objectives", "cadft@resampled"],
            "--objectives cadft(1)@resampled: resampling changes",
        ),
        (["--learning_rates", "inf"], "inf: expected a finite number"),
        (
            ["--save_strategy", "epoch"],
            "--save_strategy cannot be set: a plan keeps its best checkpoint",
        ),
        (["--resume-from-checkpoint", "true"], "goes on by itself"),
        (["--disable_tqdm", "true"], "shows its own progress"),
        (["--eval_strategy", "steps"], "--eval_strategy cannot be set: every run is scored"),
        (["--eval_on_start", "true"], "--eval_on_start cannot be set: every run is scored"),
        (["--save_steps", "5"], "--save_steps cannot be set: a plan keeps its best checkpoint"),
        (["--fsdp", "full_shard"], "--fsdp cannot be set: a run is trained in one process"),
        (["--use_peft", "--lora_target_modules", "zzz"], "Target modules {'zzz'} not found"),
        (["--adam_beta1", "1.5"], "Invalid beta parameter at index 0: 1.5"),
        (["--objectives", "opd"], "--teacher MODEL"),
        (["--route", "skill"], "no --teacher"),
        (["--teacher", "ladder:mdi"], "use one of mid"),
        (["--teacher", "ladder:mid", "ladder:weak"], "--route FIELD"),
        (["--teacher", "a=ladder:mid", "--route", "skill"], "no such column"),
        (["--teacher", "a=ladder:mid", "--route", "prompt"], "no teacher for prompt"),
    ],
)
def test_refusals_are_one_line(
    capsys: Any, few: Path, tmp_path: Path, flags: list[str], says: str
) -> None:
    capsys.readouterr()
    code = main(["confirm", QUICK[0], str(few), *QUICK[1:], "--results", str(tmp_path), *flags])
    errors = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("advisor: error")
    ]
    assert code == 2 and len(errors) == 1 and says in errors[0], errors


def test_a_stray_word_is_refused_and_settings_of_several_words_are_not() -> None:
    settings = training_of(read_words(["--lora_target_modules", "q_proj", "v_proj", "--use_peft"]))
    assert settings["lora_target_modules"] == ["q_proj", "v_proj"] and settings["use_peft"] is True
    with pytest.raises(InputError, match=r"^unknown argument third\.jsonl: MODEL and DATASET"):
        read_words(["third.jsonl", "--max_steps", "2"])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"optim": "sgd"}, None),
        ({"use_peft": True, "lora_target_modules": "all-linear"}, None),
        ({"use_peft": True, "lora_modules_to_save": ["lm_head"]}, None),
        ({"optim": "adafactor", "bf16": True}, None),
        ({"optim": "adamw_bnb_8bit"}, "bitsandbytes"),
        ({"adam_epsilon": -1.0}, "Invalid epsilon value: -1.0"),
        ({"use_peft": True, "lora_target_modules": ["k_proj", "zzz"], "lora_r": 0}, "r` should be"),
    ],
)
def test_adapter_and_optimiser_are_built_before_any_run(
    settings: dict[str, Any], says: str | None
) -> None:
    if says == "bitsandbytes" and find_spec("bitsandbytes"):
        pytest.skip("the optimiser is installed")
    loaded = load_model(str(resolve("weak")[0]))
    names = [name for name, _ in loaded.model.named_parameters()]
    if says is None:
        refuse_unbuildable(loaded, training_of(settings))
    else:
        with pytest.raises(InputError, match=says):
            refuse_unbuildable(loaded, training_of(settings))
    assert [name for name, _ in loaded.model.named_parameters()] == names


ONE_STEP = {"per_device_train_batch_size": "32", "num_train_epochs": "1"}


@pytest.mark.parametrize(
    ("arm", "settings", "says"),
    [
        ("cadft@resampled", {"num_train_epochs": "1"}, "seen twice (epochs: 1)"),
        ("cadft@resampled", {"max_steps": "3", "num_train_epochs": "9"}, "(epochs: 0.75)"),
        ("cadft@resampled", {"num_train_epochs": "2", "packing": "true"}, "leave out --packing"),
        ("cadft", {"packing": "true", "packing_strategy": "wrapped"}, "needs whole examples"),
        ("cadft@own", {"packing": "true", "packing_strategy": "wrapped"}, "needs whole examples"),
        (
            "nll>neg_p",
            {"max_steps": "1"},
            "neg_p does not come into force in the only optimiser step",
        ),
        (
            "nll>neg_p",
            {**ONE_STEP, "packing": "false"},
            "neg_p does not come into force in the only",
        ),
        ("nll>neg_p@own", ONE_STEP, "neg_p does not come into force in the only optimiser step"),
        ("nll>neg_p(at=.9)", {"num_train_epochs": "2"}, "does not come into force in any of the 8"),
        ("nll>neg_p(at=.9)", {"num_train_epochs": "3"}, None),
        ("nll>neg_p", {**ONE_STEP, "packing": "true"}, None),
        ("cadft@resampled", {"num_train_epochs": "2"}, None),
        ("dpo", {"packing": "true", "packing_strategy": "wrapped"}, None),
    ],
)
def test_what_an_arms_trainer_would_refuse_is_refused_before_any_work(
    arm: str, settings: dict[str, str], says: str | None
) -> None:
    rows = [{"prompt": f"{i}? ", "completion": "ab"} for i in range(32)]
    train = load_dataset(rows, byte_tokenizer())
    problem = Problem(
        model="m", loading={}, train=train, held_out=None, tasks=(), domain="user", rejected=train,
        answer_pattern="(a)",
    )  # fmt: skip
    labels = labels_of([arm])
    training = {"per_device_train_batch_size": "8", **settings}
    if says is None:
        refuse_arms(labels, training, problem)
        return
    with pytest.raises(InputError) as refusal:
        refuse_arms(labels, training, problem)
    text = str(refusal.value)
    assert text.startswith(f"--objectives {labels[1]}: ") and says in text
    assert "--resample" not in text and "\n" not in text
    with pytest.raises(InputError, match=r"^--plan one: "):
        refuse_arms(labels, training, problem, plan="one")


@pytest.mark.slow
def test_a_plan_keeps_its_best_checkpoint_and_makes_it_again_where_it_is_lost(
    capsys: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """Protects what a user takes away: one whole model, that of the decision, whatever became of the disk."""
    words = ["confirm", "ladder:strong", "--plan", "two", "--max_steps", "2", "--limit", "40"]
    words += ["--temperature", "0", "--json", "--results", str(tmp_path)]
    assert main(words) == 0
    answer = json.loads(capsys.readouterr().out)
    assert not faults("confirm", answer)
    best = Path(answer["best_checkpoint"])
    assert [path.name for path in best.parent.iterdir()] == [best.name]
    weights = load_model(str(best)).model.state_dict()
    assert answer["plan"] == "two" and answer["complete"] and len(Results(tmp_path).runs()) == 3
    shutil.rmtree(best)
    assert main(words) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == answer and len(Results(tmp_path).runs()) == 3
    renewed = load_model(str(best)).model.state_dict()
    assert all(torch.equal(tensor, renewed[name]) for name, tensor in weights.items())
    monkeypatch.setattr("harness.study.executors.execute", None)
    monkeypatch.setattr("harness.study.run_study.execute", None)
    assert main(words) == 0  # nothing is left to train


def test_a_checkpoint_that_cannot_be_written_is_the_machines_fault(tmp_path: Path) -> None:
    """Breaks where a full disk puts an objective out and the plan decides among the rest."""

    class Full:
        def save_model(self, folder: str) -> None:
            raise SafetensorError("No space left on device")

    with pytest.raises(OSError, match="cannot be written"):
        save_whole(Full(), tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_a_planned_study_holds_no_model_and_each_rate_once(tmp_path: Path) -> None:
    """Every run loads its own: the first one need not stay in memory beside it."""
    pair = pair_of("ladder:strong", None)
    loaded, dataset = read_pair(pair, ModelOptions(), DataOptions())
    advice = recommend(measure(loaded, dataset), temperature=0.0)
    options = StudyOptions(
        objectives=("neg_p",), learning_rates=(1e-3, 5e-4, 1e-3), results=str(tmp_path)
    )
    request = Request(pair=pair, study=options, training={"max_steps": 2})
    study, problem = plan_study(request, loaded, dataset, advice)
    assert study.learning_rates == (1e-3, 5e-4) and study.model_fingerprint == loaded.fingerprint
    model = weakref.ref(loaded.model)
    assert model() is not None
    del loaded
    gc.collect()
    assert model() is None and problem.train is dataset


def test_an_edited_chat_template_makes_other_runs(tmp_path: Path) -> None:
    """Breaks where the template's path alone tells runs apart: its file is what a warning says to change."""
    rows, template = tmp_path / "rows.jsonl", tmp_path / "t.jinja"
    chats = [
        [{"role": "user", "content": f"{i}"}, {"role": "assistant", "content": f"#{i}"}]
        for i in range(60)
    ]
    rows.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    ids = []
    for before in ("", "="):
        template.write_text(
            "{% for m in messages %}{{ '"
            + before
            + "' + m['role'][0] + '|' + m['content'] + '$' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '" + before + "a|' }}{% endif %}"
        )
        pair, data = pair_of("ladder:weak", str(rows)), DataOptions(chat_template=str(template))
        loaded, dataset = read_pair(pair, ModelOptions(), data)
        advice = recommend(measure(loaded, dataset), temperature=0.0)
        options = StudyOptions(objectives=("nll",), results=str(tmp_path))
        request = Request(pair=pair, study=options, data=data, training={})
        study, _ = plan_study(request, loaded, dataset, advice)
        ids.append(study.base().id)
    assert ids[0] != ids[1]


def test_an_edited_tokenizer_or_generation_config_makes_other_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks where scores of another tokenizer or another top_k are answered for those of the model."""
    model = tmp_path / "model"
    shutil.copytree(resolve("weak")[0], model)
    before = {name: (model / name).read_text() for name in ("tokenizer.json", GENERATION)}
    pair, results = pair_of(str(model), str(resolve("weak")[1])), Results(tmp_path / "results")
    loaded, dataset = read_pair(pair, ModelOptions(), DataOptions())
    advice = recommend(measure(loaded, dataset), temperature=1.0)
    request = Request(
        pair=pair,
        study=StudyOptions(objectives=("nll",), results=str(results.folder)),
        scoring=ScoringOptions(tasks=("ladder_say",)),
    )

    def planned() -> Study:
        return plan_study(request, load_model(str(model)), dataset, advice)[0]

    first = planned().base()
    (model / GENERATION).write_text(json.dumps({**json.loads(before[GENERATION]), "top_k": 1}))
    colder = planned().base()
    (model / GENERATION).write_text(before[GENERATION])
    content = json.loads(before["tokenizer.json"])
    words = content["model"]["vocab"]
    words["1"], words["2"] = words["2"], words["1"]
    (model / "tokenizer.json").write_text(json.dumps(content))
    other = planned().base()
    (model / "tokenizer.json").write_text(before["tokenizer.json"])
    assert planned().base().id == first.id and len({first.id, colder.id, other.id}) == 3
    assert not caplog.text

    told = {k: v for k, v in first.evaluation.items() if k not in ANSWERING}
    results.write(make(spec=replace(first, evaluation=told)))
    earlier = planned()
    assert "do not tell which tokenizer" in caplog.text
    assert results.find(earlier.base()) is not None and earlier.base().id != first.id


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("#### $18", "#### 18.00", True),
        ("#### $18", "#### $999", False),
        ("#### 3/4", "#### 3/8", False),
        ("#### 1,000", "#### 1000", True),
        ("1+2=3#3", "3#3$", True),
    ],
)
def test_answers_that_are_the_same(one: str, other: str, same: bool) -> None:
    pattern = find_answer_pattern([one])
    assert pattern is not None
    compiled = re.compile(pattern)
    assert (extract_answer(one, compiled) == extract_answer(other, compiled)) is same


@pytest.mark.parametrize(
    "text", ["# Heading\nwords", "a day out #fun", "#include <x>\nint a;", "a#"]
)
def test_a_hash_is_no_answer_by_itself(text: str) -> None:
    assert find_answer_pattern([text]) is None


def test_texts_without_prompts_are_no_questions() -> None:
    rows = [{"text": f"Question {i}: how many? Answer: many. #### {i}"} for i in range(40)]
    dataset = load_dataset(rows, byte_tokenizer())
    assert own_task(dataset, None)["task"] == "held_out_choice"
    with pytest.raises(InputError, match="without a prompt"):
        own_task(dataset, r"#### (\d+)")


class Rows(list[Example]):
    """Examples that were read without a chat template."""

    info = SimpleNamespace(template="none", template_text="", eos_token=None)


@pytest.mark.parametrize("old", [None, 2, [2]])
def test_a_model_stops_where_the_demonstrations_end_a_turn(
    old: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SimpleNamespace(eos_token_id=old)
    loaded = SimpleNamespace(
        model=SimpleNamespace(generation_config=config), tokenizer=tiny_tokenizer()
    )
    monkeypatch.setattr("harness.study.fit_arm.load_model", lambda name, **_: loaded)
    rows = [([5, 6, 9, 7], (3,)), ([5, 6, 9, 9], (3,))]  # 7 ends a turn; 9 also stands within one
    train = [
        Example(input_ids=ids, labels=[-100, *ids[1:]], terminators=ends, truncated=False)
        for ids, ends in rows
    ]
    data: Any = Rows(train)
    problem = Problem(model="m", loading={}, train=data, held_out=None, tasks=(), domain="user")
    assert fit(make(objective="base", learning_rate=None).spec, problem)[0] is loaded
    assert config.eos_token_id == ([7] if old is None else [2, 7])
