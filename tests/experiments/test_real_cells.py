"""The cells of a real model: their rows, their scoring, their plan, and that a killed study goes on."""

import itertools
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from advisor.model.load import load_model
from advisor.objectives.table import get_objective
from harness.experiments.calibration.ledger import read, unpack
from harness.experiments.calibration.run import Progress, do_missing
from harness.experiments.staged import __main__ as command
from harness.experiments.staged import made_rows
from harness.experiments.staged.exact_answers import exactly_right
from harness.experiments.staged.made_rows import CELLS, CIPHER, SKILLS, made
from harness.experiments.staged.plan import read_plan, write_plan
from harness.experiments.staged.real import RealBench, real_runs
from harness.generate.decoding import continuations
from tests.helpers.byte_tokens import byte_tokenizer
from tests.helpers.paths import ROOT
from tests.helpers.tiny import tiny_model

PLAN = ROOT / "results" / "staged" / "real-plan.csv"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FIELDS, *OTHERS = CELLS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model that has never learnt anything, with a token a character and a chat template."""
    words = byte_tokenizer(eos="<|im_end|>", chat_template=TEMPLATE)
    model = tiny_model(
        vocab_size=len(words), max_position_embeddings=512, initializer_range=0.5,
        eos_token_id=words.eos_token_id, pad_token_id=0,
    )  # fmt: skip
    model.save_pretrained(tmp_path / "model")
    words.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def expected(cell: str, row: made_rows.Row) -> bool:
    """Whether a row's completion is what its prompt asks for."""
    prompt, completion = row["prompt"], row["completion"]
    if cell == "fields":
        return all(value in prompt for value in completion.split(" | "))
    if cell == "cipher":
        return completion == " ".join(CIPHER[letter] for letter in prompt.split())
    found = re.fullmatch(r'.*"(.*)".*"(.)"\.', completion)
    assert found and f'"{found[1]}"' in prompt
    return found[1][0].upper() == found[2]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_no_prompt_occurs_twice_and_as_many_are_wrong_as_is_said(cell: made_rows.MadeCell) -> None:
    rows = made(cell)
    assert rows == made(cell)
    assert {part: len(found) for part, found in rows.items()} == {
        "test": 120, "development": 60, "train": cell.rows
    }  # fmt: skip
    prompts = [row["prompt"] for found in rows.values() for row in found]
    assert len(set(prompts)) == len(prompts)
    scored = [*rows["test"], *rows["development"]]
    assert all(expected(cell.name, row) for row in scored)
    wrong = [not expected(cell.name, row) for row in rows["train"]].count(True)
    assert wrong == round(cell.wrong * cell.rows)
    more = made(replace(cell, rows=cell.rows + 1))
    assert more["test"] == rows["test"] and more["development"] == rows["development"]


def test_a_wrong_row_has_one_value_that_is_wrong_but_of_its_kind() -> None:
    wrong = [row for row in made(FIELDS)["train"] if not expected("fields", row)]
    kinds = list(SKILLS["fields"].others)
    seen = set()
    for row in wrong:
        values = dict(zip(kinds, row["completion"].split(" | "), strict=True))
        (kind,) = (kind for kind, value in values.items() if value not in row["prompt"])
        assert values[kind] in SKILLS["fields"].others[kind]
        seen.add(kind)
    assert seen == set(kinds)


def test_no_two_letters_have_the_same_cipher() -> None:
    assert len(set(CIPHER.values())) == len(CIPHER) == 8


def test_greedy_answers_are_those_of_generate(folder: Path) -> None:
    loaded, rng = load_model(folder), Random(0)
    own = [rng.choices(range(97, 123), k=rng.randrange(1, 12)) for _ in range(40)]
    prompts = [[*b"the same beginning", *letters] for letters in own]
    settings = {"max_new_tokens": 8, "pad_token_id": 0, "do_sample": False}
    alone = [continuations(loaded.model, [p], (), **settings)[0] for p in prompts]
    stop = Counter(
        token for answer in alone for token in set(answer[2:]) - set(answer[:2])
    ).most_common(1)[0][0]
    loaded.model.generation_config.eos_token_id = stop
    until = [list(itertools.takewhile(lambda token: token != stop, answer)) for answer in alone]
    ended = [stop in answer for answer in alone]
    texts = [
        loaded.tokenizer.decode(answer) if end else "another"
        for answer, end in zip(until, ended, strict=True)
    ]
    assert len({len(text) for text, end in zip(texts, ended, strict=True) if end}) > 2
    assert exactly_right(loaded, prompts, [(text,) for text in texts], seed=0)[0.0] == ended
    spoilt = [(text[:-1], f"{text}a", text, text)[n % 4] for n, text in enumerate(texts)]
    assert exactly_right(loaded, prompts, [(text, "no") for text in spoilt], seed=0)[0.0] == [
        end and n % 4 > 1 for n, end in enumerate(ended)
    ]


