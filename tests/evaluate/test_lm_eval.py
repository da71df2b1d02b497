"""Scores on lm-eval tasks: against the `lm-eval run` command, against answers worked out by hand."""

import json
import math
import random
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lm_eval.tasks
import numpy as np
import pytest
import torch

from advisor.errors import InputError
from advisor.model.load import LoadedModel, load_model
from harness.compare.lm_eval_logs import read_logs
from harness.evaluate import lm_eval as module
from harness.evaluate.final_answers import ANSWER_PATTERNS, extract_answer, find_answer_pattern
from harness.evaluate.held_out import choice_task, held_out_task, split_text
from harness.evaluate.lm_eval import evaluate, questions, task_files, task_names
from harness.evaluate.score_choice import Asked
from harness.ladder import RUNGS, resolve
from harness.ladder.ladder_tasks import problem_sets, task_rows
from harness.ladder.letters import build_tokenizer
from harness.ladder.score import greedy_answers
from harness.ladder.skills import SKILLS
from tests.helpers.lm_eval_tasks import prompts_given, write_task
from tests.helpers.tiny import tiny_model, tiny_rwkv, tiny_tokenizer

LADDER = sorted(path.stem for path in module.TASKS[0].glob("*.yaml"))
GENERATION = {
    "task": "mine_generated", "dataset_path": "json", "test_split": "test", "fewshot_split": "train",
    "doc_to_text": "prompt", "doc_to_target": "answer", "target_delimiter": "", "fewshot_delimiter": "$",
    "output_type": "generate_until", "generation_kwargs": {"until": ["$"], "max_gen_toks": 40},
    "filter_list": [
        {"name": "last", "filter": [
            {"function": "regex", "regex_pattern": "#([^#]*)", "group_select": -1},
            {"function": "take_first"},
        ]},
        {"name": "whole", "filter": [{"function": "take_first"}]},
    ],
    "fewshot_config": {"doc_to_target": "completion"}, "num_fewshot": 1,
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}  # fmt: skip
CHOICE = {
    "task": "mine_chosen", "dataset_path": "json", "test_split": "test", "doc_to_text": "prompt",
    "doc_to_target": "gold", "doc_to_choice": "choices", "target_delimiter": "",
    "output_type": "multiple_choice",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc_norm", "acc")
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def strong() -> LoadedModel:
    return load_model(resolve("strong")[0], dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder of two tasks with their data."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = problem_sets("chain")["test"].to_list()
    write_task(folder, GENERATION, test=rows[:40], train=rows[40:60])
    questions = [
        {"prompt": row["prompt"], "choices": [f"#{int(row['answer']) + off}" for off in (-9, 0, 9)]}
        for row in rows[60:100]
    ]
    write_task(folder, CHOICE, test=[{**row, "gold": 1} for row in questions])
    return folder


def test_the_ladder_has_tasks_of_distinct_problems() -> None:
    assert len(LADDER) >= 6
    files = [resolve(name)[1].read_text(encoding="utf-8") for name in RUNGS]
    shown = {json.loads(line)["prompt"] for file in files for line in file.splitlines()}
    for skill in LADDER:
        parts = {
            name: [row["prompt"] for row in rows] for name, rows in problem_sets(skill).items()
        }
        assert {name: len(rows) for name, rows in parts.items()} == {
            "development": 100,
            "test": 300,
        }
        assert len({*parts["development"], *parts["test"]}) == 400
        assert not shown & {*parts["development"], *parts["test"]}
        kept = problem_sets(skill)["test"].to_list()
        task_rows.cache_clear()
        assert problem_sets(skill)["test"].to_list() == kept


@pytest.mark.parametrize(
    ("skill", "solve"),
    [
        ("add", lambda text: str(sum(map(int, text.split("+"))))),
        ("chain", lambda text: str(sum(map(int, re.findall(r"-?\d+", text))))),
        ("rev", lambda text: text.removeprefix("rev:")[::-1]),
        ("sort", lambda text: "".join(sorted(text.removeprefix("sort:")))),
        ("unit", lambda text: str(int(text.split("h")[0]) * 60 + int(text[:-1].split("h")[1]))),
        ("kv", lambda text: dict(p.split(":") for p in text.split("?")[0].split(","))[text[-1]]),
    ],
)
def test_ladder_references_are_the_right_answers(skill: str, solve: Callable[[str], str]) -> None:
    for row in problem_sets(skill)["test"].to_list():
        assert row["answer"] == solve(row["prompt"].removesuffix("|")), row


@pytest.mark.slow
def test_every_ladder_task_marks_the_demonstrated_completion_right_and_another_wrong(
    monkeypatch: pytest.MonkeyPatch, strong: LoadedModel
) -> None:
    """Protects every score on the ladder: no task takes a right answer for a wrong one, or the reverse."""
    rows = {row["prompt"]: row for skill in LADDER for row in problem_sets(skill)["test"].to_list()}
    prompts_given(monkeypatch, lambda prompt: f"{rows[prompt]['completion']}")
    scores = evaluate(strong.model, strong.tokenizer, ["ladder"], temperature=0.0)
    assert {score.task: score.mean for score in scores} == {
        f"ladder_{skill}": 1.0 for skill in LADDER
    }
    assert {len(score.documents) for score in scores} == {300}
    prompts_given(monkeypatch, lambda prompt: f"{rows[prompt]['completion']}1")
    assert {
        s.mean for s in evaluate(strong.model, strong.tokenizer, ["ladder"], temperature=0.0)
    } == {0.0}
    tokens = [len(strong.tokenizer(row["completion"])["input_ids"]) for row in rows.values()]
    assert max(tokens) < 48  # the tasks' max_gen_toks, terminator included


def test_greedy_scores_are_those_of_an_independent_decoding(strong: LoadedModel) -> None:
    rows = problem_sets("chain")["test"].to_list()[:80]
    answers = greedy_answers(strong.model, strong.tokenizer, [row["prompt"] for row in rows])
    right = [float(answer == row["answer"]) for answer, row in zip(answers, rows, strict=True)]
    (score,) = evaluate(strong.model, strong.tokenizer, ["ladder_chain"], temperature=0.0, limit=80)
    assert score.name == "exact_match,answer"
    assert [value for (value,) in score.values] == right
    assert 0.5 < score.mean < 1


@pytest.mark.slow
def test_scores_are_those_of_the_lm_eval_command(
    strong: LoadedModel, folder: Path, tmp_path: Path
) -> None:
    """Protects every score: a user's tasks are scored as by lm-eval's own command, document by document."""
    weights = resolve("strong")[0]
    names = ["mine_generated", "mine_chosen"]
    command = [
        sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu", "--batch_size", "16",
        "--model_args", f"pretrained={weights},dtype=float32", "--tasks", ",".join(names),
        "--include_path", str(folder), "--num_fewshot", "2", "--seed", "3",
        "--log_samples", "--output_path", str(tmp_path),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    results = json.loads(next(tmp_path.rglob("results_*.json")).read_text())["results"]
    scores = evaluate(
        strong.model, strong.tokenizer, names, temperature=0.0, batch_size=16, seed=3, part="all",
        include_path=folder, num_fewshot=2,
    )  # fmt: skip
    assert [score.task for score in scores] == names
    for score in scores:
        assert score.mean == results[score.task][f"{score.metric},{score.filter or 'none'}"]
        elsewhere = read_logs([next(tmp_path.rglob(f"samples_{score.task}_*.jsonl"))])[0][0].score
        assert elsewhere == score


def test_multiple_choice_is_the_likeliest_choice_per_character(
    strong: LoadedModel, folder: Path
) -> None:
    model, tokenizer = strong.model, strong.tokenizer
    (score,) = evaluate(
        model,
        tokenizer,
        ["mine_chosen"],
        temperature=1.0,
        repeats=3,
        part="all",
        include_path=folder,
    )
    assert (score.name, score.temperature) == ("acc_norm", None)
    right = []
    for row in map(json.loads, (folder / "mine_chosen-test.jsonl").read_text().splitlines()):
        per_character = []
        for choice in row["choices"]:
            ids = tokenizer(row["prompt"] + choice, return_tensors="pt")["input_ids"]
            logp = model(ids).logits[0, :-1].log_softmax(-1)
            own = logp[torch.arange(len(logp)), ids[0, 1:]][-len(choice) :]
            per_character.append(own.sum().item() / len(choice))
        right.append((float(np.argmax(per_character) == row["gold"]),))
    assert score.values == tuple(right)


@pytest.mark.slow
def test_every_repeat_is_scored_with_its_own_seed(strong: LoadedModel) -> None:
    """Protects intervals of sampled scores: repeats of an answer are not the same answer again."""

    def sampled(repeats: int, seed: int) -> Any:
        (score,) = evaluate(
            strong.model, strong.tokenizer, ["ladder_chain"], temperature=1.0, repeats=repeats, seed=seed,
            limit=60,
        )  # fmt: skip
        return score

    three, one = sampled(3, 5), sampled(1, 5)
    columns = list(zip(*three.values, strict=True))
    assert len(set(columns)) == 3
    assert columns[0] == tuple(value for (value,) in one.values)
    assert sampled(3, 5) == three != sampled(3, 6)


def test_a_greedy_answer_is_not_repeated(strong: LoadedModel) -> None:
    (score,) = evaluate(
        strong.model, strong.tokenizer, ["ladder_rev"], temperature=0.0, repeats=4, limit=3
    )
    assert [len(values) for values in score.values] == [1, 1, 1]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sampling_follows_the_softmax_at_the_temperature(temperature: float) -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    logits = model(tokenizer("a b", return_tensors="pt")["input_ids"]).logits[0, -1]
    expected = (logits / temperature).softmax(-1)
    word = logits[3:].argmax().item() + 3  # special tokens are not decoded
    n = 1500
    task = held_out_task(
        [("a b", tokenizer.decode([word]))] * n, answer_pattern="[a-m]", max_gen_toks=1
    )
    (score,) = evaluate(
        model, tokenizer, [task], temperature=temperature, batch_size=500, part="all"
    )
    p = expected[word].item()
    assert abs(score.mean - p) < 4 * (p * (1 - p) / n) ** 0.5


def test_sampling_is_from_the_whole_distribution_unless_someone_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, strong: LoadedModel
) -> None:
    given: list[dict[str, Any]] = []
    generate = strong.model.generate

    def spy(**kwargs: Any) -> Any:
        given.append(kwargs)
        return generate(**kwargs)

    monkeypatch.setattr(strong.model, "generate", spy)

    def top_k(**changes: Any) -> Any:
        task = held_out_task([("1+1+1+1|", "#4")], answer_pattern="#(.*)", max_gen_toks=2)
        task["generation_kwargs"] |= changes
        evaluate(strong.model, strong.tokenizer, [task], temperature=1.0, part="all")
        return given[-1].get("top_k")

    assert top_k() == 0
    assert top_k(top_k=7) == 7
    monkeypatch.setattr(strong.model.generation_config, "top_k", 9)
    assert top_k() is None  # the model's own stands


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_end_at_the_texts_at_which_a_model_stops(temperature: float) -> None:
    """Breaks where `generate` is to look for them: lm-eval hands it no tokenizer."""
    model, tokenizer = tiny_model(), tiny_tokenizer()
    generate, config = model.generate, model.generation_config
    config.stop_strings = ["c", "m"]

    def says(*, input_ids: torch.Tensor, **given: Any) -> torch.Tensor:
        generate(input_ids=input_ids, **given)
        words = tokenizer("b c d", return_tensors="pt")["input_ids"]
        return torch.cat([input_ids, words.expand(len(input_ids), -1)], dim=1)

    model.generate = says
    task = held_out_task([("a", "b"), ("e", "b")], answer_pattern=r"(\w)\s*$", max_gen_toks=4)
    task["generation_kwargs"]["until"] = "f"
    (score,) = evaluate(model, tokenizer, [task], temperature=temperature, part="all")
    assert score.mean == 1.0
    assert config.stop_strings == ["c", "m"]


def test_nothing_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], strong: LoadedModel
) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    tokenizer = build_tokenizer()
    tokenizer.pad_token = None
    strong.model.train()
    before = (random.getstate(), torch.get_rng_state().tolist(), torch.get_num_threads())
    numbers = np.random.get_state()[1].tolist()  # noqa: NPY002
    evaluate(strong.model, tokenizer, ["ladder_chain"], temperature=1.0, limit=5)
    assert (random.getstate(), torch.get_rng_state().tolist(), torch.get_num_threads()) == before
    assert np.random.get_state()[1].tolist() == numbers  # noqa: NPY002
    assert strong.model.training
    assert tokenizer.pad_token is None
    strong.model.eval()
    assert capsys.readouterr() == ("", "")


