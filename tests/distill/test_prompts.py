"""What `advisor distill` reads: prompts that leave room for an answer, tokens that all models have."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.errors import InputError
from advisor.model.load import LoadedModel
from harness.distill.distiller import build_distiller
from harness.distill.fire_settings import Fire
from harness.distill.self_settings import SelfTeaching
from tests.helpers.distilling import (
    EOS,
    GREEDY,
    ROWS,
    build,
    config,
    gradients,
    prompts,
    run,
    student,
    teacher,
)
from tests.helpers.tiny import WORDS, tiny_model, tiny_tokenizer
from tests.helpers.training import weights


def with_prompts(*lengths: int) -> SFTDataset:
    return prompts([{"prompt": "a " * n, "completion": "b"} for n in lengths])


@pytest.mark.parametrize(
    ("lengths", "given", "left", "answers"),
    [
        ([4] * 31 + [63], 6, 31, 6),  # one prompt is too long: it is left out
        ([4] * 31 + [58], 6, 32, 6),
        ([4] * 31 + [59], 6, 31, 6),
        ([4] * 31 + [63], 512, 31, 60),  # no prompt leaves so much
        ([4] * 31 + [63], None, 31, 60),
        ([10] * 16 + [40] * 16, 30, 16, 30),
        ([10] * 15 + [40] * 17, 30, 32, 24),
    ],
)
def test_a_long_prompt_is_left_out_and_shortens_no_answer(
    tmp_path: Path, caplog: Any, lengths: list[int], given: int | None, left: int, answers: int
) -> None:
    settings = config(tmp_path, max_completion_length=given)
    evaluated = with_prompts(4, 60)
    trainer = build_distiller(
        student(), with_prompts(*lengths), {"t": teacher()}, settings, eval_dataset=evaluated
    )
    assert len(trainer.train_dataset) == left and len(trainer.eval_dataset) == 1
    assert trainer.max_completion_length == answers
    assert (f"{32 - left} of 32 prompts are left out" in caplog.text) == (left < 32)
    assert "1 of 2 prompts are left out" in caplog.text
    assert ("max_completion_length is" in caplog.text) == (answers != given)


def test_demonstrations_that_do_not_fit_the_context_are_named_as_the_reason(
    tmp_path: Path, caplog: Any
) -> None:
    rows = [{"prompt": "a", "completion": " b" * (3 if i < 20 else 62)} for i in range(24)]
    itself = SelfTeaching()
    trainer = build_distiller(student(), prompts(rows), {}, config(tmp_path), itself=itself)
    assert len(trainer.train_dataset) == 20
    [said] = [line for line in caplog.messages if "left out" in line]
    assert "4 of 24 rows are left out: the prompt with its demonstration does not fit" in said
    with pytest.raises(InputError, match="no prompt with its demonstration fits a context of 64"):
        build_distiller(student(), prompts(rows[20:]), {}, config(tmp_path), itself=itself)


@pytest.mark.parametrize("itself", [None, SelfTeaching(skip=0)])
def test_a_tokenizer_without_pad_and_end_is_padded_with_token_0(
    tmp_path: Path, itself: SelfTeaching | None
) -> None:
    """The mask hides it: the training is that of a tokenizer that pads with another token."""
    found = []
    for special in ({"unk_token": "<pad>"}, {"pad_token": "m"}):
        tokenizer = tiny_tokenizer(**special)
        data = load_dataset(ROWS, tokenizer, eos_token="none")
        own, other = (replace(one, tokenizer=tokenizer) for one in (student(), teacher()))
        trainer = build_distiller(
            own, data, {} if itself else {"t": other}, config(tmp_path), itself=itself
        )
        trainer.train()
        trainer.save_model(str(tmp_path / "saved"))
        found.append(weights(trainer))
        settings = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
        assert settings.get("pad_token") == special.get("pad_token")
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_rows_without_an_answer_are_prompts_unless_a_template_would_begin_it(
    tmp_path: Path, caplog: Any
) -> None:
    rows = [{**row, "completion": "" if i % 2 else " k"} for i, row in enumerate(ROWS)]
    trainer = build_distiller(student(), prompts(rows), {"t": teacher()}, config(tmp_path))
    assert trainer.train_dataset["prompt"] == build(tmp_path).train_dataset["prompt"]
    assert not caplog.text
    chat = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b" * (i < 20)}]}
        for i in range(32)
    ]  # fmt: skip
    data = load_dataset(chat, tiny_tokenizer())
    trainer = build_distiller(student(), data, {"t": teacher()}, config(tmp_path))
    assert len(trainer.train_dataset) == 20 and "12 of 32 rows are left out" in caplog.text
    longer = [*ROWS, {"prompt": "a " * 10, "completion": "b"}]
    data = load_dataset(longer, tiny_tokenizer(), max_length=8)  # it ends within the last prompt
    trainer = build_distiller(student(), data, {"t": teacher()}, config(tmp_path))
    assert len(trainer.train_dataset) == 32 and "1 of 33 rows are left out" in caplog.text


def test_what_the_students_generation_config_says_changes_no_rollout(tmp_path: Path) -> None:
    penalties = {"no_repeat_ngram_size": 1, "typical_p": 0.1, "min_p": 0.9, "num_beams": 2, "top_k": 1,
                 "repetition_penalty": 9.0, "suppress_tokens": [5], "min_new_tokens": 4,
                 "bad_words_ids": [[5]], "sequence_bias": [[[5], -9.0]], "stop_strings": ["c"]}  # fmt: skip
    trainer = build_distiller(
        (other := student()), prompts(), {"t": teacher()},
        [other.model.generation_config.update(**penalties), config(tmp_path)][1],
    )  # fmt: skip
    trainer.train()
    assert torch.equal(weights(trainer), weights(run(tmp_path)))
    assert other.model.generation_config.min_p == 0.9  # saved as it was


def padded(original: LoadedModel, rows: int) -> LoadedModel:
    """The model with a head of more rows, which come out large."""
    model = tiny_model(vocab_size=rows, initializer_range=0.3)
    state = model.state_dict()
    for name, value in original.model.state_dict().items():
        state[name][: len(value)] = value
    state["lm_head.weight"][len(WORDS) :] = 3 * state["lm_head.weight"][EOS]
    model.load_state_dict(state)
    return replace(original, model=model)


@pytest.mark.parametrize("settings", [{}, {"fire": Fire()}, {"fire": Fire(), "form": "sampled"}])
@pytest.mark.parametrize(("own", "other"), [(16, 20), (20, 16), (20, 18)])
def test_rows_that_pad_a_head_take_no_part(
    tmp_path: Path, settings: dict[str, Any], own: int, other: int
) -> None:
    def found(student: LoadedModel, teacher: LoadedModel) -> tuple[list[torch.Tensor], float]:
        trainer = build_distiller(
            student, prompts(), {"t": teacher}, config(tmp_path, **GREEDY),
            eval_dataset=prompts(ROWS[:5]), **settings,
        )  # fmt: skip
        gradients(trainer)
        pieces = [p.grad for p in trainer.model.parameters()]
        return pieces, trainer.evaluate()["eval_loss"]

    plain, loss = found(student(), teacher())
    grown, same = found(padded(student(), own), padded(teacher(), other))
    assert same == pytest.approx(loss, rel=1e-5) and loss > 0.1
    for cut, whole in zip(plain, grown, strict=True):
        torch.testing.assert_close(whole[: len(cut)], cut, rtol=1e-4, atol=1e-6)
        assert not whole[len(cut) :].any()
