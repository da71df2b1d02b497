"""What lm-eval 0.4.2 to 0.4.13 logged, read as it was meant: metric, filter, direction, unit, documents.

The folders are written by hand in the shapes of those versions' sources (`evaluator.py`, `__main__.py`,
`loggers/evaluation_tracker.py` at tags v0.4.2, v0.4.5, v0.4.9 and in 0.4.13).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from advisor.errors import InputError
from harness.compare.compare import compare
from harness.compare.lm_eval_logs import read_logs
from harness.records.runs import Score

VERSIONS = ["0.4.2", "0.4.5", "0.4.9", "0.4.13"]
Scores = Mapping[str, Mapping[str, Sequence[Any]]]
"""Values by filter, metric and document."""
GREEDY = {"until": ["\n"], "do_sample": False, "temperature": 0.0}
STRICT = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
FLEXIBLE = [1.0, 1.0, 0.0, 1.0, 1.0, 0.0]
TWO_FILTERS: Scores = {
    "strict-match": {"exact_match": STRICT},
    "flexible-extract": {"exact_match": FLEXIBLE},
}
MEAN = {"aggregation": "mean"}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write(
    folder: Path, version: str, scores: Scores, *, task: str = "gsm8k", model: str = "org/tuned",
    higher: Mapping[str, bool | None] | None = None, decoding: Any = GREEDY, prompt: str = "Q",
    documents: Sequence[int] | None = None, time: str = "2025-01-02T03-04-05.678901",
    template: str | None = None, shots: int = 0, aggregation: str = "mean",
    run: Mapping[str, Any] | None = None, config: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Path:  # fmt: skip
    """One evaluation as a version of lm-eval writes it; returns `--output_path`."""
    old = version == "0.4.2"
    metrics = list(dict.fromkeys(metric for own in scores.values() for metric in own))
    higher = dict.fromkeys(metrics, True) if higher is None else higher
    count = len(next(iter(next(iter(scores.values())).values())))
    samples = []
    for chosen, own in scores.items():
        for place in range(count):
            number = place if documents is None else documents[place]
            doc = {"question": f"How many of {number}?", "answer": str(number)}
            arguments: Any = [[f"{prompt} {number}", decoding]]
            row: dict[str, Any] = {
                "doc_id": place, "doc": doc, "target": str(number), "arguments": arguments,
                "resps": [["7"]], "filtered_resps": ["7"],
            }  # fmt: skip
            if not old:
                row["arguments"] = {
                    "gen_args_0": {f"arg_{i}": value for i, value in enumerate(arguments[0])}
                }
                row["doc_hash"] = sha(json.dumps(doc, indent=2, ensure_ascii=False))
                row["prompt_hash"], row["target_hash"] = sha(arguments[0][0]), sha(str(number))
            if version in ("0.4.9", "0.4.13"):
                row |= {"filter": chosen, "metrics": list(own)}
            samples.append(row | {metric: values[place] for metric, values in own.items()})
    figures: dict[str, Any] = {"alias": task}
    for chosen, own in scores.items():
        for metric, values in own.items():
            mean = aggregation == "mean"
            figures[f"{metric},{chosen}"] = float(np.mean(values)) if mean else 12.5
            figures[f"{metric}_stderr,{chosen}"] = "N/A"
    listed = [
        {"metric": metric, "aggregation": aggregation}
        | ({"higher_is_better": higher[metric]} if metric in higher else {})
        for metric in metrics
    ]
    results: dict[str, Any] = {
        "results": {task: figures}, "group_subtasks": {task: []},
        "configs": {task: {"task": task, "num_fewshot": shots, "metric_list": listed, **(config or {})}},
        "versions": {task: 3.0}, "n-shot": {task: shots},
        "config": {"model": "hf", "model_args": f"pretrained={model}", "limit": None, **(run or {})},
        "git_hash": "abc", "date": 1.0,
    }  # fmt: skip
    if old:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(results, indent=2))
        stem = f"pretrained={model}".replace("/", "__").replace("=", "__")
        (folder / f"{stem}_{task}.jsonl").write_text(json.dumps(samples, indent=2))
        return folder
    results |= {
        "higher_is_better": {task: dict(higher)}, "n-samples": {task: {"original": count}},
        "model_name": model, "chat_template": template, "system_instruction_sha": None,
        "chat_template_sha": sha(template) if template else None, "fewshot_as_multiturn": False,
    }  # fmt: skip
    results["config"].setdefault("fewshot_seed", 1234)
    inside = folder if name else folder / model.replace("/", "__")
    inside.mkdir(parents=True, exist_ok=True)
    (inside / f"{name or 'results'}_{time}.json").write_text(json.dumps(results, indent=2))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in samples)
    (inside / f"samples_{task}_{time}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def only(*paths: Path, **asked: Any) -> tuple[Score, list[str]]:
    (measured,), notes = read_logs(paths, **asked)
    return measured.score, notes


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_read_alike(tmp_path: Path, version: str) -> None:
    """The first filter by default, the other when asked for; both are listed, documents keep their ids."""
    write(tmp_path, version, TWO_FILTERS)
    score, notes = only(tmp_path)
    assert (score.task, score.metric, score.filter) == ("gsm8k", "exact_match", "strict-match")
    assert (score.higher_is_better, score.unit, score.temperature) == (True, "share", 0.0)
    assert [value for (value,) in score.values] == STRICT
    doc = {"question": "How many of 0?", "answer": "0"}
    assert score.documents[0] == sha(json.dumps(doc, indent=2, ensure_ascii=False))[:16]
    assert any("exact_match (strict-match), higher is better" in note for note in notes)
    assert any("also there: exact_match (flexible-extract)" in note for note in notes)
    other, _ = only(tmp_path, filter="flexible-extract")
    assert [value for (value,) in other.values] == FLEXIBLE
    assert other.documents == score.documents
    (samples,) = tmp_path.rglob("*.jsonl")
    assert read_logs([samples])[0][0].score == score
    (results,) = tmp_path.rglob("*results*.json")
    assert only(results)[0] == score


def right(count: int) -> list[float]:
    """Of 60 documents, so many right ones."""
    return [1.0] * count + [0.0] * (60 - count)


def test_logs_of_all_versions_can_be_compared(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"v{version}", version, {"none": {"acc": right(i)}}, decoding=" a")
        for i, version in zip((10, 20, 30, 40), VERSIONS, strict=True)
    ]  # fmt: skip
    found = compare(paths)
    assert [(level.arm.label, round(level.mean, 3)) for level in found.levels] == [
        ("v0.4.2", 16.667), ("v0.4.5", 33.333), ("v0.4.9", 50.0), ("v0.4.13", 66.667)
    ]  # fmt: skip
    assert {row.arm.label: row.difference.estimate for row in found.rows} == pytest.approx(
        {"v0.4.5": 100 / 6, "v0.4.9": 200 / 6, "v0.4.13": 50.0}
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_where_lower_is_better_the_log_says_so(tmp_path: Path, version: str) -> None:
    write(
        tmp_path,
        version,
        {"none": {"edit_distance": [3.0, 0.0, 7.5]}},
        higher={"edit_distance": False},
    )
    score, notes = only(tmp_path)
    assert (score.higher_is_better, score.unit) == (False, "edit_distance")
    assert score.oriented == (-3.0, 0.0, -7.5) and score.mean == 3.5
    assert "gsm8k: scored by edit_distance, lower is better" in notes


@pytest.mark.parametrize("version", VERSIONS)
def test_a_direction_that_nothing_tells_is_asked_for(tmp_path: Path, version: str) -> None:
    write(tmp_path, version, {"none": {"zest": [3.0, 1.0]}}, higher={"zest": None})
    with pytest.raises(InputError, match=r"more of zest is better: give --higher_is_better true"):
        only(tmp_path)
    for given in (True, False):
        assert only(tmp_path, higher_is_better=given)[0].higher_is_better is given


def test_what_lm_eval_knows_of_a_metric_is_used_where_the_log_is_silent(tmp_path: Path) -> None:
    folder = write(tmp_path, "0.4.9", {"none": {"acc": [1.0, 0.0]}}, higher={}, decoding=" a")
    assert only(folder)[0].higher_is_better
    for file in folder.rglob("results*.json"):
        file.unlink()
    assert only(folder)[0].metric == "acc"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_perplexity_keeps_its_own_unit(tmp_path: Path, version: str) -> None:
    """Values are (log-likelihood, words): 12 nats over 4 words are 3 nats a word, whatever 100 points are."""
    arms = {"a": [[-12.0, 4], [-10.0, 10]], "b": [[-8.0, 4], [-5.0, 10]]}
    for arm, values in arms.items():
        write(
            tmp_path / arm, version, {"none": {"word_perplexity": values}}, task="wikitext", model=arm,
            higher={"word_perplexity": False}, decoding=None, aggregation="weighted_perplexity",
        )  # fmt: skip
    measured, notes = read_logs([tmp_path / "a", tmp_path / "b"])
    first, second = (m.score for m in measured)
    assert first.values == ((3.0,), (1.0,)) and second.values == ((2.0,), (0.5,))
    assert (first.unit, first.higher_is_better, first.temperature) == ("nats per word", False, None)
    assert any("weights them by length" in note for note in notes)


def test_one_arm_whose_values_look_like_shares_is_in_the_unit_of_the_others(tmp_path: Path) -> None:
    """ROUGE from 0 to 100: an arm with nothing but zeros is no share."""
    write(tmp_path / "a", "0.4.9", {"none": {"rougeL": [0.0, 0.0]}}, model="a")
    write(tmp_path / "b", "0.4.9", {"none": {"rougeL": [35.0, 50.0]}}, model="b")
    measured, _ = read_logs([tmp_path / "a", tmp_path / "b"])
    assert [m.score.unit for m in measured] == ["rougeL", "rougeL"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_document_twice_is_one(tmp_path: Path, version: str) -> None:
    write(tmp_path, version, {"none": {"acc": [1.0, 0.0, 0.0, 1.0]}}, documents=[0, 1, 0, 2])
    score, notes = only(tmp_path)
    assert [value for (value,) in score.values] == [0.5, 0.0, 1.0]
    assert any("4 documents, 3 of them different" in note for note in notes)


def test_metrics_of_the_corpus_are_no_scores_of_documents(tmp_path: Path) -> None:
    pairs = [["a b", "a c"], ["d", "d"]]
    write(tmp_path, "0.4.9", {"none": {"bleu": pairs, "chrf_doc": [0.5, 0.25]}}, aggregation="")
    score, notes = only(tmp_path)
    assert score.metric == "chrf_doc" and not any("bleu" in note for note in notes)
    write(tmp_path / "b", "0.4.9", {"none": {"bleu": pairs}}, aggregation="")
    with pytest.raises(InputError, match="none of its metrics is a number per document"):
        only(tmp_path / "b")
    write(tmp_path / "b", "0.4.9", {"none": {"acc": [1.0, 0.0]}}, task="arc", decoding=" a")
    score, notes = only(tmp_path / "b")
    assert score.task == "arc"
    assert "gsm8k: left out, since no metric is a number per document" in notes


def test_what_is_asked_for_and_is_not_there_is_answered_with_what_is(tmp_path: Path) -> None:
    write(tmp_path, "0.4.9", TWO_FILTERS)
    with pytest.raises(
        InputError, match=r"--metric f1: .*exact_match \(strict-match, flexible-ext"
    ):
        only(tmp_path, metric="f1")
    with pytest.raises(InputError, match="--metric exact_match --filter none"):
        only(tmp_path, metric="exact_match", filter="none")


def test_arms_are_scored_by_what_all_of_them_have(tmp_path: Path) -> None:
    write(tmp_path / "a", "0.4.9", TWO_FILTERS, model="a")
    only_flexible = {"flexible-extract": TWO_FILTERS["flexible-extract"]}
    write(tmp_path / "b", "0.4.9", only_flexible, model="b")
    measured, _ = read_logs([tmp_path / "a", tmp_path / "b"])
    assert [m.score.filter for m in measured] == ["flexible-extract"] * 2
    write(tmp_path / "c", "0.4.9", {"none": {"f1": [0.5] * 6}}, model="c")
    with pytest.raises(InputError, match=r"gsm8k: its logs have no score in common: .*\| f1"):
        read_logs([tmp_path / name for name in "abc"])


ACC: Scores = {"none": {"acc": [1.0, 0.0] * 30}}
SAMPLED = {**GREEDY, "max_gen_toks": 64}


@pytest.mark.parametrize("version", ["0.4.5", "0.4.9", "0.4.13"])
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"shots": 5, "prompt": "Q A Q"}, "num_fewshot, a with 0 and b with 5"),
        ({"template": "<{{ m }}>", "prompt": "<Q"}, "chat_template, a with False and b with True"),
        ({"run": {"limit": 60.0}}, "limit, a with none and b with 60.0"),
        ({"config": {"doc_to_target": "{{other}}"}}, "doc_to_target"),
        ({"decoding": SAMPLED}, "generation_kwargs"),
        ({"prompt": "P"}, "different prompts for the same documents"),
    ],
    ids=["shots", "template", "limit", "task", "generation", "prompts"],
)
def test_arms_evaluated_differently_are_refused_by_name(
    tmp_path: Path, version: str, changes: dict[str, Any], named: str
) -> None:
    write(tmp_path / "a", version, ACC, model="a", config={"doc_to_target": "{{answer}}"})
    settings = {"config": {"doc_to_target": "{{answer}}"}, **changes}
    write(tmp_path / "b", version, ACC, model="b", **settings)
    with pytest.raises(InputError) as refusal:
        compare([tmp_path / "a", tmp_path / "b"])
    text = str(refusal.value)
    assert named in text and text.startswith("gsm8k: a and b were") and "\n" not in text


def test_other_few_shot_examples_are_another_evaluation(tmp_path: Path) -> None:
    for arm, seed in (("a", 1), ("b", 2)):
        write(tmp_path / arm, "0.4.9", ACC, model=arm, shots=2, run={"fewshot_seed": seed},
              prompt=f"examples {seed}")  # fmt: skip
    with pytest.raises(InputError, match="fewshot_seed, a with 1 and b with 2"):
        compare([tmp_path / "a", tmp_path / "b"])


def test_templates_that_make_the_same_prompts_are_the_same(tmp_path: Path) -> None:
    """TRL's training template marks the targets and renders what the model's own does."""
    for arm, template in (
        ("a", "<{{ m }}>"),
        ("b", "<{% generation %}{{ m }}{% endgeneration %}>"),
    ):
        write(tmp_path / arm, "0.4.13", ACC, model=arm, template=template)
    assert compare([tmp_path / "a", tmp_path / "b"]).rows[0].difference.estimate == 0


def test_of_several_evaluations_of_a_model_the_latest_counts_and_that_is_said(
    tmp_path: Path,
) -> None:
    for day, value in ((1, 0.0), (2, 1.0)):
        write(tmp_path, "0.4.9", {"none": {"acc": [value] * 4}}, time=f"2025-01-0{day}T00-00-00.1")
    score, notes = only(tmp_path)
    assert score.mean == 1.0
    assert any("evaluated 2 times; the latest counts" in note for note in notes)


def test_results_under_a_name_of_the_users_are_found(tmp_path: Path) -> None:
    """Since 0.4.9.1 `--output_path FILE.json` names the results; models share the folder of their samples."""
    for arm, day, share in (("a", 1, 0.0), ("b", 2, 1.0)):
        write(tmp_path, "0.4.13", {"none": {"err": [share] * 4}}, model=f"x/{arm}", name=f"of_{arm}",
              time=f"2025-01-0{day}T00-00-00.1", higher={"err": False})  # fmt: skip
    measured, _ = read_logs([tmp_path])
    assert [(m.arm, m.score.mean, m.score.higher_is_better) for m in measured] == [
        ("a", 0.0, False), ("b", 1.0, False)
    ]  # fmt: skip


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    """0.4.5 does not name filters in its samples: the results name them, so their means have to agree."""
    folder = write(tmp_path, "0.4.5", TWO_FILTERS)
    (results,) = folder.rglob("results*.json")
    content = json.loads(results.read_text())
    content["results"]["gsm8k"]["exact_match,strict-match"] = 0.9
    results.write_text(json.dumps(content))
    with pytest.raises(InputError, match="not of one evaluation"):
        only(folder)
    results.unlink()
    with pytest.raises(InputError, match="do not say their filter"):
        only(folder)


def test_results_without_samples_say_what_is_missing(tmp_path: Path) -> None:
    folder = write(tmp_path, "0.4.9", TWO_FILTERS)
    for file in folder.rglob("*.jsonl"):
        file.unlink()
    (results,) = folder.rglob("results*.json")
    with pytest.raises(InputError, match="results without samples: log them"):
        read_logs([results])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_named(tmp_path: Path, value: float) -> None:
    write(tmp_path, "0.4.9", {"none": {"acc": [1.0, value, 0.0]}}, aggregation="other")
    with pytest.raises(InputError, match="acc is not a finite number on 1 of 3 documents"):
        only(tmp_path)


def test_documents_to_which_a_metric_does_not_apply_are_left_out_and_counted(
    tmp_path: Path,
) -> None:
    write(tmp_path, "0.4.9", {"none": {"acc": [1.0, float("nan"), 0.0]}}, aggregation="nanmean")
    score, notes = only(tmp_path)
    assert score.mean == 0.5 and len(score.documents) == 2
    assert any("1 of 3 documents have no acc and are left out" in note for note in notes)
