"""`compare` on records and on what lm-eval itself writes, held against textbook formulas."""

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import ttest_rel
from test_records import make

from advisor.errors import InputError
from harness.compare import STAY, Comparison, Row, compare, render
from harness.records import Results, Score

KEYS = {"arm", "baseline", "task", "temperature", "difference", "interval", "p_value", "verdict"}
GREEDY = {"until": ["\n"], "do_sample": False}
RNG = np.random.default_rng(0)


def bits(share: float, n: int = 400, seed: int = 0) -> list[float]:
    """0/1 scores with exactly that share of ones, in a random order."""
    ones = np.arange(n) < round(share * n)
    return [float(x) for x in np.random.default_rng(seed).permutation(ones)]


def score(values: Sequence[float], task: str = "sums", **changes: Any) -> Score:
    content = {
        "task": task, "metric": "exact_match", "temperature": 0.0, "part": "test",
        "documents": tuple(f"{i:016x}" for i in range(len(values))),
        "values": tuple((x,) for x in values),
    }  # fmt: skip
    return Score(**{**content, **changes})


def record(folder: Path, objective: str, *scores: Score, seed: int = 0, **spec: Any) -> Path:
    spec = {
        "learning_rate": None if objective == "base" else 1e-3,
        "training": {},
        "evaluation": {},
        **spec,
    }
    return Results(folder).write(make(objective=objective, seed=seed, scores=scores, **spec))


def log(folder: Path, values: Sequence[float], *, decoding: Any = GREEDY, order: Sequence[int] = (),
        shots: int = 0, model: str = "org/model", task: str = "sums", ids: str = "document",
        text: str = "?") -> Path:  # fmt: skip
    """Have lm-eval write its results and samples as `lm-eval run --log_samples --output_path` does."""
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.utils import hash_string

    samples: list[dict[str, Any]] = []
    for name in ("strict", "loose"):
        for i in order or range(len(values)):
            value = values[i] if name == "strict" else 1.0
            samples.append(
                {"doc_id": i, "doc": {"text": text}, "target": "7",
                 "arguments": [("text", decoding)], "resps": [["7"]], "filtered_resps": ["7"],
                 "filter": name, "metrics": ["exact_match"],
                 "doc_hash": hash_string(f"{ids} {i}"), "prompt_hash": "p", "target_hash": "t",
                 "exact_match": np.float64(value)}
            )  # fmt: skip
    tracker = EvaluationTracker(output_path=str(folder))
    tracker.general_config_tracker.log_experiment_args("hf", f"pretrained={model}", "", None, False)
    tracker.save_results_aggregated({"results": {}, "n-shot": {task: shots}}, {task: samples})
    tracker.save_results_samples(task, samples)  # type: ignore[arg-type]
    return folder


def row(comparison: Comparison, arm: str, baseline: str, **where: Any) -> Row:
    """The only row of an arm and a baseline."""
    [found] = [
        r
        for r in comparison.rows
        if (r.arm, r.baseline) == (arm, baseline)
        and all(getattr(r, key) == value for key, value in where.items())
    ]
    return found


def test_logs_of_lm_eval_are_paired_by_document(tmp_path: Path) -> None:
    first, second = bits(0.7, 60, seed=1), bits(0.5, 60, seed=2)
    mixed = [int(i) for i in RNG.permutation(60)]
    paths = [log(tmp_path / "sft", first), log(tmp_path / "dft", second, order=mixed)]
    found = compare(paths)
    expected = ttest_rel(second, first)
    interval = expected.confidence_interval(0.95)
    answer = row(found, "dft", "sft")
    assert found.rows == (answer,) and (answer.task, answer.temperature) == ("sums", 0.0)
    assert answer.difference == pytest.approx(100 * (np.mean(second) - np.mean(first)))
    assert answer.interval == pytest.approx((100 * interval.low, 100 * interval.high))
    assert answer.p_value == pytest.approx(expected.pvalue)
    assert [(level.arm, level.mean) for level in found.levels] == [
        ("sft", pytest.approx(70)),
        ("dft", pytest.approx(50)),
    ]


