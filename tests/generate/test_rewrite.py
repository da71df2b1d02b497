"""Rewriting a dataset: what is kept, in which format, and how a killed rewriting goes on."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.errors import InputError
from advisor.model.load import LoadedModel
from harness.cli.main import main
from harness.cli.rewrite import remarks
from harness.evaluate.final_answers import ANSWER_PATTERNS, extract_answer
from harness.generate import rewrite as rewriting
from harness.generate.decoding import prompt_of
from harness.generate.hint import HINT, Ending, ending_of, fill, read_hint
from harness.generate.hinted import Answer, Sampling
from harness.generate.rewrite import Rewritten, Settings, rewrite
from tests.helpers.paths import ROOT
from tests.helpers.rewriting import COPY, SETTINGS, demonstrations, run, strong
from tests.helpers.tiny import tiny_rwkv

RESUME = """
import json, os, signal, sys
from pathlib import Path
from tests.helpers.paths import ROOT
from tests.helpers.rewriting import run, strong
path = Path(sys.argv[1])
def killed(done, total):
    with path.with_suffix(".provenance.jsonl").open("a") as file:
        file.write('{"row": 1, "orig')
    os.kill(os.getpid(), signal.SIGKILL)
run(strong(), path, on_progress=killed)
"""


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
        assert {**row, "completion": before["completion"]} == before and list(row) == list(before)
        assert row["completion"] == outcomes[row["id"]]["completion"]
        assert row["completion"].partition("#")[2] == before["completion"].partition("#")[2]
    assert any(row["completion"] != source[row["id"]]["completion"] for row in kept)
    assert "caf\u00e9 \\ud83d" in Path(whole.path).read_text(encoding="utf-8")


def test_hint_is_given_only_where_the_model_failed(whole: Rewritten) -> None:
    for outcome in lines(whole.provenance)[1:]:
        assert (outcome["own_share"] is None) == (outcome["origin"] in ("own", "too_long"))
    shares = [
        outcome["own_share"] for outcome in lines(whole.provenance)[1:] if outcome["own_share"]
    ]
    assert whole.own_share == pytest.approx(sum(shares) / len(shares))


@pytest.mark.slow
def test_killed_rewriting_goes_on_where_it_stopped(
    loaded: LoadedModel, whole: Rewritten, tmp_path: Path
) -> None:
    """Protects long rewritings: a killed one repeats nothing and writes what a whole one writes."""
    path = tmp_path / "new.jsonl"
    command = [sys.executable, "-c", RESUME, str(path)]
    child = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert child.returncode == -9 and not path.exists(), child.stderr
    provenance = path.with_suffix(".provenance.jsonl")
    torn = provenance.read_text()
    assert torn.count("\n") == 5 and torn.endswith('"orig')  # the settings, four rows, half a row
    told: list[tuple[int, int]] = []
    again = run(loaded, path, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(8, 13), (13, 13)]
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


@pytest.mark.parametrize("changed", [{"eos_token": "|"}, {"drop_bad_rows": True}])
def test_rows_of_another_reading_are_not_mixed_in(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    said = Answer(tokens=loaded.tokenizer.encode("2+1#3|"), ended=True)
    monkeypatch.setattr(rewriting, "plain_answers", lambda *_: [said])
    row = {"prompt": "1+2|", "completion": "1+2#3"}

    def again(**options: Any) -> Rewritten:
        dataset = load_dataset([row], loaded.tokenizer, **options)
        return rewrite(loaded, dataset, lambda rows: dataset, tmp_path / "new.jsonl")

    assert again() == again()
    with pytest.raises(InputError, match="holds rows rewritten with another reading: give"):
        again(**changed)


def test_missing_markers_are_counted_and_rows_may_be_kept(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    marked = replace(SETTINGS, hint="{question}{answer}$", marker="# CoT", max_new_tokens=8)
    marked = replace(marked, sampling=Sampling(temperature=0.0))
    said: list[str] = []
    with pytest.raises(InputError, match=r"no answer of the model is verified .*13 marker_missing"):
        run(loaded, tmp_path / "none.jsonl", replace(marked, tries=0), say=said.append)
    assert len(said) == 1 and said[0].startswith("All of the first 4 rows")
    assert "marker_missing: the analysis" in said[0] and "--marker none" in said[0]
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


def test_a_cascade_keeps_the_demonstration_where_no_answer_is_right(
    loaded: LoadedModel, whole: Rewritten, tmp_path: Path
) -> None:
    found = run(
        loaded, tmp_path / "new.jsonl", replace(SETTINGS, method="cascade", keep_failed=True)
    )
    header, *outcomes = lines(found.provenance)
    origins = {outcome["row"]: outcome["origin"] for outcome in outcomes}
    assert header["method"] == "cascade" and found.origins["own"] == whole.origins["own"]
    assert found.origins["guided"] and "hinted" not in found.origins and found.written == 13
    for new, old in zip(lines(found.path), demonstrations(), strict=True):
        assert new["completion"].partition("#")[2] == old["completion"].partition("#")[2]
        assert origins[old["id"]] in ("own", "guided") or new == old
    [said, *_] = remarks(found)
    assert f"{found.origins['guided']} were given with the demonstration at hand" in said


def test_analysis_stands_between_the_hint_and_the_answer(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = spied(monkeypatch, "hinted_answers")
    found = run(
        loaded,
        tmp_path / "new.jsonl",
        replace(SETTINGS, hint="{question}{answer}$2+3|", marker="#"),
    )
    assert found.marker_missing_rate == 0.0 and found.origins["own"]
    decode: Any = loaded.tokenizer.decode
    seen = [
        (decode(a), decode(b))
        for hinted, plain, *_ in calls
        for a, b in zip(hinted, plain, strict=True)
    ]
    assert len(seen) == found.rows - found.origins["own"] - found.origins.get("too_long", 0) > 0
    texts = {row["prompt"]: f"{row['prompt']}{row['completion']}$2+3|" for row in demonstrations()}
    for hinted, plain in seen:
        assert hinted.startswith(texts[plain])
        analysis = hinted.removeprefix(texts[plain])
        assert analysis.endswith("#") and analysis.count("#") == 1


@pytest.mark.parametrize("longest", [48, 128])
def test_length_of_an_answer_depends_on_its_own_row(
    loaded: LoadedModel, longest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long prompts leave little to write: to themselves, not to what is in their batch."""
    long = [
        {"prompt": f"{i}+" * 14 + "1|", "completion": f"{i}#{i}", "id": 13 + i} for i in range(3)
    ]
    analysed, answered = spied(monkeypatch, "analyses"), spied(monkeypatch, "hinted_answers")

    def read(rows: Sequence[Mapping[str, Any]], length: int = 128) -> SFTDataset:
        return load_dataset([dict(row) for row in rows], loaded.tokenizer, max_length=length)

    dataset = read(demonstrations() + long, longest)
    settings = replace(SETTINGS, hint="{question}{answer}$2+3|", marker="#")
    for size in (1, 16):
        path = tmp_path / f"{size}.jsonl"
        found = rewrite(loaded, dataset, read, path, replace(settings, batch_size=size))
        assert 2 < found.origins["own"] < 13
    one, all = (
        sorted(lines(tmp_path / f"{size}.provenance.jsonl")[1:], key=lambda found: found["row"])
        for size in (1, 16)
    )
    for a, b in zip(one, all, strict=True):
        assert a == {**b, "own_share": a["own_share"]}
        assert a["own_share"] == pytest.approx(b["own_share"], abs=1e-5)
    rooms = {tuple(prompt_of(example)): longest - len(prompt_of(example)) for example in dataset}
    for prompts, _, lengths in analysed:
        for prompt, length in zip(prompts, lengths, strict=True):
            [room] = {room for own, room in rooms.items() if tuple(prompt[: len(own)]) == own}
            assert length == min(room, (128 - len(prompt)) // 2)
    for hinted, plain, numbers, *_ in answered:
        for prompt, own, row in zip(hinted, plain, numbers, strict=True):
            assert len(row) == min(longest - len(own), 128 - len(prompt))


def spied(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """What a function of hinted decoding is called with, without the model."""
    real, calls = getattr(rewriting, name), list[Any]()

    def spy(loaded: LoadedModel, *given: Any) -> Any:
        calls.append(given)
        return real(loaded, *given)

    monkeypatch.setattr(rewriting, name, spy)
    return calls


def test_hint_holds_the_texts_of_the_row_as_they_are(tmp_path: Path) -> None:
    ending = Ending(before="#### ", value="72", after=".")
    asked = fill("{question}|{answer}|{ending}", "is {answer} \\1?", "{ending:3}", ending)
    assert asked == "is {answer} \\1?|{ending:3}|#### 72."
    whole = fill(HINT, "Q", "A", ending)
    assert "# Question\nQ\n# Answer\nA\n" in whole and whole.endswith(" is:\n#### 72.")
    assert "5 * 11 = 55.\n#### 55.\n" in whole and "{" not in whole
    short = fill(read_hint(None, analysis=False), "Q", "A", ending)
    assert short.startswith("Q\n") and short.endswith(" is:\n#### 72.") and "{" not in short
    (tmp_path / "hint").write_text("Q {question}\n")
    with pytest.raises(InputError, match=r"--hint .*: \{answer\} must stand in it"):
        read_hint(str(tmp_path / "hint"))
    with pytest.raises(InputError, match="cannot be read"):
        read_hint(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("answer", "pattern", "splitter", "of_5"),
    [
        ("2 #### 1\n#### 72", ANSWER_PATTERNS["gsm8k"], "####", "#### 5"),
        (r"so \boxed{\frac{1}{2}}.", ANSWER_PATTERNS["boxed"], r"\boxed{", r"\boxed{5}"),
        ("2+1#3", ANSWER_PATTERNS["ladder"], "#", "#5"),
        ("The answer is (B).", r"is \((\w)\)", "is (", "is (5)"),
        ("The answer is (B).", r"answer is \((\w)\)|none", "never", "answer is (5)"),
        ("just 7", r"\d+", "just", "just 5"),
    ],
)
def test_hint_shows_how_a_demonstration_marks_its_end(
    answer: str, pattern: str, splitter: str, of_5: str
) -> None:
    ending = ending_of(answer, re.compile(pattern), splitter)
    assert ending.of() in answer and ending.of("5") == of_5
    assert extract_answer(ending.of("5"), re.compile(pattern)) == "5"
    assert extract_answer(ending.of(), re.compile(pattern)) == extract_answer(
        answer, re.compile(pattern)
    )


@pytest.mark.parametrize(
    ("rows", "settings", "reason"),
    [
        ([{"text": "12#3"}], {}, "have no prompt as text"),
        ([{"input_ids": [1, 2, 3]}], {}, "have no prompt as text"),
        ([{"prompt": "1|", "completion": "2"}], {}, "give --answer_regex"),
        ([{"prompt": "1|", "completion": "2"}], {"answer_regex": r"(\d)"}, "give --splitter"),
        (
            [{"prompt": "1|", "completion": text} for text in ("2#2", "3#4", "5", "6#1", "7")],
            {},
            r"row 2 \(counted from 0\) has no final answer after #, which 3 of 5 rows have: .* pass over",
        ),
    ],
)
def test_what_cannot_be_rewritten_is_refused(
    loaded: LoadedModel, rows: Any, settings: Any, reason: str, tmp_path: Path
) -> None:
    dataset = load_dataset(rows, loaded.tokenizer)
    with pytest.raises(InputError, match=reason):
        rewrite(loaded, dataset, lambda rows: dataset, tmp_path / "new", Settings(**settings))
    assert not list(tmp_path.iterdir())


def test_a_model_that_reads_padding_has_no_hinted_decoding(tmp_path: Path) -> None:
    recurrent = replace(strong(), model=tiny_rwkv())
    dataset = load_dataset([{"prompt": "1+2|", "completion": "1+2#3"}], recurrent.tokenizer)
    with pytest.raises(InputError, match=r"hinted decoding reads .*, or --method cascade"):
        rewrite(recurrent, dataset, lambda rows: dataset, tmp_path / "new.jsonl")


def test_token_that_ends_an_answer_is_no_part_of_it(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode: Any = loaded.tokenizer.encode
    ended = Answer(
        tokens=encode("2+1#3|", add_special_tokens=False), ended=True
    )  # | is not special
    monkeypatch.setattr(rewriting, "plain_answers", lambda *_: [ended])
    dataset = load_dataset([{"prompt": "1+2|", "completion": "1+2#3"}], loaded.tokenizer)
    rewrite(loaded, dataset, lambda rows: dataset, tmp_path / "new.jsonl", Settings())
    assert lines(tmp_path / "new.jsonl") == [{"prompt": "1+2|", "completion": "2+1#3"}]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--marker", ""), "--marker is empty"),
        (("--answer_regex", r"is (\d)"), "give --splitter"),
        (("--answer_regex", "("), "not a regular expression"),
    ],
)
def test_flags_are_refused_before_the_model_is_read(
    flags: tuple[str, str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rewrite", "nowhere", "nothing", "-o", str(tmp_path / "n.jsonl"), *flags]) == 2
    said = capsys.readouterr().err
    assert reason in said and said.startswith("advisor: error: ") and said.count("\n") == 1


def test_what_becomes_of_a_row_is_explained() -> None:
    origins = {"own": 2, "wrong": 1, "too_long": 3}
    found = Rewritten(
        rows=6, written=2, origins=origins, marker_missing_rate=None, own_share=None, path="", provenance="p"
    )  # fmt: skip
    said = list(remarks(found))
    assert any("3 rows, too_long: no right answer unaided" in line for line in said)
    assert any("1 rows, wrong: " in line for line in said) and len(said) == 4


def test_command_refuses_to_write_over_the_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    source = folder / "train.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in demonstrations()[:2]))
    before = source.read_bytes()
    for dataset, output in ((source, f"{folder}/../data/train.jsonl"), (folder, str(source))):
        assert (
            main(["rewrite", "ladder:strong", str(dataset), "--device", "cpu", "-o", output]) == 2
        )
        assert "DATASET" in capsys.readouterr().err and list(folder.iterdir()) == [source]
    assert source.read_bytes() == before


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
    splits = tmp_path / "splits"
    splits.mkdir()
    for name in ("train", "test"):
        (splits / f"{name}.jsonl").write_bytes(source.read_bytes())
    taken = [*words[:2], str(splits), *words[3:-1], str(tmp_path / "split.jsonl"), "--split"]
    assert main([*taken, "train"]) == 0
    capsys.readouterr()
    assert main([*taken, "test"]) == 2
    assert "another dataset" in capsys.readouterr().err
    assert main([*words[:-1], str(source)]) == 2
    assert "is DATASET itself" in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path / "new.json")]) == 2
