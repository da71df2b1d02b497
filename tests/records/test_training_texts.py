"""Settings of a training are texts in records, typed elsewhere; how a value is spelt makes no other run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.records.runs import Results
from harness.records.training_texts import settled, texts_of
from harness.study.confirm import finished_runs
from harness.study.from_records import belongs, evidence_of
from harness.study.study import next_runs
from harness.train.trl_settings import read_words, typed
from tests.helpers.studies import flat, play, study_of

WORDS = [
    *("--per_device_train_batch_size", "8", "--num_train_epochs", "2", "--weight_decay", "1e-2"),
    *("--lr_scheduler_type", "cosine", "--use_peft", "yes", "--packing", "1"),
    *("--lora_target_modules", "q_proj", "v_proj", "--eval_strategy", "no"),
]
TYPED = {
    "per_device_train_batch_size": 8, "num_train_epochs": 2.0, "weight_decay": 0.01,
    "lr_scheduler_type": "cosine", "use_peft": True, "packing": True,
    "lora_target_modules": ["q_proj", "v_proj"], "eval_strategy": "no",
}  # fmt: skip
TEXTS = {
    "per_device_train_batch_size": "8", "num_train_epochs": "2", "weight_decay": "0.01",
    "lr_scheduler_type": "cosine", "use_peft": "true", "packing": "true",
    "lora_target_modules": ["q_proj", "v_proj"], "eval_strategy": "no",
}  # fmt: skip
AS_TYPED_BY_A_USER = {
    **TEXTS, "num_train_epochs": "2.0", "weight_decay": "1e-2", "use_peft": "yes", "packing": "1"
}  # fmt: skip


def test_texts_and_values_are_the_same_settings() -> None:
    assert read_words(WORDS) == TYPED and texts_of(TYPED) == TEXTS
    assert typed(TEXTS) == typed(AS_TYPED_BY_A_USER) == typed(TYPED) == TYPED
    assert texts_of(TEXTS) == TEXTS and texts_of({"a": ["x"], "b": 1e-05}) == {
        "a": "x",
        "b": "1e-05",
    }


def test_spellings_of_one_value_are_one_and_other_values_are_not() -> None:
    assert settled(AS_TYPED_BY_A_USER) == settled(TEXTS)
    for name, other in {"weight_decay": "0.1", "use_peft": "no", "eval_strategy": "epoch"}.items():
        assert settled({**TEXTS, name: other}) != settled(TEXTS)


@pytest.mark.parametrize("recorded", [TEXTS, AS_TYPED_BY_A_USER])
def test_a_finished_study_whose_records_have_the_users_words_runs_nothing(
    recorded: dict[str, Any], tmp_path: Path
) -> None:
    before, now = study_of(training=recorded), study_of(training=texts_of(TYPED))
    runs = play(before, lambda arm, _: flat(0.8 if arm == "neg_p" else 0.5))
    kept = [replace(run, spec=_with(run.spec, recorded)) for run in runs]
    for run in kept:
        Results(tmp_path).write(run)
    results = Results(tmp_path)
    assert len(finished_runs(now, results)) == len(kept)
    assert next_runs(now, finished_runs(now, results)) == []
    assert all(belongs(run.spec, now) and results.find(run.spec) for run in kept)
    assert len(evidence_of(results.runs())) == 1


def _with(spec: Any, recorded: dict[str, Any]) -> Any:
    """The specification as an earlier version wrote it: with the words of its command line."""
    return replace(spec, training=recorded if spec.training else {})