def test_of_logs_that_share_a_part_the_part_is_compared(tmp_path: Path) -> None:
    first, second = bits(0.5, 80, seed=1), bits(0.6, 80, seed=2)
    half = list(range(20, 80))
    found = compare([log(tmp_path / "a", first), log(tmp_path / "b", second, order=half)])
    expected = ttest_rel(second[20:], first[20:]).pvalue
    assert row(found, "b", "a").p_value == pytest.approx(expected)
    turned = compare([tmp_path / "a", tmp_path / "b"], baseline="b")
    assert row(turned, "a", "b").p_value == pytest.approx(expected)
    assert "sums: b and a share 60 of 80 documents" in found.notes


def test_one_folder_may_hold_several_models(tmp_path: Path) -> None:
    for name, share in (("base", 0.4), ("tuned", 0.9)):
        log(tmp_path, bits(share, 50), model=f"runs/{name}")
    found = compare([tmp_path])
    assert row(found, "tuned", "base").verdict == "better"
    assert found.baseline == "tuned" and row(found, "base", "tuned").verdict == "worse"


def test_folders_of_one_name_keep_their_paths_apart(tmp_path: Path) -> None:
    paths = [log(tmp_path / name / "out", bits(0.5, 30, seed=i)) for i, name in enumerate("ab")]
    assert {level.arm for level in compare(paths).levels} == {str(path) for path in paths}


@pytest.mark.parametrize(
    ("decoding", "temperature"),
    [({"do_sample": True, "temperature": 0.7}, 0.7), (GREEDY, 0.0), (" continuation", None)],
    ids=["sampled", "greedy", "choice"],
)
def test_the_temperature_is_that_of_the_requests(
    tmp_path: Path, decoding: Any, temperature: float | None
) -> None:
    paths = [log(tmp_path / n, bits(0.5, 30), decoding=decoding) for n in ("a", "b")]
    assert [r.temperature for r in compare(paths).rows] == [temperature]


def test_files_may_be_given_one_by_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        log(tmp_path / "out", bits(0.5, 30), model=name)
    for pattern in ("samples_*.jsonl", "results_*.json"):
        files = sorted(tmp_path.rglob(pattern))
        assert len(files) == 2
        assert {level.arm for level in compare(files).levels} == {"a", "b"}


def test_the_latest_of_two_evaluations_counts(tmp_path: Path) -> None:
    for values in (bits(0.1, 30), bits(0.9, 30)):
        log(tmp_path / "a", values)
    found = compare([tmp_path / "a", log(tmp_path / "b", bits(0.5, 30))])
    assert found.levels[0].mean == pytest.approx(90)


def test_every_arm_stands_against_nll_and_base(tmp_path: Path) -> None:
    for seed in range(3):
        record(tmp_path, "nll", score(bits(0.5, seed=seed)), seed=seed)
        record(tmp_path, "dft", score(bits(0.8 + seed / 20, seed=seed)), seed=seed)
    record(tmp_path, "base", score(bits(0.2)))
    found = compare([tmp_path])
    assert all(set(entry) == KEYS for entry in found.table())
    json.dumps(found.table())
    assert {(r.arm, r.baseline): r.verdict for r in found.rows} == {
        ("base", "nll"): "worse",
        ("dft", "nll"): "better",
        ("nll", "base"): "better",
        ("dft", "base"): "better",
    }
    assert row(found, "dft", "base").difference == pytest.approx(
        65
    )  # the base, once, against every seed
    assert [(level.arm, level.seeds) for level in found.levels] == [
        ("base", 1),
        ("nll", 3),
        ("dft", 3),
    ]


def test_p_values_are_adjusted_by_holm(tmp_path: Path) -> None:
    arms = {
        "nll": bits(0.5, seed=1),
        "a": bits(0.55, seed=2),
        "b": bits(0.6, seed=3),
        "c": bits(0.58, seed=4),
    }
    for name, values in arms.items():
        record(tmp_path, name, score(values))
    raw = {name: ttest_rel(arms[name], arms["nll"]).pvalue for name in "abc"}
    first, second, third = sorted(raw, key=lambda name: raw[name])
    expected = {first: 3 * raw[first]}
    expected[second] = max(expected[first], 2 * raw[second])
    expected[third] = max(expected[second], raw[third])
    found = {r.arm: r.p_value for r in compare([tmp_path]).rows}
    assert found == pytest.approx({name: min(1.0, p) for name, p in expected.items()})


