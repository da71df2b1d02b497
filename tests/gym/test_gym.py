"""Problems of reasoning-gym: wired to their own verifiers, in parts that do not meet, the same everywhere."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from math import gcd
from pathlib import Path
from typing import Any

import pytest
import torch

from advisor.errors import InputError
from harness.compare.lm_eval_logs import read_logs
from harness.evaluate.lm_eval import TASKS, evaluate
from harness.gym import GENERATORS
from harness.gym.__main__ import main
from harness.gym.gym_tasks import demonstrations, problem_sets, score, task_rows
from tests.helpers.byte_tokens import byte_tokenizer
from tests.helpers.lm_eval_tasks import prompts_given
from tests.helpers.tiny import tiny_model

needs_gym = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="reasoning-gym is not installed"
)
WRONG = {
    "base_conversion": "zz", "caesar_cipher": "THE", "chain_sum": "123456", "figlet_font": "QQQ",
    "gcd": "0", "letter_counting": "999", "number_sorting": "['1', '2', '3', '4']",
    "spell_backward": "qqq", "word_sorting": "b, a",
}  # fmt: skip


def entry(row: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row["entry"])
    return found


def test_there_is_a_task_for_every_generator() -> None:
    names = sorted(path.stem for path in TASKS[1].glob("*.yaml"))
    assert names == sorted(GENERATORS) == sorted(WRONG) and len(names) >= 8


@needs_gym
@pytest.mark.parametrize("generator", GENERATORS)
def test_the_verifier_marks_the_reference_right_and_others_wrong(
    monkeypatch: pytest.MonkeyPatch, generator: str
) -> None:
    task = f"gym_{generator}"
    rows = {row["prompt"]: row for row in problem_sets(generator)["test"].to_list()}

    def share_right(answer: Any) -> float:
        prompts_given(monkeypatch, lambda prompt: answer(rows[prompt]))
        (found,) = evaluate(
            tiny_model(max_position_embeddings=512), byte_tokenizer(), [task], temperature=0.0, limit=25
        )  # fmt: skip
        assert (found.task, found.name) == (task, "exact_match")
        return found.mean

    assert share_right(lambda row: f"{row['completion']}\n") == 1.0
    assert share_right(lambda row: WRONG[generator]) == 0.0
    assert share_right(lambda row: "") == 0.0


@needs_gym
def test_references_are_the_right_answers() -> None:
    """Against solutions written here."""
    for row in problem_sets("gcd")["test"].to_list():
        a, b = map(int, re.findall(r"\d+", row["prompt"]))
        assert row["completion"] == f" {gcd(a, b)}"
    for row in problem_sets("spell_backward")["test"].to_list():
        assert row["completion"][:0:-1] == row["prompt"].split()[-2]
    for row in problem_sets("chain_sum")["test"].to_list():
        terms = row["prompt"].split("problem: ")[1].split(" =")[0].replace(" ", "")
        assert int(row["completion"]) == sum(map(int, re.findall(r"[+-]?\d+", terms)))
    for row in problem_sets("letter_counting")["test"].to_list():
        letter, text = re.findall(r'"(.*?)"', row["prompt"])
        assert int(row["completion"]) == text.lower().count(letter)


@needs_gym
def test_a_problem_without_a_right_reference_is_in_no_part() -> None:
    """Of 0 in another base reasoning-gym gives an empty reference, which its verifier rejects."""
    rows = [row for part in problem_sets("base_conversion").values() for row in part.to_list()]
    rows += demonstrations("base_conversion", 2000, seed=1)
    assert all(row["completion"].strip() for row in rows)


@needs_gym
def test_partial_credit_is_no_credit() -> None:
    row = next(
        r for r in problem_sets("word_sorting")["test"].to_list() if r["completion"].count(",") > 3
    )
    words = row["completion"].split(", ")
    half = ", ".join([*words[:-2], words[-1], words[-2]])
    import reasoning_gym

    verify = reasoning_gym.get_score_answer_fn("word_sorting")
    assert 0 < verify(half.strip(), entry(row)) < 1
    assert score(row, [half]) == {"exact_match": 0.0}


@needs_gym
@pytest.mark.parametrize("generator", sorted({*GENERATORS} - {"figlet_font"}))
def test_no_problem_is_in_two_parts(generator: str) -> None:
    parts = {name: rows.to_list() for name, rows in problem_sets(generator).items()}
    assert {name: len(rows) for name, rows in parts.items()} == {"development": 100, "test": 300}
    kept_apart = GENERATORS[generator].kept_apart
    apart = {name: {entry(row)[kept_apart] for row in rows} for name, rows in parts.items()}
    assert not apart["development"] & apart["test"]
    prompts = [row["prompt"] for rows in parts.values() for row in rows]
    assert len(set(prompts)) == 400
    for seed in (0, 1):
        trained = demonstrations(generator, 600, seed=seed)
        assert len({row["prompt"] for row in trained}) == 600
        assert not {row["prompt"] for row in trained} & set(prompts)
        if kept_apart == "answer":
            seen = {row["completion"].strip() for row in trained}
            assert not seen & (apart["development"] | apart["test"])


@needs_gym
def test_words_in_figlet_letters_are_kept_apart_and_in_every_font() -> None:
    task = {entry(row)["answer"] for rows in task_rows("figlet_font").values() for row in rows}
    fonts = {entry(row)["metadata"]["font"] for row in task_rows("figlet_font")["test"]}
    assert len(fonts) == len(GENERATORS["figlet_font"].settings)
    assert (
        not {row["completion"].strip() for row in demonstrations("figlet_font", 60, seed=1)} & task
    )


@needs_gym
def test_problems_are_the_same_in_every_process_and_differ_by_seed() -> None:
    names = ("word_sorting", "letter_counting", "caesar_cipher")
    code = (
        "import json; from harness.gym.gym_tasks import problem_sets;"
        f"print(json.dumps([problem_sets(name)['test']['prompt'][:] for name in {names}]))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": "1"}, check=True,
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert json.loads(elsewhere) == [problem_sets(name)["test"]["prompt"][:] for name in names]
    one, two = (demonstrations("gcd", 200, seed=seed) for seed in (1, 2))
    assert one == demonstrations("gcd", 200, seed=1)
    both = {row["prompt"] for row in one} & {row["prompt"] for row in two}
    assert len(both) < 10  # neighbouring seeds of reasoning-gym share all but one


@needs_gym
def test_demonstrations_are_written_as_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "gcd.jsonl"
    assert main(["write", "gcd", "--rows", "30", "--seed", "1", "--output_path", str(path)]) == 0
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows == demonstrations("gcd", 30, seed=1) and {*rows[0]} == {"prompt", "completion"}
    assert all(re.fullmatch(r" \d+", row["completion"]) for row in rows)


@needs_gym
def test_refusals_are_one_line(capsys: Any, tmp_path: Path) -> None:
    def refused(*words: str) -> str:
        assert main(["write", "gcd", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return str(line)

    there = str(tmp_path / "a.jsonl")
    assert "--rows 0: at least 1" in refused("--rows", "0", "--output_path", there)
    (tmp_path / "file").touch()
    assert "cannot be written" in refused(
        "--rows", "5", "--output_path", str(tmp_path / "file" / "a")
    )
    with pytest.raises(InputError, match="generator lcm: not one of base_conversion"):
        demonstrations("lcm", 5, seed=0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["write", "gdc", "--output_path", "a"], "generator: gdc: did you mean gcd?"),
        (["write", "gdc"], "generator: gdc: did you mean gcd?"),
        (["write", "xx", "--output_path", "a"], "generator: xx: not one of base_conversion, "),
        (["write", "gcd"], "required: --output_path"),
        (["write", "gcd", "--rows", "many", "--output_path", "a"], "--rows: invalid int value"),
        (["wirte"], "'wirte' (choose from"),
    ],
)
def test_wrong_arguments_are_one_line(words: list[str], said: str, capsys: Any) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert said in line and printed.out == ""


@needs_gym
def test_a_generator_with_too_few_problems_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.gym import Generator

    tiny = Generator(settings=({"min_value": 1, "max_value": 4},))
    monkeypatch.setitem(GENERATORS, "gcd", tiny)
    with pytest.raises(
        InputError, match=r"gcd: 50 train problems asked, hardly more than \d exist"
    ):
        demonstrations("gcd", 50, seed=0)


def test_without_reasoning_gym_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    task_rows.cache_clear()
    with pytest.raises(
        InputError, match=r'gym_gcd.*pip install "objective-advisor\[gym\]"'
    ) as caught:
        evaluate(tiny_model(), byte_tokenizer(), ["gym_gcd"], temperature=0.0)
    assert "\n" not in str(caught.value)
    assert main(["write", "gcd", "--output_path", str(tmp_path / "a.jsonl")]) == 2
    assert "objective-advisor[gym]" in capsys.readouterr().err


@needs_gym
@pytest.mark.slow
def test_scores_are_those_of_the_lm_eval_command(tmp_path: Path) -> None:
    """Protects the gym's scores: lm-eval's own command, which reads our task files alone, finds the same."""
    tokenizer, model = byte_tokenizer(), tiny_model(vocab_size=160, max_position_embeddings=512)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for row in problem_sets("letter_counting")["development"].to_list():  # to say 1: at times right
        ids = tokenizer(row["prompt"] + " 1\n", return_tensors="pt")["input_ids"]
        optimiser.zero_grad()
        model(
            ids, labels=torch.where(torch.arange(ids.shape[1]) < ids.shape[1] - 3, -100, ids)
        ).loss.backward()
        optimiser.step()
    model.eval()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    command = [
        sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu", "--batch_size", "16",
        "--model_args", f"pretrained={tmp_path / 'model'},dtype=float32", "--tasks", "gym_letter_counting",
        "--include_path", str(TASKS[1]), "--limit", "40", "--seed", "0", "--log_samples",
        "--output_path", str(tmp_path),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    results = json.loads(next(tmp_path.rglob("results_*.json")).read_text())["results"]
    (ours,) = evaluate(
        model,
        tokenizer,
        ["gym_letter_counting"],
        temperature=0.0,
        batch_size=16,
        part="all",
        limit=40,
    )
    assert ours.mean == results["gym_letter_counting"]["exact_match,none"]
    assert 0 < ours.mean < 1
    elsewhere, _ = read_logs([next(tmp_path.rglob("samples_gym_letter_counting_*.jsonl"))])
    assert elsewhere[0].score == ours
