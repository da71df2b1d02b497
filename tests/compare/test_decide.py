"""Which checkpoint is kept: held against textbook formulas, an exhaustive bootstrap and decisions by hand."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import sem, ttest_rel

from advisor.errors import InputError
from harness.cli.main import main
from harness.compare.decide import Decision, decide
from harness.compare.plan_file import read_plan
from harness.compare.score_files import read_scores
from tests.helpers.answers import faults
from tests.helpers.lm_eval_logs import GREEDY, bits, log
from tests.helpers.score_rows import right, rows, write_rows


def decided(folder: Path, *arms: list[dict[str, Any]], **settings: Any) -> Decision:
    path = write_rows(folder / "scores.jsonl", *arms)
    return decide(read_scores([path])[0], **settings)


def against(decision: Decision, baseline: str, part: str = "chosen_on") -> Any:
    found = getattr(decision, part).rows
    return next(row for row in found if decision.labels[row.baseline] == baseline)


def test_differences_and_errors_are_the_textbooks(tmp_path: Path) -> None:
    """Breaks where arms are not paired by document, or an error is of another number of them."""
    first, second = right(0.7, seed=1), right(0.6, seed=2)
    found = decided(tmp_path, rows("nll", second), rows("cadft", list(first)))
    assert found.labels[found.best] == "cadft(1)" and found.action == "keep"
    top, other = found.chosen_on.standings
    assert top.mean == pytest.approx(100 * np.mean(first))
    assert top.standard_error == pytest.approx(100 * sem(first))
    assert other.standard_error == pytest.approx(100 * sem(second))
    textbook = ttest_rel(first, second)
    row = against(found, "nll")
    assert row.adjusted_p == pytest.approx(textbook.pvalue)
    low, high = textbook.confidence_interval(0.95)
    assert row.difference.interval == pytest.approx((100 * low, 100 * high))
    assert row.verdict == ("ahead" if textbook.pvalue <= 0.05 else "not resolved")


def test_documents_are_told_by_their_names_and_not_by_their_order(tmp_path: Path) -> None:
    first, second = right(0.7, seed=1), right(0.6, seed=2)
    turned = list(reversed(rows("nll", second)))
    one = decided(tmp_path, rows("neg_p", first), rows("nll", second))
    other = decided(tmp_path, rows("neg_p", first), turned)
    assert against(one, "nll").difference == against(other, "nll").difference


def test_the_chance_is_that_of_every_resample_there_is(tmp_path: Path) -> None:
    """Breaks where arms are resampled each for itself, or ties count for one arm alone."""
    scores = {"nll": [1, 0, 0, 1, 0.0], "neg_p": [1, 0, 1, 1, 0.0], "dpo(0.1)": [0, 1, 1, 0, 1.0]}
    found = decided(tmp_path, *(rows(arm, x) for arm, x in scores.items()))
    assert found.labels[found.best] == "dpo"  # a tie with neg_p, by the alphabet
    kept = 0.0
    for drawn in itertools.product(range(5), repeat=5):
        sums = {arm: sum(own[i] for i in drawn) for arm, own in scores.items()}
        leaders = [arm for arm, total in sums.items() if total == max(sums.values())]
        kept += ("dpo(0.1)" in leaders) / len(leaders)
    exact = kept / 5**5
    assert found.chance == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 2000) ** 0.5)
    assert found.to_dict()["chance_other"] == pytest.approx(1 - found.chance)


def test_the_choice_is_by_development_documents_and_the_test_ones_report(tmp_path: Path) -> None:
    """Breaks where test documents choose, or their interval pays for a choice that was not made on them."""
    good, fair, poor = (right(x, seed=i) for i, x in enumerate((0.8, 0.6, 0.3)))
    parts = [
        *rows("neg_p", good, part="development"), *rows("neg_p", fair, part="test"),
        *rows("nll", fair, part="development"), *rows("nll", good, part="test"),
        *rows("base", poor, part="development"), *rows("base", poor, part="test"),
    ]  # fmt: skip
    found = decided(tmp_path, parts)
    assert found.labels[found.best] == "neg_p" and found.chosen_on.name == "development"
    assert found.test is not None and found.test.standings[0].mean == pytest.approx(
        100 * np.mean(good)
    )
    row = against(found, "base", "test")
    low, high = ttest_rel(fair, poor).confidence_interval(0.95)
    assert row.difference.interval == pytest.approx((100 * low, 100 * high))
    alone = ttest_rel(good, poor).confidence_interval(0.95)
    low, high = against(found, "base").difference.interval
    assert low < 100 * alone[0] and high > 100 * alone[1]  # adjusted for two arms
    assert "On 200 test documents, which did not choose, it scores" in found.text


def test_every_decoding_of_a_checkpoint_competes(tmp_path: Path) -> None:
    arms = [
        rows(arm, right(share, seed=i), learning_rate=rate, temperature=heat)
        for i, (arm, rate, heat, share) in enumerate(
            [("nll", 1e-5, 1.0, 0.5), ("nll", 1e-5, 0.0, 0.9), ("nll", 1e-4, 0.0, 0.6),
             ("neg_p", 1e-5, 1.0, 0.8), ("base", None, 0.0, 0.4), ("base", None, 1.0, 0.2)]
        )
    ]  # fmt: skip
    found = decided(tmp_path, *arms)
    assert found.labels[found.best] == "nll @ 1e-05 at temperature 0"
    assert [found.labels[row.baseline] for row in found.chosen_on.rows] == [
        "neg_p @ 1e-05 at temperature 1",
        "nll @ 0.0001 at temperature 0",
        "base at temperature 0",
    ]


def test_where_the_base_is_best_nothing_is_fine_tuned(tmp_path: Path) -> None:
    found = decided(tmp_path, rows("nll", right(0.4, seed=1)), rows("base", right(0.5, seed=2)))
    assert found.action == "stay" and found.keep == found.best
    assert found.text.startswith(
        "Do not fine-tune: none is better than the base on 200 documents (+10.0 against nll"
    )
    tie = decided(tmp_path, rows("nll", right(0.4)), rows("base", right(0.4)))
    assert tie.action == "stay" and tie.chance == 0.5
    assert tie.text.startswith(
        "Keep the untouched model for now: none does better on 200 documents"
    )


def test_the_base_is_held_against_the_best_fine_tune_whatever_comes_second(tmp_path: Path) -> None:
    """Breaks where the base at another temperature, or an NLL far behind, settles it for all fine-tunes."""
    bases = [
        rows("base", right(share, 50, seed=i), temperature=heat)
        for i, (share, heat) in enumerate([(0.52, 0.0), (0.5, 1.0)])
    ]
    tuned = rows("cadft(1)", right(0.5, 50, seed=2), temperature=0.0)
    poor = rows("nll", right(0.1, 50, seed=3), temperature=0.0)
    for arms in ((*bases, tuned), (*bases, tuned, poor)):
        found = decided(tmp_path, *arms)
        assert found.labels[found.best] == "base at temperature 0" and found.action == "stay"
        assert found.text.startswith(
            "Keep the untouched model for now: none does better on 50 documents (+2.0 against cadft(1)"
        )
    alone = decided(tmp_path, *bases)
    assert (
        alone.text == "Keep the untouched model for now: no fine-tune has scores on 50 documents."
    )


def test_where_test_documents_have_a_run_ahead_of_the_base_it_is_not_decided(
    tmp_path: Path,
) -> None:
    """Breaks where a lead of one document says that nothing is to be fine-tuned, against the test ones."""
    half = right(0.5)
    less = [x if i != half.index(1.0) else 0.0 for i, x in enumerate(half)]
    parts = [
        *rows("nll", less, part="development"), *rows("nll", right(0.8), part="test"),
        *rows("base", half, part="development"), *rows("base", half, part="test"),
    ]  # fmt: skip
    found = decided(tmp_path, parts)
    assert found.action == "undecided" and found.keep is not None and found.keep.objective == "base"
    assert "within noise. On the test documents, which did not choose, it is behind" in found.text
    assert 0.5 < found.chance < 1.0


def test_what_generates_nothing_belongs_to_every_decoding(tmp_path: Path) -> None:
    """Breaks where a checkpoint with a task of each kind is two arms, each of which lacks a task."""
    for model, share in (("org/nll", 0.7), ("org/base", 0.4)):
        name = model.rpartition("/")[2]
        log(tmp_path / name, bits(share), model=model, task="sums")
        log(tmp_path / name, bits(share), model=model, task="picks", decoding=None)
    found = decide(read_scores([tmp_path])[0])
    assert found.labels[found.best] == "nll" and len(found.chosen_on.standings) == 2
    assert found.chosen_on.documents == 800


def test_an_arm_does_not_lead_by_seeds_that_others_lack(tmp_path: Path) -> None:
    """Breaks where the order is of all seeds and the comparison beside it of those in common."""
    shares = [("cadft(1)", 0, 0.5), ("cadft(1)", 1, 0.95), ("cadft(1)", 2, 0.95), ("nll", 0, 0.7)]
    parts = [rows(arm, right(x, seed=i), seed=seed) for i, (arm, seed, x) in enumerate(shares)]
    found = decided(tmp_path, *parts, rows("base", right(0.4, seed=9)))
    assert found.labels[found.best] == "nll"
    assert any("only seed 0 counts" in note and "more: cadft" in note for note in found.notes)


def test_where_test_documents_have_the_base_ahead_it_is_kept(tmp_path: Path) -> None:
    parts = [
        *rows("nll", right(0.6, seed=1), part="development"), *rows("nll", right(0.3, seed=2), part="test"),
        *rows("base", right(0.5, seed=3), part="development"), *rows("base", right(0.4, seed=4), part="test"),
    ]  # fmt: skip
    found = decided(tmp_path, parts)
    assert found.action == "stay" and found.keep is not None and found.keep.objective == "base"
    assert found.text.startswith("Keep the untouched model: nll, the best on 200 development")


def test_noise_is_called_noise_and_what_would_settle_it(tmp_path: Path) -> None:
    near = decided(tmp_path, rows("nll", right(0.5, seed=1)), rows("neg_p", right(0.51, seed=2)))
    assert near.within_noise and "within noise" in near.text and 0.4 < near.chance < 0.95
    assert any("are within noise; a difference of 1" in note for note in near.notes)
    assert any("no arm is called base" in note for note in near.notes)
    far = decided(tmp_path, rows("nll", right(0.2, seed=1)), rows("neg_p", right(0.8, seed=2)))
    assert far.within_noise is False and far.chance == 1.0
    alone = decided(tmp_path, rows("nll", right(0.5)))
    assert alone.within_noise is None and alone.chance == 1.0 and not alone.chosen_on.rows


def test_a_gain_over_the_base_that_is_not_shown_is_said_to_be_none(tmp_path: Path) -> None:
    found = decided(tmp_path, rows("nll", right(0.51, seed=1)), rows("base", right(0.5, seed=2)))
    assert found.action == "keep"
    assert "That it is better than the untouched model is not shown." in found.text


def test_a_task_at_its_ceiling_decides_nothing(tmp_path: Path) -> None:
    found = decided(tmp_path, rows("nll", [1.0] * 50), rows("base", [1.0] * 49 + [0.0]))
    assert found.action == "undecided" and found.text.endswith(
        "Score on a harder task or with another metric."
    )


def test_tasks_count_alike_whatever_their_size(tmp_path: Path) -> None:
    """Breaks where a task of many documents outvotes a small one: the mean over tasks decides."""
    big, small = right(0.5, 300), right(0.5, 20)
    arms = [
        [*rows("nll", big, task="big"), *rows("nll", small, task="small")],
        [*rows("neg_p", right(0.45, 300), task="big"), *rows("neg_p", right(0.9, 20), task="small")],
    ]  # fmt: skip
    found = decided(tmp_path, *arms)
    assert found.labels[found.best] == "neg_p"
    assert found.chosen_on.standings[0].mean == pytest.approx((45 + 90) / 2)
    assert found.chosen_on.documents == 320
    textbook = 50 * np.hypot(sem(right(0.45, 300)), sem(right(0.9, 20)))
    assert found.chosen_on.standings[0].standard_error == pytest.approx(textbook)
    apart = np.subtract(right(0.45, 300), big), np.subtract(right(0.9, 20), small)
    difference = against(found, "nll").difference
    assert difference.standard_error == pytest.approx(50 * np.hypot(*map(sem, apart)))


def test_several_seeds_are_an_objectives_and_the_best_is_the_checkpoint(tmp_path: Path) -> None:
    arms = [
        rows(arm, right(share + off, seed=seed), seed=seed)
        for arm, share in (("nll", 0.4), ("neg_p", 0.7))
        for seed, off in enumerate((0.0, 0.02, -0.02))
    ]
    found = decided(tmp_path, *arms)
    top = found.chosen_on.standings[0]
    assert (top.seeds, top.best_seed) == ((0, 1, 2), 1)
    assert against(found, "nll").difference.seeds == 3 and against(found, "nll").verdict == "better"


def plan(folder: Path, *runs: dict[str, Any]) -> Path:
    path = folder / "plan.json"
    path.write_text(json.dumps({"recommended": "nll", "plan": {"runs": runs, "minutes": 3}}))
    return path


def run(objective: str, rate: float | None = 1e-5, **more: Any) -> dict[str, Any]:
    return {
        "objective": objective, "targets": "demonstrations", "learning_rate": rate, "decoding": None, **more
    }  # fmt: skip


def test_runs_of_the_plan_without_scores_are_named(tmp_path: Path) -> None:
    """Breaks where an alias, a default parameter or the last digit of a rate makes a run another one."""
    planned = read_plan(plan(tmp_path, run("nll"), run("dft", 3e-5), run("cadft(1)"), run("nll", 1e-4),
                             run("nll", targets="own(8)"), run("base", None, decoding=0.0)))  # fmt: skip
    arms = [
        rows("nll", right(0.6, seed=1), learning_rate=0.00001, temperature=0.7),
        rows(
            "neg_p", right(0.5, seed=2), learning_rate=0.1 + 0.2 - 0.3 + 2.9999e-5, temperature=0.7
        ),
        rows("cadft", right(0.5, seed=3), learning_rate=1e-5, temperature=0.7),
        rows("base", right(0.4, seed=4), temperature=0.7),
    ]
    found = decided(tmp_path, *arms, planned=planned)
    assert found.action == "run" and [found.labels[arm] for arm in found.missing] == [
        "nll @ 0.0001", "nll@own(8) @ 1e-05", "base at temperature 0",
    ]  # fmt: skip
    assert found.text.startswith("Run what is missing of the plan first, 3 of 6 runs: nll @ 0.0001")
    assert "So far: Keep nll @ 1e-05" in found.text
    assert found.to_dict()["missing"][0] == run("nll", 1e-4)
    assert decided(tmp_path, *arms, planned=planned[:3]).action == "keep"


def test_rates_that_scores_do_not_say_are_the_plans_where_it_has_one(tmp_path: Path) -> None:
    arms = [rows("nll", right(0.6, seed=1)), rows("cadft", right(0.5, seed=3))]
    once = read_plan(plan(tmp_path, run("nll"), run("cadft")))
    assert decided(tmp_path, *arms, planned=once).missing == ()
    twice = read_plan(plan(tmp_path, run("nll"), run("nll", 1e-4)))
    with pytest.raises(InputError, match="scores of nll do not say its learning rate, of which"):
        decided(tmp_path, *arms, planned=twice)


@pytest.mark.parametrize(
    ("scored", "due"),
    [
        ({}, ["neg_p @ 1e-05"]),
        ({"neg_p": 0.95}, []),
        ({"neg_p": 0.5}, ["cadft(1) @ 1e-05"]),
        ({"neg_p": 0.5, "cadft": 0.4}, []),
        ({"cadft": 0.4}, ["neg_p @ 1e-05"]),
    ],
)
def test_a_run_that_hangs_on_those_before_is_due_where_these_score_too_little(
    tmp_path: Path, scored: dict[str, float], due: list[str]
) -> None:
    """Breaks where a run is asked for that the plan does without, or a good run of no plan spares it."""
    planned = read_plan(plan(tmp_path, run("dft"), run("cadft", below=90.0)))
    arms = [rows(arm, right(share), learning_rate=1e-5) for arm, share in scored.items()]
    found = decided(tmp_path, rows("other", right(0.99)), *arms, planned=planned)
    assert [found.labels[arm] for arm in found.missing] == due


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file or directory: write it with advisor recommend"),
        ("{", "not JSON"),
        ("{}", "has no plan.runs: write it"),
        ('{"plan": {"runs": []}}', "has no plan.runs"),
        ('{"plan": {"runs": [{"objective": 3}]}}', r"plan.runs\[0\].objective is 3, not text"),
        ('{"plan": {"runs": [{"learning_rate": 3}]}}', r"plan.runs\[0\] lacks 'objective'"),
        (
            '{"plan": {"runs": [{"objective": "nll", "learning_rate": "fast"}]}}',
            r"plan.runs\[0\].learning_rate is 'fast', not a number",
        ),
    ],
)
def test_a_plan_that_is_none_is_refused(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "plan.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        read_plan(path)
    assert str(caught.value).startswith(f"--plan {path}: ") and "\n" not in str(caught.value)


REFUSED: dict[str, tuple[list[list[dict[str, Any]]], str]] = {
    "a task that one arm lacks": (
        [rows("nll", right(0.5), task="a"), rows("neg_p", right(0.5), task="b")],
        "nll has no scores of b, as other arms have",
    ),
    "other documents": (
        [rows("nll", [1.0, 0.0]),
         [{"arm": "neg_p", "document": f"x{i}", "score": i} for i in (0, 1)]],
        "the arms have 0 documents in common",
    ),
    "one score an arm": (
        [[{"arm": "nll", "score": 0.5}], [{"arm": "neg_p", "score": 0.6}]],
        "one score for each arm says nothing of noise: give a row for each document",
    ),
    "test documents alone": ([rows("nll", right(0.5), part="test")], "which do not choose"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_scores_that_cannot_be_compared_are_refused(tmp_path: Path, case: str) -> None:
    arms, says = REFUSED[case]
    with pytest.raises(InputError, match=says) as caught:
        decided(tmp_path, *arms)
    assert "\n" not in str(caught.value)


def test_documents_that_an_arm_lacks_count_for_none_and_that_is_said(tmp_path: Path) -> None:
    first, second = right(0.7, seed=1), right(0.6, seed=2)
    found = decided(tmp_path, rows("nll", first), rows("neg_p", second)[:150])
    assert found.chosen_on.documents == 150
    said = "scores: 150 of 200 documents have scores of every arm, and count (fewer: neg_p)"
    assert said in found.notes
    row = against(found, "neg_p")
    assert row.difference.estimate == pytest.approx(
        100 * (np.mean(first[:150]) - np.mean(second[:150]))
    )


def test_lm_evals_logs_are_read_as_compare_reads_them(tmp_path: Path, capsys: Any) -> None:
    """Every decoding of a folder's model is an arm; what was asked differently is refused."""
    hot = {**GREEDY, "do_sample": True, "temperature": 1.0}
    log(tmp_path / "nll", bits(0.6, seed=1))
    log(tmp_path / "base", bits(0.5, seed=2))
    log(tmp_path / "base-hot" / "base", bits(0.55, seed=3), decoding=hot)
    folders = [str(tmp_path / name) for name in ("nll", "base", "base-hot/base")]
    assert main(["decide", *folders[:2], "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert not faults("decide", answer) and answer["best"] == "nll"
    assert answer["chosen_on"]["part"] == "all" and answer["chosen_on"]["documents"] == 400
    [difference] = answer["chosen_on"]["differences"]
    assert difference["difference"] == pytest.approx(10.0)
    assert main(["decide", *folders]) == 0
    assert "at temperature 1" in capsys.readouterr().out
    log(tmp_path / "other", bits(0.5, seed=2), shots=5)
    assert main(["decide", folders[0], str(tmp_path / "other")]) == 2
    assert "were evaluated with different num_fewshot" in capsys.readouterr().err


def test_the_table_on_the_screen(tmp_path: Path, capsys: Any) -> None:
    path = write_rows(
        tmp_path / "s.jsonl", rows("[b]x", right(0.8, seed=1)), rows("nll", right(0.5, seed=2))
    )
    assert main(["decide", str(path), "--plan", str(plan(tmp_path, run("nll")))]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Keep [b]x: 80.0 points on 200 documents (standard error 2.8); +30.0")
    assert "[b]x is the best in 100% of resamples" in text and "ahead, p < 0.001" in text


def test_tables_are_decided_on_without_torch() -> None:
    heavy = {"torch", "transformers", "lm_eval", "datasets"}
    modules = "harness.compare.decide, harness.compare.plan_file, harness.compare.score_files"
    code = f"import {modules}, sys; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