@pytest.mark.parametrize(
    ("nll", "dft", "says"),
    [(0.2, 0.3, STAY), (0.8, 0.7, "worse"), (0.5, 0.2, "equivalent"), (0.2, 0.53, "better")],
    ids=["both worse", "nll better", "nll the same", "dft not resolved"],
)
def test_do_not_fine_tune_where_no_arm_may_beat_the_base(
    tmp_path: Path, nll: float, dft: float, says: str
) -> None:
    record(tmp_path, "nll", score(bits(nll)))
    record(tmp_path, "dft", score(bits(dft, seed=9)))
    record(tmp_path, "base", score(bits(0.5)))
    expected = STAY if says == "equivalent" else says
    assert row(compare([tmp_path]), "base", "nll").verdict == expected


def test_against_the_base_alone_the_base_has_its_row_too(tmp_path: Path) -> None:
    record(tmp_path, "nll", score(bits(0.3)))
    record(tmp_path, "dft", score(bits(0.4, seed=9)))
    record(tmp_path, "base", score(bits(0.7, seed=5)))
    found = compare([tmp_path], baseline="base")
    assert len(found.rows) == 3 and row(found, "base", "dft").verdict == STAY
    mirrored, original = row(found, "base", "dft"), row(found, "dft", "base")
    assert mirrored.difference == pytest.approx(30) and original.difference == pytest.approx(-30)
    assert mirrored.interval == (-original.interval[1], -original.interval[0])


def test_arms_that_never_differ_are_equivalent_only_on_enough_documents(tmp_path: Path) -> None:
    for name, n in (("few", 20), ("many", 2000)):
        for arm in ("nll", "dft"):
            record(tmp_path / name, arm, score([0.0] * n))
    assert compare([tmp_path / "few"]).rows[0].verdict == "not resolved"
    assert compare([tmp_path / "many"]).rows[0].verdict == "equivalent"
    assert any(
        "about" in note and "documents" in note for note in compare([tmp_path / "few"]).notes
    )


def test_seeds_are_paired_and_an_arm_that_left_the_race_is_compared_on_its_own(
    tmp_path: Path,
) -> None:
    values = {seed: bits(0.3 + 0.1 * seed, seed=seed) for seed in range(3)}
    for seed in range(3):
        record(tmp_path, "nll", score(values[seed]), seed=seed)
    record(tmp_path, "dft", score(values[1]), seed=1)
    found = row(compare([tmp_path]), "dft", "nll")
    assert found.difference == 0.0


def test_repeats_are_averaged_per_document(tmp_path: Path) -> None:
    sampled = RNG.integers(0, 2, (50, 4)).astype(float)
    several = replace(
        score([0.0] * 50, temperature=1.0), values=tuple(map(tuple, sampled.tolist()))
    )
    single = score(bits(0.5, 50), temperature=1.0)
    record(tmp_path, "nll", single)
    record(tmp_path, "dft", several)
    expected = ttest_rel(sampled.mean(axis=1), [v for (v,) in single.values])
    assert row(compare([tmp_path]), "dft", "nll").p_value == pytest.approx(expected.pvalue)


def test_scores_that_are_no_shares_keep_their_unit(tmp_path: Path) -> None:
    first, second = RNG.normal(-3, 1, 50), RNG.normal(-3, 1, 50)
    for arm, values in (("nll", first), ("dft", second)):
        record(tmp_path, arm, score([float(f"{x:.6g}") for x in values], unit="nats"))
    expected = second.mean() - first.mean()
    assert compare([tmp_path]).rows[0].difference == pytest.approx(expected, abs=1e-4)


def grid(folder: Path, *, development: bool = True) -> None:
    """Two objectives at two rates, NLL also at a tenth; the better rate on development is worse on test."""
    for name in ("nll", "dft"):
        for rate, dev, test in ((1e-3, 0.9, 0.4), (1e-4, 0.5, 0.8)):
            parts = [score(bits(dev, 500), part="development")] if development else []
            parts.append(score(bits(test)))
            record(folder, name, *parts, learning_rate=rate, evaluation={"temperature": 0.0})
    more = [score(bits(0.6)), score(bits(0.99), part="development")]
    for seed in range(2):
        record(folder, "nll", *more, seed=seed, learning_rate=1e-5, evaluation={"temperature": 0.0})