def test_naming_tasks_leaves_no_remark(caplog: pytest.LogCaptureFixture) -> None:
    assert task_names("ladder_add") == ["ladder_add"]
    assert not caplog.records


def test_the_parts_of_a_task_are_disjoint_and_make_up_the_whole(
    strong: LoadedModel, folder: Path
) -> None:
    def documents(part: str, limit: int | None = None) -> list[str]:
        (score,) = evaluate(
            strong.model, strong.tokenizer, [folder / "mine_chosen.yaml"], temperature=0.0, part=part,
            limit=limit,
        )  # fmt: skip
        assert score.part == part
        return list(score.documents)

    development, test, everything = documents("development"), documents("test"), documents("all")
    assert len(development) + len(test) == len(everything) == 40
    assert {*development, *test} == {*everything}
    assert len(development) < len(test)
    assert documents("test", 7) == test[:7]
    assert documents("all", 7) == everything[:7]


def test_the_validation_split_is_the_development_part(
    monkeypatch: pytest.MonkeyPatch, strong: LoadedModel
) -> None:
    for part in ("development", "test"):
        seen = prompts_given(monkeypatch, lambda prompt: "")
        evaluate(strong.model, strong.tokenizer, ["ladder_add"], temperature=0.0, part=part)
        assert seen == problem_sets("add")[part]["prompt"]


