"""The study of a real model: its problems, its plan, its guards, and that a killed study goes on."""

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from advisor.objectives.table import get_objective
from harness.experiments.calibration.ledger import RunLine, pack, read
from harness.experiments.real import __main__ as command
from harness.experiments.real import cells, fetch, real_plan
from harness.experiments.real.checkable import SKILLS, WRITTEN, accepted, notation
from harness.experiments.real.guards import QUESTIONS, contains, documents, passages
from harness.experiments.real.real_plan import (
    CELLS,
    NOTES,
    higher_rate,
    longer,
    planned_runs,
    second_seeds,
)
from harness.experiments.staged.plan import read_plan, write_plan
from tests.helpers.byte_tokens import byte_tokenizer
from tests.helpers.paths import ROOT
from tests.helpers.tiny import tiny_model

PLAN = ROOT / "results" / "real" / "plan.csv"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_what_is_scored_is_never_trained_on_and_as_many_are_spoilt_as_is_said(
    cell: cells.RealCell,
) -> None:
    rows = cells.rows_of(cell)
    assert rows == cells.rows_of(cell)
    assert {part: len(found) for part, found in rows.items()} == {
        "test": 200, "development": 100, "train": cell.rows
    }  # fmt: skip
    prompts = [problem.prompt for found in rows.values() for problem, _ in found]
    assert len(set(prompts)) == len(prompts)
    skill = SKILLS[cell.skill]
    for part in ("test", "development"):
        assert all(text == skill.form.format(*one.values) for one, text in rows[part])
    spoilt = [text != skill.form.format(*one.values) for one, text in rows["train"]].count(True)
    told = round(cell.rate * cell.rows)
    # A wrong rule is sometimes right by chance: a sum without a carry, a word that ends as it begins.
    assert spoilt == told or (cell.kind == "systematic" and 0.4 * told < spoilt < told)


def test_answers_are_what_the_prompts_ask_for() -> None:
    rng = Random(0)
    for _ in range(50):
        numbers = SKILLS["numbers"].draw(rng)
        asked = [int(word) for word in numbers.prompt.split(": ")[1].split()]
        assert [int(value) for value in numbers.values] == sorted(asked)
        one, other = (
            int(n) for n in SKILLS["add"].draw(rng).prompt.removesuffix(" =").split(" + ")
        )
        assert one + other < 200
        sums = SKILLS["add"].draw(rng)
        assert eval(sums.prompt.removesuffix(" =")) == int(sums.values[0])
        word = SKILLS["last_letter"].draw(rng)
        assert (
            word.prompt.endswith(word.values[0]) and word.mistaken[0] == word.prompt.split()[-1][0]
        )
        change = SKILLS["arrows"].draw(rng)
        assert all(value in change.prompt for value in change.values)


def test_an_answer_is_right_in_every_form_that_demonstrations_have() -> None:
    rng = Random(0)
    for skill in SKILLS.values():
        problem = skill.draw(rng)
        texts = accepted(skill, problem)
        for kind, write in WRITTEN.items():
            right = write(skill, problem, rng) in texts
            assert right == (kind in ("clean", "notation", "filler")) or kind == "systematic"
    assert notation(SKILLS["numbers"], SKILLS["numbers"].draw(Random(1)), rng).startswith("<")


def test_the_plan_is_the_committed_one_and_its_first_cells_are_of_every_skill(
    tmp_path: Path,
) -> None:
    planned = planned_runs()
    write_plan(planned, tmp_path / "plan.csv")
    assert (tmp_path / "plan.csv").read_bytes() == PLAN.read_bytes()
    for name, runs in (("higher.csv", higher_rate()), ("longer.csv", longer())):
        write_plan(runs, tmp_path / name)
        assert (tmp_path / name).read_bytes() == PLAN.with_name(name).read_bytes()
    assert read_plan(PLAN, CELLS, NOTES) == planned
    names = list(dict.fromkeys(cell for cell, _ in planned))
    assert {cell.skill for cell in names[: len(SKILLS)]} == set(SKILLS) and len(names) >= 16
    keys = [(cell.name, run.arm, run.learning_rate, run.seed) for cell, run in planned]
    assert len(set(keys)) == len(keys)
    labels = {run.objective for _, run in planned} - {"base"}
    assert all(get_objective(label).label == label for label in labels)
    adapted = Counter(cell.name for cell, run in planned if run.note)
    assert adapted == dict.fromkeys(real_plan.ADAPTED, 4)
    first = [(run.objective, run.learning_rate) for _, run in planned[:4]]
    assert first == [("base", None), ("nll", 1e-4), ("p_pow(0.5)", 1e-4), ("cadft(1)", 3e-5)]