def test_sampled_answers_are_right_as_often_as_they_are_likely(folder: Path) -> None:
    loaded = load_model(folder)
    prompt = list(b"begin")
    with torch.no_grad():
        p = loaded.model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
        first = int(p[33:127].argmax()) + 33
        then = loaded.model(torch.tensor([[*prompt, first]])).logits[0, -1].softmax(-1)
    stop = int(then.argmax())
    loaded.model.generation_config.eos_token_id = stop
    likely = float(p[first] * then[stop])
    assert 0.02 < likely < 0.98
    number = 3000
    right = exactly_right(loaded, [prompt] * number, [(chr(first),)] * number, seed=0)[1.0]
    assert sum(right) / number == pytest.approx(likely, abs=4 * (likely / number) ** 0.5)
    assert right == exactly_right(loaded, [prompt] * number, [(chr(first),)] * number, seed=0)[1.0]


def test_the_plan_is_the_committed_one_and_begins_with_what_decides(tmp_path: Path) -> None:
    planned = real_runs()
    write_plan(planned, tmp_path / "real-plan.csv")
    assert (tmp_path / "real-plan.csv").read_bytes() == PLAN.read_bytes()
    assert read_plan(PLAN, CELLS) == planned
    runs = [(cell.name, run.objective, run.seed) for cell, run in planned]
    assert runs[:6] == [
        ("fields", name, seed) for seed in (0, 1, 2) for name in ("nll", "nll>neg_p(at=0.5)")
    ]
    assert [cell for cell, _, _ in runs[6:18]] == ["cipher"] * 6 + ["first_letter"] * 6
    keys = [(cell.name, run.arm, run.learning_rate, run.seed) for cell, run in planned]
    assert len(set(keys)) == len(keys)
    labels = {run.objective for _, run in planned} - {"base"}
    assert all(get_objective(label).label == label for label in labels)
    assert [run.learning_rate for _, run in planned if run.objective == "base"] == [None] * 3


@pytest.mark.slow
def test_a_killed_study_of_a_real_model_goes_on_and_repeats_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Protects hours of training on a real model: killed after every run, the study goes on where it was."""
    cell = replace(FIELDS, rows=80)
    monkeypatch.setattr(made_rows, "CELLS", (cell, *OTHERS))
    monkeypatch.setattr(made_rows, "TEST", 6)
    monkeypatch.setattr(made_rows, "DEVELOPMENT", 4)
    first = [run for of, run in real_runs() if of == FIELDS and run.seed == 0]
    base, nll, anew = first[2], first[0], first[-1]
    assert (base.objective, nll.objective, anew.note) == ("base", "nll", "a cosine each")
    planned = [(cell, run) for run in (base, nll, anew)]
    ledger = tmp_path / "real" / "ledger.jsonl"

    def kill(progress: Progress) -> None:
        raise KeyboardInterrupt

    for done in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            do_missing(
                planned,
                lambda cell: RealBench(cell, folder, deep=False),
                ledger=ledger,
                on_run=kill,
            )
        assert len(read(ledger.parent)[1]) == done
    write_plan(planned, tmp_path / "real-plan.csv")
    words = ["staged", "--results", str(tmp_path), "real", "--model", str(folder)]
    monkeypatch.setattr(sys, "argv", words)
    caplog.set_level("INFO")
    command.main()
    command.main()  # nothing is left
    cells, runs = read(ledger.parent)
    assert list(cells) == ["fields"] and cells["fields"].deep is None
    assert [run.objective for run in runs] == [run.arm for _, run in planned]
    assert runs[2].last["stage"] == 2 and runs[2].last["step"] == 10
    assert {at: len(unpack(found)) for at, found in runs[1].answers.items()} == {
        "development@0": 4, "development@1": 4, "test@0": 6, "test@1": 6
    }  # fmt: skip
    (said,) = [
        record.getMessage() for record in caplog.records if "a cosine each" in record.getMessage()
    ]
    assert "test@0 0.0, test@1 0.0" in said and "0 left" in said