def test_prompts_with_examples_and_as_chats(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    task = held_out_task([("a", "b c"), ("d", "e c")], answer_pattern=r"\w$")
    seen = prompts_given(monkeypatch, lambda prompt: "f c")
    settings: dict[str, Any] = {"temperature": 0.0, "part": "all", "num_fewshot": 1}
    (score,) = evaluate(tiny_model(), tokenizer, [task], **settings)
    assert seen == ["de c\n\na", "ab c\n\nd"]  # never the document itself
    assert score.mean == 1.0
    seen.clear()
    evaluate(tiny_model(), tokenizer, [task], apply_chat_template=True, **settings)
    assert seen == [
        "<user>d<assistant>e c<user>a<assistant>",
        "<user>a<assistant>b c<user>d<assistant>",
    ]


@pytest.mark.parametrize(
    ("pattern", "reference", "prediction", "right"),
    [
        ("gsm8k", "so 3 x 400 = 1200\n#### 1,200", "It is\n####  1200.", True),
        ("gsm8k", "#### 12", "#### 13\n#### 12", True),
        ("gsm8k", "#### 12", "#### 12\n#### 13", False),
        ("gsm8k", "#### 12", "the answer is 12", False),
        ("gsm8k", "#### -1,234,567", "####-1234567", True),
        ("gsm8k", "#### 1,2", "#### 12", False),
        ("gsm8k", "#### 72", "#### 72 apples", True),
        ("line", "#### New York", "#### New Jersey", False),
        ("line", "#### New  York.", "so\n####New York", True),
        ("line", "#### (2, 3)", "#### (2, 9)", False),
        ("boxed", r"\boxed{\frac{1}{2}}", r"hence \boxed{ \frac{1}{2} }", True),
        ("boxed", r"\boxed{3}", r"\boxed{3", False),
        ("boxed", r"\boxed{\frac{1}{\sqrt{2}}}", r"\boxed{1}, so \boxed{\frac{1}{\sqrt{2}}}", True),
        ("ladder", "1+2=3#3", "#3", True),
        ("ladder", "#ro zu", "#ro  zu", True),
        ("ladder", "#ro zu", "#ro", False),
    ],
)
def test_held_out_answers(
    monkeypatch: pytest.MonkeyPatch, pattern: str, reference: str, prediction: str, right: bool
) -> None:
    task = held_out_task([("a", reference)], answer_pattern=ANSWER_PATTERNS[pattern])
    prompts_given(monkeypatch, lambda prompt: prediction)
    (score,) = evaluate(tiny_model(), tiny_tokenizer(), [task], temperature=0.0, part="all")
    assert score.values == ((float(right),),)
    assert find_answer_pattern([reference]) == ANSWER_PATTERNS[pattern]


def test_an_answer_is_the_first_group_or_the_whole_match() -> None:
    assert extract_answer("x=1 y=2", re.compile(r"[xy]=\d")) == "y=2"
    assert extract_answer("x=1 y=2", re.compile(r"(?:x=(\d))|(?:y=(\d))")) == "2"
    assert find_answer_pattern(["#### 1", "no number"]) is None
    assert find_answer_pattern([]) is None


ANIMALS = [
    "The cat sat.",
    "The dogs ran away.",
    "A fish swam by.",
    "My bird sang on.",
    "Six ants marched off.",
]


def likelihoods_given(
    monkeypatch: pytest.MonkeyPatch, likes: Callable[[str, str], float]
) -> list[tuple[str, str]]:
    """Puts a model with known preferences in the model's place; the list fills with what it is asked."""
    from lm_eval.models.huggingface import HFLM

    asked: list[tuple[str, str]] = []

    def loglikelihood(self: Any, requests: list[Any], disable_tqdm: bool = False) -> list[Any]:
        asked.extend(request.args for request in requests)
        return [(likes(*request.args), False) for request in requests]

    monkeypatch.setattr(HFLM, "loglikelihood", loglikelihood)
    return asked


def chosen(rows: list[tuple[str, str]], **settings: Any) -> Any:
    (score,) = evaluate(
        tiny_model(), tiny_tokenizer(), [choice_task(rows)], temperature=1.0, part="all", **settings
    )
    return score


def test_a_choice_is_right_where_the_rows_own_completion_is_likeliest_per_character(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [(f"story {i}: ", text) for i, text in enumerate(ANIMALS)]
    own = dict(rows)
    asked = likelihoods_given(
        monkeypatch, lambda prompt, text: -1.0 if own[prompt] == text else -9.0
    )
    score = chosen(rows, repeats=3)
    assert (score.task, score.name, score.temperature) == (
        "held_out_choice",
        "acc_norm",
        None,
    )
    assert score.values == ((1.0,),) * 5
    assert len(asked) == 4 * 5 == len(set(asked))  # its own and three others, all different
    likelihoods_given(monkeypatch, lambda prompt, text: -9.0 if own[prompt] == text else -1.0)
    assert chosen(rows).mean == 0.0
    # As likely per character everywhere, but for the shorter ones in sum: one more character decides.
    likelihoods_given(
        monkeypatch, lambda prompt, text: -2.0 * len(text) + 1.5 * (own[prompt] == text)
    )
    assert chosen(rows).mean == 1.0


def test_what_makes_all_completions_likelier_per_character_changes_no_choice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [(f"story {i}: ", text) for i, text in enumerate(ANIMALS)]
    taste = {
        (prompt, text): -2.0 + (text == own) * (-1) ** i + random.Random(text).random() / 10
        for i, (prompt, own) in enumerate(rows)
        for text in ANIMALS
    }
    likelihoods_given(monkeypatch, lambda prompt, text: len(text) * taste[prompt, text])
    before = chosen(rows)
    likelihoods_given(monkeypatch, lambda prompt, text: len(text) * (taste[prompt, text] + 0.7))
    assert chosen(rows) == before
    assert [value for (value,) in before.values] == [1.0, 0.0, 1.0, 0.0, 1.0]


def test_choices_are_of_similar_length_and_cut_at_a_word() -> None:
    long = "one two three four five six seven eight nine ten"
    texts = [f"{number} {long}" for number in range(6)] + ["a" * n for n in (1, 2, 3, 4)]
    rows = choice_task([("p", text) for text in texts])["custom_dataset"]()["test"].to_list()
    for row, text in zip(rows, texts, strict=True):
        own = row["choices"][row["gold"]]
        assert text.startswith(own) and len(row["choices"]) == 4 == len(set(row["choices"]))
        assert len(own) <= 32
    assert rows[0]["choices"][rows[0]["gold"]] == "0 one two three four five six"
    assert all(len(choice) > 20 for choice in rows[0]["choices"])
    assert all(len(choice) <= 4 for choice in rows[-1]["choices"])
    assert len({row["gold"] for row in rows}) > 2
    again = choice_task([("p", text) for text in texts])["custom_dataset"]()["test"].to_list()
    assert rows == again


def test_labels_are_chosen_among_all_labels() -> None:
    rows = [("a", "yes"), ("b", "no"), ("c", "yes"), ("d", "maybe")]
    documents = choice_task(rows)["custom_dataset"]()["test"].to_list()
    assert [sorted(row["choices"]) for row in documents] == [["maybe", "no", "yes"]] * 4
    assert [row["choices"][row["gold"]] for row in documents] == ["yes", "no", "yes", "maybe"]
    with pytest.raises(InputError, match="no two different completions"):
        choice_task([("a", "yes"), ("b", "yes")])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "One day it rained. Tom ran home. He slept.",
            ("One day it rained. ", "Tom ran home. He slept."),
        ),
        ('He said "go." Then he left', ('He said "go." ', "Then he left")),
        ("first line\nsecond line", ("first line\n", "second line")),
        ("no end of a sentence here", ("no end of a ", "sentence here")),
        ("abcdef", ("abc", "def")),
    ],
)
def test_a_plain_text_is_split_near_its_middle(text: str, parts: tuple[str, str]) -> None:
    assert split_text(text) == parts


