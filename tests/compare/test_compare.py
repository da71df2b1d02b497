"""`compare` on records and on what lm-eval itself writes, held against textbook formulas."""

import io
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import norm, ttest_rel

from advisor.errors import InputError
from harness.cli.compare_table import render
from harness.compare.compare import Comparison, compare
from harness.records.runs import Results, Score
from harness.study.contrasts import Row
from tests.helpers.lm_eval_logs import GREEDY, bits, log
from tests.helpers.records import make

KEYS = {
    "arm", "baseline", "task", "temperature", "difference", "interval", "p_value", "verdict", "seeds",
    "unit", "higher_is_better", "dropped", "complete",
}  # fmt: skip
OF_USE = {"temperature": 0.0, "temperatures": [0.0]}
"""Settings of an evaluation that say where the model is used, so that a study can be settled."""
RNG = np.random.default_rng(0)


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
        "tasks": tuple(dict.fromkeys(s.task for s in scores)) or ("sums",),
        **spec,
    }
    return Results(folder).write(make(objective=objective, seed=seed, scores=scores, **spec))


def row(comparison: Comparison, arm: str, baseline: str) -> Row:
    """The only row of an arm and a baseline, by their texts."""
    texts = comparison.labels
    [found] = [r for r in comparison.rows if (texts[r.arm], texts[r.baseline]) == (arm, baseline)]
    return found


def verdicts(comparison: Comparison) -> dict[tuple[str, str], str]:
    """Verdict by the texts of arm and baseline."""
    texts = comparison.labels
    return {(texts[r.arm], texts[r.baseline]): r.verdict for r in comparison.rows}


def by_task(comparison: Comparison, arm: str, baseline: str) -> dict[str, str]:
    """Verdict on an arm against a baseline by task."""
    return {
        r.task: r.verdict
        for r in comparison.rows
        if (r.arm.label, r.baseline.label) == (arm, baseline)
    }


def shown(comparison: Comparison) -> set[str]:
    """Texts of all arms that have a score."""
    return {comparison.labels[level.arm] for level in comparison.levels}


def test_logs_of_lm_eval_are_paired_by_document(tmp_path: Path) -> None:
    first, second = bits(0.7, 60, seed=1), bits(0.5, 60, seed=2)
    mixed = [int(i) for i in RNG.permutation(60)]
    paths = [log(tmp_path / "sft", first), log(tmp_path / "dft", second, order=mixed)]
    found = compare(paths)
    expected = ttest_rel(second, first)
    interval = expected.confidence_interval(0.95)
    answer = row(found, "dft", "sft")
    assert found.rows == (answer,) and (answer.task, answer.temperature) == ("sums", 0.0)
    assert answer.difference.estimate == pytest.approx(100 * (np.mean(second) - np.mean(first)))
    assert answer.difference.interval == pytest.approx((100 * interval.low, 100 * interval.high))
    assert answer.adjusted_p == pytest.approx(expected.pvalue)
    assert [(level.arm.label, level.mean) for level in found.levels] == [
        ("sft", pytest.approx(70)),
        ("dft", pytest.approx(50)),
    ]


def test_of_logs_that_share_a_part_the_part_is_compared(tmp_path: Path) -> None:
    first, second = bits(0.5, 80, seed=1), bits(0.6, 80, seed=2)
    half = list(range(20, 80))
    found = compare([log(tmp_path / "a", first), log(tmp_path / "b", second, order=half)])
    expected = ttest_rel(second[20:], first[20:]).pvalue
    assert row(found, "b", "a").adjusted_p == pytest.approx(expected)
    turned = compare([tmp_path / "a", tmp_path / "b"], baseline="b")
    assert row(turned, "a", "b").adjusted_p == pytest.approx(expected)
    assert "sums: b and a share 60 of 80 documents" in found.notes


def test_one_folder_may_hold_several_models(tmp_path: Path) -> None:
    for name, share in (("base", 0.4), ("tuned", 0.9)):
        log(tmp_path, bits(share, 50), model=f"runs/{name}")
    found = compare([tmp_path])
    assert found.baseline == "tuned" and verdicts(found) == {("tuned", "base"): "ahead"}


def test_folders_of_one_name_keep_their_paths_apart(tmp_path: Path) -> None:
    paths = [log(tmp_path / name / "out", bits(0.5, 30, seed=i)) for i, name in enumerate("ab")]
    assert shown(compare(paths)) == {str(path) for path in paths}


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
        assert shown(compare(files)) == {"a", "b"}


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
    assert verdicts(found) == {
        ("dft", "nll"): "better",
        ("nll", "base"): "better",
        ("dft", "base"): "better",
    }
    against_base = row(found, "dft", "base").difference  # the base, once, against every seed
    assert (against_base.estimate, against_base.seeds) == (pytest.approx(65), 3)
    assert [(level.arm.label, level.seeds) for level in found.levels] == [
        ("base", 1),
        ("nll", 3),
        ("dft", 3),
    ]


