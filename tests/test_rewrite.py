"""Rewriting a dataset: what is kept, in which format, and how a killed rewriting goes on."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advisor.cli import main
from advisor.data import SFTDataset, load_dataset
from advisor.errors import InputError
from advisor.formats import detect
from advisor.model import LoadedModel, load_model
from harness import rewrite as rewriting
from harness.hint import HINT, fill, read_hint
from harness.hinted import Sampling
from harness.ladder import resolve
from harness.provenance import Outcome, Provenance
from harness.rewrite import Rewritten, Settings, rewrite
from harness.row_edit import question_and_answer, with_completion, with_question

COPY = "{question}{answer}${question}"
"""A hint in the language of the ladder, where $ ends a text."""
SETTINGS = Settings(
    hint=COPY, marker=None, batch_size=5, sampling=Sampling(temperature=1.0, top_p=0.9)
)

RESUME = """
import json, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_rewrite import *
path = Path(sys.argv[1])
def killed(done, total):
    with path.with_suffix(".provenance.jsonl").open("a") as file:
        file.write('{"row": 1, "orig')
    os.kill(os.getpid(), signal.SIGKILL)
run(strong(), path, on_progress=killed)
"""


def strong() -> LoadedModel:
    return load_model(resolve("strong")[0], dtype="float32", device="cpu")


def demonstrations() -> list[dict[str, Any]]:
    """Thirteen of the ladder's, with a column that is not read."""
    lines = resolve("strong")[1].read_text().splitlines()
    return [{**json.loads(line), "id": number} for number, line in enumerate(lines[:13])]


def run(
    loaded: LoadedModel, path: Path, settings: Settings = SETTINGS, **options: Any
) -> Rewritten:
    def read(rows: Sequence[Mapping[str, Any]]) -> SFTDataset:
        return load_dataset([dict(row) for row in rows], loaded.tokenizer, max_length=128)

    return rewrite(loaded, read(demonstrations()), read, path, settings, **options)


def lines(path: str | Path) -> list[Any]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return strong()


