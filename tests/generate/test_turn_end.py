"""Terminators of several ordinary tokens: what sampling leaves of them is cut off, or completed."""

import json
from pathlib import Path
from typing import Any

import pytest

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.model.load import LoadedModel
from harness.generate import own_answers as answering
from harness.generate import rewrite as rewriting
from harness.generate.decoding import prompt_of, turn_ends
from harness.generate.hinted import Answer
from harness.generate.own_answers import answers_of, own_answers
from harness.generate.rewrite import Settings, rewrite
from harness.generate.turn_end import TurnEnd, turn_end_of
from harness.reinforce.verifier import questions_of
from tests.helpers.byte_tokens import byte_tokenizer
from tests.helpers.tiny import tiny_model

END = TurnEnd(text="<<end>>", pieces=frozenset({5}), tokens=frozenset({(3, 4, 5, 6), (2,)}))
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}<<end>>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def chats() -> SFTDataset:
    """Two, in whose answers nothing of the terminator but `d` and `>` stands."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{n} and {n}?"},
                {"role": "assistant", "content": f"d> #### {2 * n}"},
            ]
        }
        for n in (1, 2)
    ]
    return load_dataset(rows, byte_tokenizer(), chat_template=TEMPLATE)


def model() -> LoadedModel:
    return LoadedModel(
        model=tiny_model(), tokenizer=byte_tokenizer(), name="tiny", fingerprint="", parameters=0,
        dtype="float32", device="cpu", kind="base", notes=(),
    )  # fmt: skip


def as_sampled(dataset: SFTDataset, row: int) -> list[int]:
    """The demonstration up to the token at which sampling stops."""
    tokens = dataset[row].input_ids[len(prompt_of(dataset[row])) :]
    stops = turn_ends(dataset)
    end = next(i for i, token in enumerate(tokens) if token in stops)
    assert stops == {ord("n")} and len(tokens) > end + 3
    return tokens[: end + 1]


def test_a_text_is_cut_off_at_the_terminator_or_where_it_begins() -> None:
    assert END.cut_off("a<<end>> b") == "a"
    assert END.cut_off("a<<en", within=True) == "a"
    assert END.cut_off("a<<en") == "a<<en"
    assert END.cut_off("a", within=True) == "a"
    assert TurnEnd().cut_off("a<") == "a<"


def test_an_answer_gets_the_rest_of_the_terminator_that_it_ends_in() -> None:
    assert END.completed([9, 3, 4, 5]) == [9, 3, 4, 5, 6]
    assert END.completed([9, 3, 4, 5, 6]) == [9, 3, 4, 5, 6]
    assert END.completed([9, 2]) == [9, 2]
    assert END.completed([9, 5]) == [9, 5]
    assert [END.length(answer) for answer in ([9, 3, 4, 5, 6], [9, 2], [9, 5])] == [4, 1, 0]


def test_own_answers_end_as_the_demonstrations_do(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, asked = chats(), list[list[int]]()

    def said(_: Any, prompts: Any, *rest: Any, **more: Any) -> list[list[int]]:
        asked.extend(prompts)
        rows = {tuple(prompt_of(example)): row for row, example in enumerate(dataset)}
        return [as_sampled(dataset, rows[tuple(prompt)]) for prompt in prompts]

    loaded = model()
    loaded.model.generation_config.eos_token_id = sorted(turn_ends(dataset))
    monkeypatch.setattr(answering, "continuations", said)
    pattern = answers_of(dataset, None)
    assert pattern is not None
    own, found = own_answers(
        loaded, dataset, pattern=pattern, per_prompt=1, temperature=1.0, seed=0
    )
    assert found.right == 1 and len(asked) == 2
    assert turn_end_of(own) == turn_end_of(dataset) and turn_end_of(own).text == "<<end>>"
    assert own.info.template_text == dataset.info.template_text
    for new, old in zip(own, dataset, strict=True):
        end = len(new.input_ids)
        assert new.input_ids == old.input_ids[:end] and new.terminators == old.terminators
        assert new.terminators[-1] == end - 1 and len(new.terminators) == len("<<end>>")


def test_a_rewritten_row_holds_nothing_of_the_terminator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = chats()
    said = [Answer(tokens=as_sampled(dataset, row), ended=True) for row in (0, 1)]
    monkeypatch.setattr(rewriting, "plain_answers", lambda *_: said)
    rewrite(model(), dataset, lambda rows: dataset, tmp_path / "new.jsonl", Settings())
    rows = [json.loads(line) for line in (tmp_path / "new.jsonl").read_text().splitlines()]
    assert [row["messages"][1]["content"] for row in rows] == ["d> #### 2", "d> #### 4"]


def test_a_reference_of_grpo_is_the_answer_alone() -> None:
    assert [question.reference for question in questions_of(chats())] == ["d> #### 2", "d> #### 4"]