def test_one_seed_shows_checkpoints_and_no_better_objective(tmp_path: Path) -> None:
    for arm, share in (("base", 0.2), ("nll", 0.5), ("dft", 0.9), ("neg_p", 0.1)):
        record(tmp_path, arm, score(bits(share)))
    assert verdicts(compare([tmp_path])) == {
        ("dft", "nll"): "ahead",
        ("neg_p", "nll"): "behind",
        ("nll", "base"): "ahead",
        ("dft", "base"): "ahead",
        ("neg_p", "base"): "behind",
    }


def test_p_values_and_intervals_are_adjusted_by_holm(tmp_path: Path) -> None:
    """The base is no member of the family against NLL."""
    arms = {
        "nll": bits(0.5, seed=1),
        "a": bits(0.55, seed=2),
        "b": bits(0.6, seed=3),
        "c": bits(0.58, seed=4),
    }
    for name, values in {**arms, "base": bits(0.5, seed=5)}.items():
        record(tmp_path, name, score(values))
    tests = {name: ttest_rel(arms[name], arms["nll"]) for name in "abc"}
    raw = {name: test.pvalue for name, test in tests.items()}
    first, second, third = sorted(raw, key=lambda name: raw[name])
    expected = {first: 3 * raw[first]}
    expected[second] = max(expected[first], 2 * raw[second])
    expected[third] = max(expected[second], raw[third])
    found = compare([tmp_path])
    for name, p in expected.items():
        answer = row(found, name, "nll")
        assert answer.adjusted_p == pytest.approx(min(1.0, p))
        interval = tests[name].confidence_interval(1 - 0.05 * raw[name] / p)
        ends = (100 * interval.low, 100 * interval.high)
        assert answer.difference.interval == pytest.approx(ends)
        assert (ends[0] > 0 or ends[1] < 0) == (answer.adjusted_p <= 0.05)


def study(
    folder: Path, *, seeds: Sequence[int] = (0, 1), control: bool = True, **shares: float
) -> None:
    """A finished study of arms with these shares of right answers; NLL's control has the share of NLL."""
    for seed in seeds:
        for i, (arm, share) in enumerate(shares.items()):
            if arm != "base" or seed == seeds[0]:
                own = bits(share, seed=10 * i + seed)
                record(folder, arm, score(own), seed=seed, evaluation=OF_USE)
        if control:
            own = bits(shares["nll"], seed=100 + seed)
            record(folder, "nll", score(own), seed=seed, learning_rate=1e-4, evaluation=OF_USE)


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        ({"nll": 0.2, "dft": 0.3}, "Do not fine-tune: no arm gains as much as 1 point"),
        ({"nll": 0.8, "dft": 0.79}, "Use nll: no other objective is shown to be better (+30.0 points"),
        ({"nll": 0.5, "dft": 0.2}, "Not resolved: the gain of "),
        ({"nll": 0.2, "dft": 0.9}, "Use dft: +70.0 points over nll"),
    ],
    ids=["all worse", "nll better", "nll the same", "dft better"],
)  # fmt: skip
def test_the_verdict_on_a_study_is_the_first_line(
    tmp_path: Path, shares: dict[str, float], says: str
) -> None:
    study(tmp_path, base=0.5, **shares)
    [headline] = compare([tmp_path]).headlines
    assert says in headline and "Not complete" not in headline
    study(tmp_path / "part", base=0.5, **shares, control=False)
    [headline] = compare([tmp_path / "part"]).headlines
    assert says in headline and headline.startswith("Not complete (")


def test_with_one_seed_a_checkpoint_may_be_kept_and_nothing_is_better(tmp_path: Path) -> None:
    study(tmp_path, seeds=(0,), base=0.5, nll=0.2, dft=0.9)
    found = compare([tmp_path])
    assert set(verdicts(found).values()) <= {"ahead", "behind", "not resolved"}
    assert "One seed compares checkpoints, not objectives" in found.headlines[0]


def test_against_the_base_alone_every_arm_stands_once(tmp_path: Path) -> None:
    for seed in range(2):
        record(tmp_path, "nll", score(bits(0.3, seed=seed)), seed=seed)
        record(tmp_path, "dft", score(bits(0.4, seed=9 + seed)), seed=seed)
    record(tmp_path, "base", score(bits(0.7, seed=5)))
    found = compare([tmp_path], baseline="base")
    assert verdicts(found) == {("nll", "base"): "worse", ("dft", "base"): "worse"}
    assert len(found.rows) == 2
    assert row(found, "dft", "base").difference.estimate == pytest.approx(-30)


