"""Answers end where the data's turns end, and are drawn from the model's own distribution."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from advisor.data.dataset import Example, load_dataset
from advisor.errors import InputError
from advisor.model.load import LoadedModel
from harness.cli.main import main
from harness.generate.decoding import (
    as_it_is,
    continuations,
    read_together,
    refuse_padded,
    stops_of,
    turn_ends,
)
from harness.generate.hinted import Sampling, plain_answers
from harness.generate.own_answers import Question, own_answers, sampled_answers
from tests.helpers.resampling import build
from tests.helpers.tiny import WORDS, tiny_model, tiny_rwkv, tiny_tokenizer

EOS, END = WORDS.index("<eos>"), WORDS.index("m")
ROWS = [{"prompt": "a b ", "completion": " ".join("cdefgh"[: 1 + i % 6]) + " "} for i in range(16)]
PENALTIES: dict[str, Any] = {
    "repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "num_beams": 2, "num_return_sequences": 2,
    "min_p": 0.9, "typical_p": 0.1, "min_length": 30, "suppress_tokens": [3, 4, 5],
    "begin_suppress_tokens": [3, 4, 5], "bad_words_ids": [[3]], "min_new_tokens": 9, "top_h": 0.1,
    "sequence_bias": [[[3], 9.0]], "forced_eos_token_id": 2, "stop_strings": ["c"], "max_time": 0.0,
}  # fmt: skip


def ended(*rows: tuple[list[int], tuple[int, ...]]) -> set[int]:
    return turn_ends(
        Example(input_ids=ids, labels=[-100, *ids[1:]], terminators=ends, truncated=False)
        for ids, ends in rows
    )


def test_what_ends_a_turn_stands_nowhere_else_in_a_target() -> None:
    assert ended(([1, 5, 2, 1, 6, 2], (2, 5))) == {2}
    assert ended(([1, 5, 2, 1, 6, 7], (2, 5))) == {2, 7}
    assert ended(([1, 5, 2, 6, 2], (4,))) == set()
    assert ended(([1, 5, 8, 2], (2, 3))) == {2}  # of two tokens the last
    assert ended(([1, 5, 8, 2, 6, 2, 8, 2], (2, 3, 6, 7))) == {8}  # 2 stands within a turn, too
    assert ended(([1, 5, 2, 2], (2, 3))) == {2}
    assert ended(([1, 5, 6], ())) == set()


def eager(**generation: Any) -> Any:
    """A tiny model that stops before long, with a generation config of its own."""
    model = tiny_model(initializer_range=0.3)
    model.generation_config.eos_token_id = EOS
    model.generation_config.update(**generation)
    return model


def sampled(**generation: Any) -> list[list[int]]:
    torch.manual_seed(3)
    prompts = [[3, 4], [5, 6, 7], [8]] * 4
    settings: dict[str, Any] = {
        "max_new_tokens": 12,
        "pad_token_id": 0,
        "do_sample": True,
        "top_k": 0,
    }
    return continuations(eager(**generation), prompts, {EOS}, **settings)


@pytest.mark.parametrize("name", [*PENALTIES, "top_p"])
def test_nothing_of_the_models_generation_config_changes_what_is_drawn(name: str) -> None:
    beams = {"num_beams": 2} if name == "num_return_sequences" else {}
    assert sampled(**beams, **{name: PENALTIES.get(name, 0.1)}) == sampled()


def test_a_generation_config_is_as_it_was_whatever_happens() -> None:
    model = eager(**PENALTIES)
    before = model.generation_config.to_dict()
    with pytest.raises(KeyError), as_it_is(model):
        assert model.generation_config.eos_token_id == EOS
        assert model.generation_config.stop_strings is None
        raise KeyError
    assert model.generation_config.to_dict() == before


def test_answers_go_up_to_what_ends_them() -> None:
    answers = sampled()
    assert len(answers) == 12 and any(answer[-1] == EOS for answer in answers)
    assert all(EOS not in answer[:-1] for answer in answers)
    assert all(answer[-1] == EOS or len(answer) == 12 for answer in answers)


@pytest.mark.parametrize("several", [1, 2])
def test_a_prompt_without_room_shortens_no_answer_but_its_own(several: int) -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"vocab_size": len(WORDS), "n_embd": 16, "n_layer": 1, "n_head": 2,
                                "initializer_range": 0.5, "n_positions": 16}  # fmt: skip
    model = GPT2LMHeadModel(GPT2Config(**settings)).eval()  # positions beyond 16 are an IndexError
    prompts, rooms = [[3] * 15, [4, 5], [6]], [1, 9, 12]

    def answers(chosen: list[int], **more: Any) -> list[list[int]]:
        return continuations(
            model, [prompts[i] for i in chosen], (), max_new_tokens=[rooms[i] for i in chosen],
            pad_token_id=0, **more,
        )  # fmt: skip

    alone = [answers([i])[0] for i in range(3)]
    assert [len(answer) for answer in alone] == rooms
    found = answers([0, 1, 2], num_return_sequences=several, do_sample=several > 1)
    assert [len(answer) for answer in found] == [room for room in rooms for _ in range(several)]
    assert several > 1 or found == alone


def test_a_model_that_reads_padding_reads_every_prompt_by_itself() -> None:
    prompts = [[3, 4, 5, 6], [7], [8, 9, 10, 3], [11, 12]]
    settings: dict[str, Any] = {"max_new_tokens": 8, "pad_token_id": 0}
    model = tiny_rwkv()
    assert read_together(model, 3) == [[0], [1], [2]]
    assert read_together(eager(), 3) == [[0, 1, 2]]
    alone = [continuations(model, [prompt], (), **settings)[0] for prompt in prompts]
    assert continuations(model, prompts, (), **settings) == alone
    torch.manual_seed(0)
    sampled = continuations(model, prompts, (), num_return_sequences=3, do_sample=True, **settings)
    assert len(sampled) == 12 and all(len(answer) == 8 for answer in sampled)
    loaded = LoadedModel(
        model=model, tokenizer=tiny_tokenizer(), name="tiny", fingerprint="", parameters=0,
        dtype="float32", device="cpu", kind="base", notes=(),
    )  # fmt: skip
    drawn, greedy = [torch.zeros(8)] * 4, Sampling(temperature=0)
    each = [plain_answers(loaded, [prompt], drawn[:1], greedy)[0] for prompt in prompts]
    assert plain_answers(loaded, prompts, drawn, greedy) == each
    with pytest.raises(InputError, match=r"tiny: padding enters the state .* and GRPO reads"):
        refuse_padded(loaded, "GRPO")


def test_a_long_question_leaves_the_others_their_room() -> None:
    loaded = LoadedModel(
        model=eager(), tokenizer=tiny_tokenizer(), name="tiny", fingerprint="", parameters=0,
        dtype="float32", device="cpu", kind="base", notes=(),
    )  # fmt: skip
    short = [Question(prompt=[3, 4], reference=[5, 6, EOS])] * 8
    for questions in (short, [*short, Question(prompt=[3] * 31, reference=[EOS])]):
        torch.manual_seed(0)
        found = [
            answer
            for _, group in sampled_answers(loaded, questions, 8, 1.0, 32)
            for answer in group
        ]
        assert max(map(len, found)) > 3


def test_the_models_own_answers_are_drawn_from_its_own_distribution() -> None:
    def own(**generation: Any) -> Any:
        model = eager(**generation)
        loaded = LoadedModel(
            model=model, tokenizer=tiny_tokenizer(), name="tiny", fingerprint="", parameters=0,
            dtype="float32", device="cpu", kind="base", notes=(),
        )  # fmt: skip
        data = load_dataset(ROWS, loaded.tokenizer)
        found, counts = own_answers(
            loaded, data, pattern=r"^(.)", per_prompt=64, temperature=1.0, seed=0
        )
        return [example.input_ids for example in found], counts

    rows, counts = own()
    assert counts.kept > 4 and own(**PENALTIES) == (rows, counts)


def test_without_an_eos_of_its_own_a_model_has_the_tokenizers() -> None:
    model = eager()
    assert stops_of(model, None) == {EOS}
    model.generation_config.eos_token_id = None
    assert stops_of(model, tiny_tokenizer()) == {EOS}


def test_what_cadft_samples_is_seeded_and_the_models_own(tmp_path: Path) -> None:
    def drawn(seed: int, **generation: Any) -> list[list[int]]:
        trainer = build(tmp_path)
        trainer.model.generation_config.update(**generation)
        torch.manual_seed(len(generation))  # whatever was drawn before
        return trainer.answers_to([[3, 4, 5]] * 32, seed=seed)

    penalties = {"repetition_penalty": 9.0, "no_repeat_ngram_size": 1, "num_return_sequences": 2,
                 "num_beams": 2, "min_p": 0.9, "typical_p": 0.1}  # fmt: skip
    assert drawn(3) == drawn(3, **penalties) != drawn(4)


@pytest.fixture
def data(write: Any) -> Path:
    path: Path = write("data.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize("command", ["train", "distill"])
def test_a_saved_model_stops_where_the_data_end_a_turn(
    model_folder: Path, data: Path, tmp_path: Path, command: str
) -> None:
    teacher = ["--teacher", str(model_folder), "--max_completion_length", "5"]
    flags = ["--output_dir", str(tmp_path), "--max_steps", "1", "--per_device_train_batch_size", "4",
             "--disable_tqdm", "true", "--eos_token", "m"]  # fmt: skip
    more = teacher if command == "distill" else []
    assert main([command, str(model_folder), str(data), *flags, *more]) == 0
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert set(saved["eos_token_id"]) == {EOS, END}


def test_a_dataset_is_rewritten_by_a_model_that_stops_where_its_turns_end(
    model_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = []

    def note(loaded: LoadedModel, *rest: Any, **more: Any) -> None:
        stops.append(stops_of(loaded.model, loaded.tokenizer))
        raise InputError("enough")

    monkeypatch.setattr("harness.generate.rewrite.rewrite", note)
    out = ["--output_path", str(tmp_path / "out.jsonl"), "--eos_token", "m"]
    assert main(["rewrite", str(model_folder), str(data), *out]) == 2
    assert len(stops) == 1 and END in stops[0]