def test_learning_rates_are_chosen_on_development_documents(tmp_path: Path) -> None:
    grid(tmp_path)
    record(tmp_path, "nll", score(bits(0.6)), seed=1, learning_rate=1e-4)
    found = compare([tmp_path])
    means = {level.arm: level.mean for level in found.levels}
    assert means == pytest.approx({"nll": 40, "nll, lr/10": 80 * 0.5 + 60 * 0.5, "dft": 40})
    assert "nll: learning rate 0.001 of 2, by development documents" in found.notes


def test_without_development_documents_every_rate_is_an_arm(tmp_path: Path) -> None:
    grid(tmp_path, development=False)
    with pytest.raises(InputError, match=r"--baseline nll: the arms are .*nll @ 0.0001"):
        compare([tmp_path], baseline="nll")
    arms = {level.arm for level in compare([tmp_path]).levels}
    assert arms == {f"{n} @ {r}" for n in ("nll", "dft") for r in ("0.001", "0.0001")} | {
        "nll @ 1e-05"
    }


def test_models_and_datasets_are_not_mixed(tmp_path: Path) -> None:
    for model, gain in (("strong", 0.3), ("weak", -0.3)):
        for arm, share in (("base", 0.1), ("nll", 0.5), ("dft", 0.5 + gain)):
            record(
                tmp_path / model,
                arm,
                score(bits(share)),
                model=f"models/{model}",
                model_fingerprint=model,
            )
    found = compare([tmp_path])
    verdicts = {r.task: r.verdict for r in found.rows if (r.arm, r.baseline) == ("dft", "nll")}
    assert verdicts == {"strong: sums": "better", "weak: sums": "worse"}
    assert [r.task for r in compare([tmp_path / "weak"]).rows] == ["sums"] * 4


def test_other_training_is_another_setting_with_the_same_base(tmp_path: Path) -> None:
    record(tmp_path, "base", score(bits(0.1)))
    for steps in (10, 20):
        for arm in ("nll", "dft"):
            record(tmp_path, arm, score(bits(0.5)), training={"max_steps": steps})
    found = compare([tmp_path])
    assert {r.task for r in found.rows} == {"max_steps=10: sums", "max_steps=20: sums"}
    assert sum(r.baseline == "base" for r in found.rows) == 4


def test_what_two_teachers_made_of_a_model_is_two_settings(tmp_path: Path) -> None:
    for arm, share in (("base", 0.1), ("nll", 0.5)):
        record(tmp_path, arm, score(bits(share)))
    for teacher, share in (("big", 0.8), ("small", 0.2)):
        models = {teacher: {"name": teacher, "fingerprint": teacher}}
        record(tmp_path, "opd", score(bits(share)), teachers={"route": None, "models": models})
    found = compare([tmp_path])
    verdicts = {r.task: r.verdict for r in found.rows if (r.arm, r.baseline) == ("opd", "nll")}
    assert verdicts == {"teachers=big: sums": "better", "teachers=small: sums": "worse"}


def test_another_reading_of_the_dataset_is_another_setting(tmp_path: Path) -> None:
    for column, share in (("chosen", 0.8), ("rejected", 0.2)):
        read = {"reading": {"completion_field": column}}
        for arm, right in (("base", 0.1), ("nll", 0.5), ("dft", share)):
            record(tmp_path, arm, score(bits(right)), **read)
    found = compare([tmp_path])
    verdicts = {r.task: r.verdict for r in found.rows if (r.arm, r.baseline) == ("dft", "nll")}
    assert verdicts == {
        "completion_field=chosen: sums": "better",
        "completion_field=rejected: sums": "worse",
    }