def test_arms_that_never_differ_are_equivalent_only_on_enough_documents(tmp_path: Path) -> None:
    """No spread seen is no spread of zero: of 20 documents it is that of two imagined ones beside them."""
    for name, n in (("few", 20), ("many", 2000)):
        for arm, seed in itertools.product(("nll", "dft"), range(2)):
            record(tmp_path / name, arm, score([0.0] * n), seed=seed)
    assert compare([tmp_path / "few"]).rows[0].verdict == "not resolved"
    assert compare([tmp_path / "many"]).rows[0].verdict == "equivalent"
    error = 2**0.5 / (20 + 2)  # Bonett and Price's standard error of the mean
    wanted = (norm.ppf(0.975) + norm.ppf(0.8)) ** 2 * 20 * error**2 / 0.01**2
    [said] = [note for note in compare([tmp_path / "few"]).notes if "not told apart" in note]
    number = re.search(r"dft and nll are not told apart; .* 1 takes about ([\d,]+) documents", said)
    assert number and int(number[1].replace(",", "")) == pytest.approx(wanted, rel=0.001)


def test_seeds_are_paired_and_an_arm_that_left_the_race_is_compared_on_its_own(
    tmp_path: Path,
) -> None:
    values = {seed: bits(0.3 + 0.1 * seed, seed=seed) for seed in range(3)}
    for seed in range(3):
        record(tmp_path, "nll", score(values[seed]), seed=seed)
    record(tmp_path, "dft", score(values[0]), seed=0)
    found = row(compare([tmp_path]), "dft", "nll").difference
    assert (found.estimate, found.seeds) == (0.0, 1)


def test_repeats_are_averaged_per_document(tmp_path: Path) -> None:
    sampled = RNG.integers(0, 2, (50, 4)).astype(float)
    several = replace(
        score([0.0] * 50, temperature=1.0), values=tuple(map(tuple, sampled.tolist()))
    )
    single = score(bits(0.5, 50), temperature=1.0)
    record(tmp_path, "nll", single)
    record(tmp_path, "dft", several)
    expected = ttest_rel(sampled.mean(axis=1), [v for (v,) in single.values])
    assert row(compare([tmp_path]), "dft", "nll").adjusted_p == pytest.approx(expected.pvalue)


def test_scores_that_are_no_shares_keep_their_unit(tmp_path: Path) -> None:
    first, second = RNG.normal(-3, 1, 50), RNG.normal(-3, 1, 50)
    for arm, values in (("nll", first), ("dft", second)):
        record(tmp_path, arm, score([float(f"{x:.6g}") for x in values], unit="nats"))
    expected = second.mean() - first.mean()
    found = compare([tmp_path])
    assert found.rows[0].difference.estimate == pytest.approx(expected, abs=1e-4)
    assert found.table()[0]["unit"] == "nats"
    assert not any("takes about" in note for note in found.notes)  # no margin that would be reached


def test_where_lower_is_better_the_lower_arm_is(tmp_path: Path) -> None:
    """The difference keeps its own sign; the words follow the direction of the metric."""
    loss = {"metric": "word_perplexity", "unit": "nats per word", "higher_is_better": False}
    for seed in range(3):
        for arm, level in (("base", 9.0), ("nll", 5.0), ("dft", 3.0), ("neg_p", 6.0)):
            values = np.random.default_rng(seed).normal(level, 0.1, 60)
            record(tmp_path, arm, score(values.tolist(), **loss), seed=seed, evaluation=OF_USE)
    found = compare([tmp_path])
    assert row(found, "dft", "nll").difference.estimate == pytest.approx(-2.0, abs=1e-4)
    assert verdicts(found)["dft", "nll"] == "better" and verdicts(found)["neg_p", "nll"] == "worse"
    assert "Use dft: -2 nats per word over nll" in found.headlines[0]


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
    record(
        tmp_path,
        "nll",
        score(bits(0.6)),
        seed=1,
        learning_rate=1e-4,
        evaluation={"temperature": 0.0},
    )
    found = compare([tmp_path])
    means = {level.arm.label: level.mean for level in found.levels}
    assert means == pytest.approx({"nll": 40, "nll, lr/10": 80 * 0.5 + 60 * 0.5, "dft": 40})
    assert "nll: learning rate 0.001 of 2, by development documents" in found.notes