@pytest.fixture(scope="module")
def whole(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Rewritten:
    """The thirteen rows, undisturbed."""
    return run(loaded, tmp_path_factory.mktemp("whole") / "new.jsonl")


def test_only_verified_answers_are_kept_in_the_source_format(whole: Rewritten) -> None:
    outcomes = {outcome["row"]: outcome for outcome in lines(whole.provenance)[1:]}
    assert sorted(outcomes) == list(range(13))
    assert whole.origins["own"] and whole.origins["hinted"] and whole.written < whole.rows == 13
    source, kept = demonstrations(), lines(whole.path)
    assert [row["id"] for row in kept] == sorted(
        row for row, outcome in outcomes.items() if outcome["origin"] in ("own", "hinted")
    )
    for row in kept:
        before = source[row["id"]]
        assert list(row) == list(before) and row["prompt"] == before["prompt"]
        assert row["completion"] == outcomes[row["id"]]["completion"]
        assert row["completion"].partition("#")[2] == before["completion"].partition("#")[2]
    assert any(row["completion"] != source[row["id"]]["completion"] for row in kept)


def test_hint_is_given_only_where_the_model_failed(whole: Rewritten) -> None:
    for outcome in lines(whole.provenance)[1:]:
        assert (outcome["own_share"] is None) == (outcome["origin"] in ("own", "too_long"))
    shares = [
        outcome["own_share"] for outcome in lines(whole.provenance)[1:] if outcome["own_share"]
    ]
    assert whole.own_share == pytest.approx(sum(shares) / len(shares))


def test_killed_rewriting_goes_on_where_it_stopped(
    loaded: LoadedModel, whole: Rewritten, tmp_path: Path
) -> None:
    path = tmp_path / "new.jsonl"
    command = [sys.executable, "-c", RESUME, str(path), str(Path(__file__).parent)]
    child = subprocess.run(command, check=False, capture_output=True, text=True)
    assert child.returncode == -9 and not path.exists(), child.stderr
    provenance = path.with_suffix(".provenance.jsonl")
    torn = provenance.read_text()
    assert torn.count("\n") == 6 and torn.endswith('"orig')  # the settings, five rows, half a row
    told: list[tuple[int, int]] = []
    again = run(loaded, path, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(10, 13), (13, 13)]
    assert provenance.read_text().startswith(torn.rpartition("\n")[0])
    assert path.read_bytes() == Path(whole.path).read_bytes()
    assert again.origins == whole.origins
    told.clear()
    assert run(loaded, path, on_progress=lambda *done: told.append(done)) == again and not told


def test_batch_size_changes_no_row(loaded: LoadedModel, whole: Rewritten, tmp_path: Path) -> None:
    run(loaded, tmp_path / "new.jsonl", replace(SETTINGS, batch_size=13))
    assert (tmp_path / "new.jsonl").read_bytes() == Path(whole.path).read_bytes()


def test_rows_of_other_settings_are_not_mixed_in(loaded: LoadedModel, whole: Rewritten) -> None:
    before = Path(whole.provenance).read_bytes()
    with pytest.raises(
        InputError, match="holds rows rewritten with another settings: give another"
    ):
        run(loaded, Path(whole.path), replace(SETTINGS, seed=1))
    assert Path(whole.provenance).read_bytes() == before


def test_missing_markers_are_counted_and_rows_may_be_kept(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    marked = replace(SETTINGS, hint="{question}{answer}$", marker="# CoT", max_new_tokens=8)
    marked = replace(marked, sampling=Sampling(temperature=0.0))
    with pytest.raises(InputError, match=r"no answer of the model is verified .*13 marker_missing"):
        run(loaded, tmp_path / "none.jsonl", replace(marked, tries=0))
    found = run(
        loaded, tmp_path / "kept.jsonl", replace(marked, max_new_tokens=60, keep_failed=True)
    )
    own = found.origins["own"]
    assert found.origins == {"own": own, "marker_missing": 13 - own} and 0 < own < 13
    assert found.marker_missing_rate == 1.0 and found.written == 13
    kept, source = lines(found.path), demonstrations()
    origins = {outcome["row"]: outcome["origin"] for outcome in lines(found.provenance)[1:]}
    for new, old in zip(kept, source, strict=True):
        assert origins[old["id"]] == "own" or new == old


def test_analysis_stands_between_the_hint_and_the_answer(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []
    real = rewriting.hinted_answers

    def spy(loaded: LoadedModel, hinted: Any, plain: Any, *rest: Any) -> Any:
        seen.extend(
            (loaded.tokenizer.decode(a), loaded.tokenizer.decode(b))
            for a, b in zip(hinted, plain, strict=True)
        )
        return real(loaded, hinted, plain, *rest)

    monkeypatch.setattr(rewriting, "hinted_answers", spy)
    found = run(
        loaded,
        tmp_path / "new.jsonl",
        replace(SETTINGS, hint="{question}{answer}$2+3|", marker="#"),
    )
    assert found.marker_missing_rate == 0.0 and found.origins["own"]
    assert len(seen) == found.rows - found.origins["own"] - found.origins.get("too_long", 0) > 0
    texts = {row["prompt"]: f"{row['prompt']}{row['completion']}$2+3|" for row in demonstrations()}
    for hinted, plain in seen:
        assert hinted.startswith(texts[plain])
        analysis = hinted.removeprefix(texts[plain])
        assert analysis.endswith("#") and analysis.count("#") == 1


TALK = [{"role": "user", "content": "q1"}, {"role": "assistant", "content": "a1"}]
LAST = [{"role": "user", "content": "q2"}, {"role": "assistant", "content": "a2"}]
SHARED = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
ROWS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"prompt": "q", "completion": " a\n"}, {"completion": " A\n"}, {"prompt": "Q"}),
    ({"question": "q", "answer": "a", "id": 3}, {"answer": "A"}, {"question": "Q"}),
    (
        {"instruction": "q", "input": "more", "output": "a"},
        {"output": "A"},
        {"instruction": "Q", "input": ""},
    ),
    (
        {"instruction": "q", "context": "more", "response": "a"},
        {"response": "A"},
        {"instruction": "Q", "context": ""},
    ),
    (
        {"messages": TALK + LAST},
        {"messages": [*TALK, LAST[0], {"role": "assistant", "content": "A"}]},
        {"messages": [*TALK, {"role": "user", "content": "Q"}, LAST[1]]},
    ),
    (
        {"conversations": SHARED, "system": "s"},
        {"conversations": [SHARED[0], {"from": "gpt", "value": "A"}]},
        {"conversations": [{"from": "human", "value": "Q"}, SHARED[1]]},
    ),
    (
        {"conversation": [{"human": "q", "assistant": "a"}]},
        {"conversation": [{"human": "q", "assistant": "A"}]},
        {"conversation": [{"human": "Q", "assistant": "a"}]},
    ),
    (
        {"prompt": TALK[:1], "completion": TALK[1:]},
        {"completion": [{"role": "assistant", "content": "A"}]},
        {"prompt": [{"role": "user", "content": "Q"}]},
    ),
    (
        {"chosen": TALK, "rejected": TALK},
        {"chosen": [TALK[0], {"role": "assistant", "content": "A"}]},
        {"chosen": [{"role": "user", "content": "Q"}, TALK[1]]},
    ),
    ({"prompt": "q", "chosen": "a", "rejected": "b"}, {"chosen": "A"}, {"prompt": "Q"}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "completed", "asked"), ROWS)
