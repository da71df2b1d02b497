"""What messages and calls say under other names: read, noted or refused, never lost."""

import json
from typing import Any

import pytest
from transformers import AddedToken

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.errors import InputError
from tests.helpers.byte_tokens import byte_tokenizer, marked_text

ASKED = {"role": "user", "content": "q"}
SAID = {"role": "assistant", "content": "a"}
CALL = {"name": "getw", "arguments": {"city": "Oslo"}}
WRITTEN = json.dumps([{"type": "function", "function": CALL}])
THINKS = (
    "{% for m in messages %}{{ '|' + m.role + '|' }}{% if m.role == 'assistant' and m.reasoning_content %}"
    "{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}"
    "{{ m.content + eos_token }}{% endfor %}{% if add_generation_prompt %}{{ '|assistant|' }}{% endif %}"
)


def read(*messages: dict[str, Any], column: str = "messages", **settings: Any) -> SFTDataset:
    dataset = load_dataset([{column: list(messages)}], byte_tokenizer(), **settings)
    assert len(dataset[:]) == 1
    return dataset


def text(dataset: SFTDataset) -> str:
    return marked_text(dataset[0].input_ids, dataset[0].labels)


@pytest.mark.parametrize(
    "call",
    [
        {"name": "getw", "args": {"city": "Oslo"}, "type": "tool_call"},
        {"name": "getw", "input": {"city": "Oslo"}, "type": "tool_use"},
        {"type": "function", "function": {**CALL, "arguments": json.dumps(CALL["arguments"])}},
        {"function": "getw", "parameters": {"city": "Oslo"}, "arguments": None},
    ],
    ids=["LangChain", "Anthropic", "OpenAI", "flat"],
)
@pytest.mark.parametrize("key", ["tool_calls", "tool_call", "function_calls"])
def test_arguments_under_every_name(call: dict[str, Any], key: str) -> None:
    """The arguments of LangChain's and Anthropic's calls were trained as {}."""
    given = [call] if key != "tool_call" else call
    assert text(read(ASKED, {"role": "assistant", "content": "", key: given})) == (
        f"q\n«{WRITTEN}</s>»"
    )


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ({**CALL, "result": "42"}, "a call of turn 1 has 'result', which is not read"),
        ({**CALL, "args": {"city": "Rome"}}, "two values of arguments"),
    ],
)
def test_what_a_call_cannot_hold(call: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(ASKED, {**SAID, "tool_calls": [call]})


@pytest.mark.parametrize("role", ["function_call", "tool_call"])
def test_turns_that_are_calls(role: str) -> None:
    """LLaMA-Factory's and ms-swift's turns of calls are calls; other text stays text."""
    turns = [{"from": "human", "value": "q"}, {"from": role, "value": json.dumps(CALL)}]
    assert text(read(*turns, column="conversations")) == f"q\n«{WRITTEN}</s>»"
    twice = [*turns, turns[1], {"from": "tool_response", "value": "sun"}]
    two = json.dumps(2 * [{"type": "function", "function": CALL}])
    shown = text(read(*twice, column="conversations"))
    assert shown == f"User: q\nAssistant:« {two}</s>»\nTool: sun"
    for value in ("getw()", '{"name": "Ann", "age": 3}', "[]"):
        kept = read(turns[0], {**turns[1], "value": value}, column="conversations")
        assert text(kept) == f"q\n«{value}</s>»"


def test_one_object_for_a_question_and_its_answer() -> None:
    """The system text of ms-swift's and xtuner's objects was lost."""
    for user, answer in (("human", "assistant"), ("input", "output")):
        both = {"system": "be kind", user: "hi", answer: "yo"}
        assert text(read(both, column="conversation")) == "be kind\nhi\n«yo</s>»"


def test_keys_that_are_not_read_are_counted() -> None:
    messages = [{**ASKED, "lang": "en"}, {**SAID, "plan": "later", "audio": None, "images": []}]
    notes = read(*messages).row_notes
    assert notes == (
        "In 1 of 1 rows messages hold 'lang', which is not read.",
        "In 1 of 1 rows messages hold 'plan', which is not read.",
    )
    template = "{% for m in messages %}{{ m.plan }}|{{ m.content + eos_token }}{% endfor %}"
    assert len(read(*messages, chat_template=template).row_notes) == 1  # it reads m.plan
    thought = read(ASKED, {**SAID, "thought": "hm"})
    assert text(thought) == "q\n«<think>\nhm\n</think>\n\na</s>»" and not thought.row_notes


@pytest.mark.parametrize("mark", ["mask", "masked", "trainable", "ignore"])
def test_marks_that_are_not_known_are_refused(mark: str) -> None:
    with pytest.raises(InputError, match=f"turn 1 has {mark} False, which is not read; say with"):
        read(ASKED, {**SAID, mark: False})


def test_two_spellings_of_one_message() -> None:
    """The one that is empty is none; two that differ were both silent."""
    empty = {"role": "", "content": "", "from": "gpt", "value": "a"}
    assert text(read(ASKED, empty)) == text(read(ASKED, {**SAID, **empty, **SAID})) == "q\n«a</s>»"
    with pytest.raises(InputError, match="role and from, which differ"):
        read(ASKED, {**SAID, "from": "human"})
    with pytest.raises(InputError, match="content and value, which differ"):
        read(ASKED, {**SAID, "value": "b"})


def test_a_thought_given_twice_is_trained_once() -> None:
    twice = {
        "role": "assistant",
        "content": "<think>\nhm\n</think>\n\na",
        "reasoning_content": "hm",
    }
    shown = text(read(ASKED, twice, chat_template=THINKS))
    assert shown == "|user|q</s>|assistant|«<think>hm</think>a</s>»"
    assert text(read(ASKED, twice)) == "q\n«<think>\nhm\n</think>\n\na</s>»"
    with pytest.raises(InputError, match="one thought in its content and another beside it"):
        read(ASKED, {**twice, "reasoning_content": "well"})


def test_a_users_thought_is_one_line() -> None:
    with pytest.raises(InputError, match="leaves out what the user says in turn 0"):
        read({**ASKED, "reasoning": "hm"}, SAID, chat_template=THINKS)


@pytest.mark.parametrize(
    "answer", ["the <mask>\n", "the <mask><mask>", "<mask>", "a <mask> \n<mask>"]
)
@pytest.mark.parametrize("marked", [False, True])
def test_the_end_of_a_turn_comes_behind_special_tokens(answer: str, marked: bool) -> None:
    """Without <|im_end|> as a target the model learns no end."""
    tokenizer = byte_tokenizer()
    special = [AddedToken(t, special=True) for t in ("<mask>", "<|im_start|>", "<|im_end|>")]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    body = "{{ m.content }}"
    if marked:  # the end token stands outside of the mark
        spoken = "{% generation %}" + body + "{% endgeneration %}"
        body = "{% if m.role == 'assistant' %}" + spoken + "{% else %}" + body + "{% endif %}"
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}" + body
        + "{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )  # fmt: skip
    messages = [ASKED, {"role": "assistant", "content": answer}]
    dataset = load_dataset([{"messages": messages}], tokenizer, chat_template=template)
    targets = [label for label in dataset[0].labels if label != -100]
    said = tokenizer.decode(targets, skip_special_tokens=False)
    assert said.removesuffix("\n") == answer + "<|im_end|>"
    (end,) = dataset[0].terminators
    assert tokenizer.decode([dataset[0].input_ids[end]]) == "<|im_end|>"