def test_without_development_documents_every_rate_is_an_arm(tmp_path: Path) -> None:
    grid(tmp_path, development=False)
    with pytest.raises(InputError, match=r"--baseline nll: the arms are .*nll @ 0.0001"):
        compare([tmp_path], baseline="nll")
    arms = {f"{n} @ {r}" for n in ("nll", "dft") for r in ("0.001", "0.0001")}
    assert shown(compare([tmp_path])) == arms


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
    expected = {"strong: sums": "ahead", "weak: sums": "behind"}
    assert by_task(found, "dft", "nll") == expected
    assert [r.task for r in compare([tmp_path / "weak"]).rows] == ["sums"] * 3


def test_other_training_is_another_setting_with_the_same_base(tmp_path: Path) -> None:
    record(tmp_path, "base", score(bits(0.1)))
    for steps in (10, 20):
        for arm in ("nll", "dft"):
            record(tmp_path, arm, score(bits(0.5)), training={"max_steps": steps})
    found = compare([tmp_path])
    assert {r.task for r in found.rows} == {"max_steps=10: sums", "max_steps=20: sums"}
    assert sum(r.baseline.objective == "base" for r in found.rows) == 4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"evaluation": {"repeats": 1}}, {"evaluation": {"repeats": 4}}),
        ({"evaluation": {"temperature": 0.0}}, {"evaluation": {"temperature": 1.0}}),
        ({"tasks": ("sums",)}, {"tasks": ("sums", "dates")}),
    ],
    ids=["repeats", "temperature", "tasks"],
)
def test_what_was_scored_otherwise_is_another_study(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any]
) -> None:
    for how, share in ((one, 0.9), (other, 0.1)):
        for arm, right in (("base", 0.3), ("nll", 0.5), ("dft", share)):
            record(tmp_path, arm, score(bits(right)), **how)
    found = compare([tmp_path])
    both = sorted(verdict for verdict in by_task(found, "dft", "nll").values())
    assert both == ["ahead", "behind"] and len(found.rows) == 6


def test_what_two_teachers_made_of_a_model_is_two_settings(tmp_path: Path) -> None:
    for arm, share in (("base", 0.1), ("nll", 0.5)):
        record(tmp_path, arm, score(bits(share)))
    for teacher, share in (("big", 0.8), ("small", 0.2)):
        models = {teacher: {"name": teacher, "fingerprint": teacher}}
        record(tmp_path, "opd", score(bits(share)), teachers={"route": None, "models": models})
    found = compare([tmp_path])
    expected = {"teachers=big: sums": "ahead", "teachers=small: sums": "behind"}
    assert by_task(found, "opd", "nll") == expected


def test_another_reading_of_the_dataset_is_another_setting(tmp_path: Path) -> None:
    for column, share in (("chosen", 0.8), ("rejected", 0.2)):
        read = {"reading": {"completion_field": column}}
        for arm, right in (("base", 0.1), ("nll", 0.5), ("dft", share)):
            record(tmp_path, arm, score(bits(right)), **read)
    found = compare([tmp_path])
    assert by_task(found, "dft", "nll") == {
        "completion_field=chosen: sums": "ahead",
        "completion_field=rejected: sums": "behind",
    }


def test_records_and_logs_meet(tmp_path: Path) -> None:
    from lm_eval.utils import hash_string

    ids = tuple(hash_string(f"document {i}")[:16] for i in range(40))
    values = bits(0.5, 40, seed=3)
    record(tmp_path / "r", "nll", score(values, documents=ids, filter="strict"),
           evaluation={"num_fewshot": 5})  # fmt: skip
    found = compare([tmp_path / "r", log(tmp_path / "base", bits(0.3, 40), shots=5)])
    assert row(found, "nll", "base").difference.estimate == pytest.approx(20)
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

    whole = ("sums, choice, dates", 1.0)  # all tasks together, where all have a score
    assert seen() == [whole, ("sums", 0.0), ("sums", 1.0), ("choice", None), ("dates", 1.0)]
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
        parts = [score(bits(share), hostile, part=part) for part in ("development", "test")]
        record(tmp_path, arm, *parts, evaluation=OF_USE)
    stream = io.StringIO()
    render(compare([tmp_path]), Console(file=stream, width=200))
    text = stream.getvalue()
    assert "\x1b" not in text and "[red]\\x1b[2Jsums" in text
    assert "Keep the untouched model: no checkpoint does better on the development" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["dft", "400", "x", "1", "40.0", "+10.0"] in [line[:6] for line in lines]
    assert ["base", "400", "x", "1", "80.0"] in [line[2:7] for line in lines]


def test_no_torch_is_needed() -> None:
    heavy = {"torch", "transformers", "lm_eval", "datasets", "pandas"}
    code = f"import harness.compare.compare, sys; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