def test_second_seeds_go_to_the_arms_near_the_top_of_a_finished_cell() -> None:
    planned = [(cell, run) for cell, run in planned_runs() if cell == CELLS[0]]
    shares = dict(zip(range(len(planned)), (0, 90, 86, 50, 0, 0, 0, 0), strict=True))

    def line(at: int, run: real_plan.Wanted, points: int) -> RunLine:
        answers = {f"test@{heat}": pack([n < points for n in range(100)]) for heat in (0, 1)}
        return RunLine(
            cell=CELLS[0].name, objective=run.arm, learning_rate=run.learning_rate, seed=0,
            answers=answers,
        )  # fmt: skip

    lines = [line(at, run, shares[at]) for at, (_, run) in enumerate(planned)]
    again = second_seeds(planned, lines)
    assert [(run.objective, run.seed) for _, run in again] == [("nll", 1), ("p_pow(0.5)", 1)]
    assert second_seeds(planned, lines[:-1]) == []
    assert second_seeds(planned, [line(at, run, 3) for at, (_, run) in enumerate(planned)]) == []


def test_guards_ask_what_no_cell_trains_on() -> None:
    asked = {text for guard in QUESTIONS for text, _ in documents(guard)}
    assert len(asked) == sum(len(documents(guard)) for guard in QUESTIONS) == 48
    trained = {one.prompt for cell in CELLS for one, _ in cells.rows_of(cell)["train"]}
    assert not asked & trained
    assert contains("The plural of mouse is Mice.", "mice") and not contains("Romero", "Rome")


def test_general_text_of_too_few_passages_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "text.jsonl"
    file.write_text("".join(json.dumps({"response": "a" * 300}) + "\n" for _ in range(5)))
    with pytest.raises(Exception, match=r"text\.jsonl: 5 rows have 200 characters or more"):
        passages(file, "response")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model that has never learnt anything, with a token a character and a chat template."""
    words = byte_tokenizer(eos="<|im_end|>", chat_template=TEMPLATE)
    model = tiny_model(
        vocab_size=len(words), max_position_embeddings=512, initializer_range=0.1,
        eos_token_id=words.eos_token_id, pad_token_id=0,
    )  # fmt: skip
    model.save_pretrained(tmp_path / "model")
    words.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_study_goes_on_where_it_was_and_keeps_what_was_forecast(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cells, "TEST", 6)
    monkeypatch.setattr(cells, "DEVELOPMENT", 4)
    cell = replace(CELLS[0], rows=16)
    monkeypatch.setattr("harness.experiments.real.carry_out.CELLS", (cell,))
    mine = [run for of, run in planned_runs() if of == CELLS[0]]
    adapter = next(run for _, run in planned_runs() if run.note)
    results, text = tmp_path / "real", tmp_path / "text.jsonl"
    write_plan([(cell, run) for run in (*mine[:2], adapter)], results / "plan.csv")
    write_plan([(cell, higher_rate()[0][1])], results / "higher.csv")
    write_plan([(cell, longer()[0][1])], results / "longer.csv")
    text.write_text(json.dumps({"response": "some text " * 30}) + "\n")
    monkeypatch.setattr("harness.experiments.real.guards.ROWS", 1)
    words = ["real", "--results", str(results), "--model", str(folder), "run", "--device", "cpu",
             "--text", str(text), "--minutes", "0"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    for done in (1, 2, 3, 4, 5, 5):  # no run begins after the first: each call makes one
        command.main()
        assert len(read(results)[1]) == done
    measured, runs = read(results)
    told = measured[cell.name].forecast
    assert told["1"]["basis"] == "published" and told["0"]["plan"][0]["objective"].startswith(
        "p_anneal"
    )
    base, nll, lora, higher, longest = runs
    assert longest.objective == "nll, 4 epochs" and set(longest.curve) == {"0.125", "0.25", "0.5"}
    assert (higher.objective, higher.learning_rate) == ("cadft(1)", 1e-4)
    assert lora.objective == "nll, LoRA 8" and base.forgetting["kl"] == pytest.approx(0, abs=1e-6)
    assert nll.forgetting["kl"] > 0 and nll.forgetting["text_nll"] != base.forgetting["text_nll"]
    assert lora.forgetting["kl"] > 0
    assert set(nll.curve) == {"0.125", "0.5"}  # of four steps, where a quarter is the first one too
    assert set(nll.answers) == {f"{part}@{heat}" for part in ("development", "test")
                                for heat in (0, 1)} | {"capital@0", "plural@0"}  # fmt: skip
    text.write_text(json.dumps({"response": "other text " * 30}) + "\n")
    with pytest.raises(SystemExit):
        write_plan([(cell, run) for run in mine], results / "plan.csv")
        command.main()
    assert "begun with another model or other demonstrations" in capsys.readouterr().err


def test_rows_of_a_skill_are_written_for_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    monkeypatch.setattr(sys, "argv", ["real", "rows", "numbers", "--rows", "3", "-o", str(path)])
    command.main()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 3
    asked, answered = (rows[0][part][-1]["content"] for part in ("prompt", "completion"))
    assert sorted(asked.split()[-4:]) == answered.split()
    monkeypatch.setattr(sys, "argv", ["real", "rows", "number", "-o", str(path)])
    with pytest.raises(SystemExit):
        command.main()
    assert "number: no skill; there are" in capsys.readouterr().err


def test_a_model_in_the_way_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch, "fetch", lambda folder: pytest.fail("downloaded"))
    monkeypatch.setattr(sys, "argv", ["real", "--model", str(tmp_path), "model"])
    with pytest.raises(SystemExit):
        command.main()
    assert f"{tmp_path}: is there already" in capsys.readouterr().err