def test_rows_keep_their_format(row: Any, completed: Any, asked: Any) -> None:
    format = detect(list(row), row)
    assert with_completion(row, format, "A") == {**row, **completed}
    assert with_question(row, format, "Q") == {**row, **asked}
    question, answer = question_and_answer(row, format)
    assert question.split("\n")[0].startswith("q") and answer.strip().startswith("a")
    assert question_and_answer(with_question(row, format, "Q"), format) == ("Q", answer)
    again = question_and_answer(with_completion(row, format, "A"), format)
    assert again == (question, answer.replace(answer.strip(), "A"))


def test_thoughts_and_calls_of_another_answer_go_with_it() -> None:
    said = {"role": "assistant", "content": "a", "reasoning_content": "so", "tool_calls": None}
    row = {"messages": [TALK[0], said]}
    found = with_completion(row, detect(["messages"], row), "A")
    assert found["messages"][1] == {"role": "assistant", "content": "A"}


def test_hint_holds_the_texts_of_the_row_as_they_are(tmp_path: Path) -> None:
    assert (
        fill("{question}|{answer}", "is {answer} \\1?", "{question}")
        == "is {answer} \\1?|{question}"
    )
    assert fill(HINT, "Q", "A").endswith("# Question\nQ\n# Answer\nA")
    (tmp_path / "hint").write_text("Q {question}\n")
    with pytest.raises(InputError, match=r"--hint .*: \{answer\} must stand in it"):
        read_hint(str(tmp_path / "hint"))
    with pytest.raises(InputError, match="cannot be read"):
        read_hint(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("rows", "settings", "reason"),
    [
        ([{"text": "12#3"}], {}, "have no prompt as text"),
        ([{"input_ids": [1, 2, 3]}], {}, "have no prompt as text"),
        ([{"prompt": "1|", "completion": "2"}], {}, "give --answer_regex"),
        ([{"prompt": "1|", "completion": "2"}], {"answer_regex": r"(\d)"}, "give --splitter"),
    ],
)
def test_what_cannot_be_rewritten_is_refused(
    loaded: LoadedModel, rows: Any, settings: Any, reason: str, tmp_path: Path
) -> None:
    dataset = load_dataset(rows, loaded.tokenizer)
    with pytest.raises(InputError, match=reason):
        rewrite(loaded, dataset, lambda rows: dataset, tmp_path / "new", Settings(**settings))
    assert not list(tmp_path.iterdir())


def test_provenance_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "provenance.jsonl"
    outcomes = [Outcome(row=4, origin="own", completion="a\u2028b"), Outcome(row=2, origin="wrong")]
    Provenance(path, {"settings": {"seed": 0}}).append(outcomes)
    assert Provenance(path, {"settings": {"seed": 0}}).outcomes == {4: outcomes[0], 2: outcomes[1]}


def test_command_writes_the_dataset_and_says_what_came_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, hint, path = tmp_path / "old.jsonl", tmp_path / "hint.txt", tmp_path / "new.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in demonstrations()))
    hint.write_text(COPY + "\n")
    words = [
        "rewrite", "ladder:strong", str(source), "--hint", str(hint), "--marker", "none", "--temperature",
        "1", "--top_p", "0.9", "--dtype", "float32", "--device", "cpu", "-o", str(path),
    ]  # fmt: skip
    assert main([*words, "--json"]) == 0
    answer, said = capsys.readouterr()
    found = json.loads(answer)
    assert (
        found["written"] == len(lines(path))
        and found["origins"]["own"]
        and found["origins"]["hinted"]
    )
    assert "13 rows: " in said and "mean weight" in said
    assert main([*words[:2], str(source), *words[3:], "--seed", "1"]) == 2
    assert "another settings" in capsys.readouterr().err
    assert main([*words[:-1], str(source)]) == 2
    assert "that is DATASET itself" in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path / "new.json")]) == 2