def test_records_and_logs_meet(tmp_path: Path) -> None:
    from lm_eval.utils import hash_string

    ids = tuple(hash_string(f"document {i}")[:16] for i in range(40))
    values = bits(0.5, 40, seed=3)
    record(tmp_path / "r", "nll", score(values, documents=ids, filter="strict"),
           evaluation={"num_fewshot": 5})  # fmt: skip
    found = compare([tmp_path / "r", log(tmp_path / "base", bits(0.3, 40), shots=5)])
    assert row(found, "nll", "base").difference == pytest.approx(20)
    other = log(tmp_path / "other", bits(0.3, 40), shots=0)
    with pytest.raises(InputError, match="nll and other were evaluated with different num_fewshot"):
        compare([tmp_path / "r", other])


def test_tasks_and_temperatures_can_be_singled_out(tmp_path: Path) -> None:
    for arm in ("nll", "dft"):
        record(
            tmp_path, arm, score(bits(0.5)), score(bits(0.5), temperature=1.0),
            score(bits(0.5), "choice", temperature=None), score(bits(0.5), "dates", temperature=1.0),
        )  # fmt: skip

    def seen(**asked: Any) -> list[tuple[str, float | None]]:
        return [(r.task, r.temperature) for r in compare([tmp_path], **asked).rows]

    assert seen() == [("sums", 0.0), ("sums", 1.0), ("choice", None), ("dates", 1.0)]
    assert seen(temperature=0.0) == [("sums", 0.0), ("choice", None)]
    assert seen(temperature=1.0, task="dates") == [("dates", 1.0)]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda f: [f / "absent"], "no such file or folder"),
        (lambda f: [f], "neither run records nor lm-eval's samples"),
        (lambda f: [write(f / "samples_a_2026-01-01T00-00-00.1.jsonl", "{")], "samples_a_2026"),
        (lambda f: [write(f / "runs" / "a.json", "{}").parent.parent], "not a whole record"),
        (lambda f: [write(f / "config.json", '{"model_type": "llama"}')], "not a whole record"),
        (lambda f: [Results(f).write(make(error="OSError: gone", scores=()))], "the run failed"),
        (lambda f: [record(f, "nll", score(bits(0.5)))], "nothing to compare: nll"),
        (lambda f: [log(f / "a", bits(0.5)), log(f / "b", bits(0.5), task="dates")], "no task, metric"),
        (lambda f: [log(f / "a", bits(0.5)), log(f / "b", bits(0.5), ids="other")], "0 documents in common"),
    ],
    ids=["absent", "empty", "broken log", "broken record", "foreign", "failed", "one arm", "other task",
         "other documents"],
)  # fmt: skip
def test_what_cannot_be_compared_is_said_in_one_line(tmp_path: Path, build: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as refusal:
        compare(build(tmp_path))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("asked", "says"),
    [({"baseline": "sft"}, "--baseline sft: the arms are"), ({"task": "x"}, "no test scores of task x"),
     ({"temperature": 0.5}, "at temperature 0.5: there are tasks sums at temperatures 0")],
    ids=str,
)  # fmt: skip
def test_what_is_not_there_is_answered_with_what_is(
    tmp_path: Path, asked: dict[str, Any], says: str
) -> None:
    for arm in ("nll", "dft"):
        record(tmp_path, arm, score(bits(0.5)))
    with pytest.raises(InputError, match=says):
        compare([tmp_path], **asked)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_the_table_shows_the_base_and_what_follows(tmp_path: Path) -> None:
    hostile = "[red]\x1b[2Jsums"
    for arm, share in (("nll", 0.3), ("dft", 0.4), ("base", 0.8)):
        record(tmp_path, arm, score(bits(share), hostile))
    stream = io.StringIO()
    render(compare([tmp_path]), Console(file=stream, width=200))
    text = stream.getvalue()
    assert "\x1b" not in text and "[red]\\x1b[2Jsums" in text
    assert "temperature 0: do not fine-tune: no arm is better than the untouched model" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["dft", "400", "x", "1", "40.0", "+10.0"] in [line[:6] for line in lines]
    assert ["base", "400", "x", "1", "80.0"] in [line[2:7] for line in lines]


def test_no_torch_is_needed() -> None:
    heavy = {"torch", "transformers", "lm_eval", "datasets", "pandas"}
    code = f"import harness.compare, sys; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