def test_a_plain_text_becomes_context_and_continuation(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"It was day {i}. {animal}" for i, animal in enumerate(ANIMALS)]
    asked = likelihoods_given(monkeypatch, lambda prompt, text: float(texts[3] == prompt + text))
    assert chosen([("", text) for text in texts]).values[3] == (1.0,)
    assert {prompt for prompt, _ in asked} == {f"It was day {i}. " for i in range(5)}


def test_for_a_second_temperature_only_generated_answers_are_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generated = held_out_task([("a", "#1"), ("b", "#2")], answer_pattern="#(.*)")
    rows = [(f"story {i}: ", text) for i, text in enumerate(ANIMALS)]
    asked = likelihoods_given(monkeypatch, lambda prompt, text: -1.0)
    prompts_given(monkeypatch, lambda prompt: "#1")
    scores = evaluate(
        tiny_model(), tiny_tokenizer(), [generated, choice_task(rows)], temperature=0.5, part="all",
        generated_only=True,
    )  # fmt: skip
    assert [(score.task, score.temperature) for score in scores] == [("held_out", 0.5)]
    assert not asked


def test_a_document_that_stands_twice_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two copies are no two observations: their mean is one, of every repeat."""
    task = held_out_task([("a", "#1"), ("b", "#1"), ("a", "#1")], answer_pattern="#(.*)")
    answers = iter(["#1", "#2", "#2"])
    prompts_given(monkeypatch, lambda prompt: next(answers))
    (score,) = evaluate(tiny_model(), tiny_tokenizer(), [task], temperature=0.0, part="all")
    assert score.values == ((0.5,), (0.0,)) and len(score.documents) == 2


def test_likelihood_tasks_are_scored_by_the_loss_per_word_or_byte() -> None:
    from datasets import Dataset

    texts = ["a b c d", "m l k"]
    task = {
        "task": "text", "custom_dataset": lambda **_: {"test": Dataset.from_list([{"t": t} for t in texts])},
        "test_split": "test", "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "t",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    }  # fmt: skip
    model, tokenizer = tiny_model(), tiny_tokenizer()
    words, bits = (
        evaluate(model, tokenizer, [task], temperature=1.0, part="all", asked=asked)[0]
        for asked in (Asked(), Asked(metric="bits_per_byte"))
    )
    expected = []
    for text in texts:
        ids = tokenizer("<bos> " + text, return_tensors="pt")["input_ids"]
        logp = model(ids).logits[0, :-1].log_softmax(-1)
        expected.append(logp[torch.arange(len(logp)), ids[0, 1:]].sum().item())
    for score, name, unit, sizes in (
        (words, "word_perplexity", "nats per word", [len(text.split()) for text in texts]),
        (bits, "bits_per_byte", "bits per byte", [len(text) * math.log(2) for text in texts]),
    ):
        assert (score.name, score.unit, score.higher_is_better) == (name, unit, False)
        losses = [-total / size for total, size in zip(expected, sizes, strict=True)]
        np.testing.assert_allclose([value for (value,) in score.values], losses, rtol=1e-5)
        assert score.oriented == tuple(-x for x in score.per_document)


@pytest.mark.parametrize(
    "asked", ["", "number"], ids=["a text that is read", "a choice by its number"]
)
def test_what_asks_nothing_is_known_by_its_own_text(asked: str) -> None:
    """Breaks where a guard that asks "" or "0" is refused for any row that has such a field."""
    from datasets import Dataset

    rows = [
        {"text": "A long passage.", "number": 0},
        {"text": "Another long passage.", "number": 1},
    ]
    task = {
        "task": "text", "custom_dataset": lambda **_: {"test": Dataset.from_list(rows)},
        "test_split": "test", "output_type": "loglikelihood_rolling", "doc_to_target": "text",
        "doc_to_text": (lambda document: document["number"]) if asked else "",
        "metric_list": [{"metric": "word_perplexity"}],
    }  # fmt: skip
    assert questions(task) == {"text": [row["text"] for row in rows]}


def test_a_task_is_told_by_every_file_of_the_users_that_it_is_made_of(tmp_path: Path) -> None:
    """Breaks where an edit of a file that is included, or of its Python, goes unseen."""
    (tmp_path / "mine.yaml").write_text("task: mine\ninclude: common\n")
    (tmp_path / "common").write_text("include: base\ndoc_to_text: !function ask.text\n")
    (tmp_path / "base").write_text("output_type: generate_until\n")
    (tmp_path / "ask.py").write_text("def text(document):\n    return document\n")
    (tmp_path / "other.yaml").write_text("task: other\n")
    found = task_files(str(tmp_path / "mine.yaml"))
    assert [path.name for path in found] == ["mine.yaml", "common", "ask.py", "base"]
    assert task_files("mine", tmp_path) == found
    assert task_files("ladder_add") == []


def test_a_task_without_a_score_per_document_is_refused() -> None:
    task = held_out_task([("a", "#1")], answer_pattern="#", max_gen_toks=2)
    task["process_results"] = lambda document, results: {"exact_match": (1, 2)}
    with pytest.raises(InputError, match="task held_out: unsupported operand"):  # of lm-eval's mean
        evaluate(tiny_model(), tiny_tokenizer(), [task], temperature=0.0, part="all")
    task["metric_list"] = [{"metric": "exact_match", "aggregation": "bypass"}]
    with pytest.raises(InputError, match="task held_out: none of its metrics"):
        evaluate(tiny_model(), tiny_tokenizer(), [task], temperature=0.0, part="all")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("ladder_chian", "did you mean ladder_chain?"),
        ("nothing.yaml", "neither a task of lm-eval or --include_path nor a file"),
        ({**GENERATION, "dataset_path": "nobody/nothing"}, "mine_generated: cannot be loaded"),
        ({**GENERATION, "colour": "blue"}, "mine_generated: cannot be loaded .*colour"),
        (
            {**held_out_task([("a", "1")], answer_pattern="1", max_gen_toks=512)},
            "task held_out: Invalid configuration: requested max tokens to generate",
        ),
    ],
)
def test_tasks_that_cannot_be_had_are_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: Any, message: str
) -> None:
    whole = lm_eval.tasks.TaskManager
    ours = partial(whole, include_defaults=False)  # reading those takes twenty seconds
    monkeypatch.setattr(
        lm_eval.tasks, "TaskManager", lambda *, include_defaults, **rest: ours(**rest)
    )
    with pytest.raises(InputError, match=message) as caught:
        # The folder, this test's own, keeps the index from the other tests.
        evaluate(
            tiny_model(),
            tiny_tokenizer(),
            [task],
            temperature=0.0,
            part="all",
            include_path=tmp_path,
        )
    assert "\n" not in str(caught.value)


def test_other_refusals(tmp_path: Path) -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    with pytest.raises(InputError, match="part 'train': not one of"):
        evaluate(model, tokenizer, ["ladder_add"], temperature=0.0, part="train")
    with pytest.raises(InputError, match="no such folder"):
        evaluate(model, tokenizer, ["ladder_add"], temperature=0.0, include_path=tmp_path / "none")
    with pytest.raises(InputError, match="not a regular expression"):
        held_out_task([("a", "b")], answer_pattern="(")
    with pytest.raises(InputError, match="held-out row 1"):
        held_out_task([("a", "#1"), ("a", "b")], answer_pattern="#")
    single = held_out_task([("a", "#1")], answer_pattern="#")
    with pytest.raises(InputError, match=r"no document falls into its (development|test) part"):
        for part in ("development", "test"):
            evaluate(model, tokenizer, [single], temperature=0.0, part=part)
    (tmp_path / "group.yaml").write_text("group: mine\ntask: [ladder_add]\n")
    with pytest.raises(InputError, match="a group: give its name"):
        evaluate(model, tokenizer, [tmp_path / "group.yaml"], temperature=0.0)
    (tmp_path / "other.jsonl").write_text('{"prompt": "a"}\n')
    with pytest.raises(InputError, match="not what lm-eval's --log_samples writes"):
        read_logs([tmp_path / "other.jsonl"])


def test_skills_of_the_tasks_exist() -> None:
    assert {*LADDER} <= {*SKILLS}


class Called(Exception):
    """Raised in the place of scoring."""


def test_a_model_that_reads_padding_scores_every_row_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Breaks where the rows of a batch enter the state of a model like RWKV, and so each other's answers."""

    def language_model(self: Any, *, batch_size: int, **_: Any) -> None:
        raise Called(batch_size)

    monkeypatch.setattr("lm_eval.models.huggingface.HFLM.__init__", language_model)
    for model, size in ((tiny_model(), "8"), (tiny_rwkv(), "1")):
        with pytest.raises(Called, match=f"^{size}$"):
            evaluate(model, tiny_tokenizer(), ["ladder_say"], temperature=0.0, batch_size=8)
