"""Every word of a row is accounted for: in the targets, in the context, or the row is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trl

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.errors import InputError
from tests.helpers.byte_tokens import byte_tokenizer, marked_text

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% endif %}"
)
# As Qwen2.5 writes calls, as short as can be.
CALLING = (
    "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\n' }}{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{{ '<call>' + ({'name': c.function.name, 'arguments': c.function.arguments} | tojson) }}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
USER = {"role": "user", "content": "quserone"}
ANSWER = {"role": "assistant", "content": "qanstwo"}
RESULT = {"role": "tool", "tool_call_id": "abcdefghi", "name": "qtoolname", "content": "qresult"}
TOOLS = [{"type": "function", "function": {"name": "qtoolname", "description": "d"}}]


def call(arguments: Any, name: str = "qtoolname") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": "abcdefghi", "type": "function", "function": function}


def calling(*calls: dict[str, Any], content: str | None = "") -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


CALL = [USER, calling(call({"qprop": "qvalue"})), RESULT, ANSWER]


def packaged(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


def read(messages: list[dict[str, Any]], template: Any, **columns: Any) -> SFTDataset:
    tokenizer = byte_tokenizer(chat_template=template)
    dataset = load_dataset([{"messages": messages, **columns}], tokenizer, max_length=9999)
    dataset.tokenize([0])
    return dataset


def targets(dataset: SFTDataset) -> list[str]:
    """The texts of the targets, each run by itself."""
    text = marked_text(dataset[0].input_ids, dataset[0].labels)
    return [piece.partition("»")[0] for piece in text.split("«")[1:]]


def context(dataset: SFTDataset) -> str:
    text = marked_text(dataset[0].input_ids, dataset[0].labels)
    return "".join(piece.rpartition("»")[2] for piece in text.split("«"))


@pytest.mark.parametrize("name", ["llama3", "qwen2_5_vl", "lfm2", "chatml"])
def test_a_call_that_a_template_loses_is_refused(name: str) -> None:
    template = CHATML if name == "chatml" else packaged(name)
    with pytest.raises(InputError, match=r"row 0 .*turn 1 \(the call of 'qtoolname'\)"):
        read(CALL, template, tools=TOOLS)


def test_a_call_without_text_in_the_spelling_that_a_template_reads() -> None:
    """DeepSeek's template shows a call only beside the content null, its arguments only as text."""
    dataset = read(CALL, packaged("deepseek_r1_distill"), tools=TOOLS)
    first, second = targets(dataset)
    assert "qtoolname" in first and '{"qprop": "qvalue"}' in first and "qresult" not in first
    assert second.startswith("qanstwo")
    assert "In 1 of 1 rows the template leaves the definitions of the tools out." in dataset.notes


@pytest.mark.parametrize(
    "message",
    [
        calling(call({"qprop": "qvalue"})),
        calling(call('{"qprop":"qvalue"}'), content=None),
        calling({"name": "qtoolname", "arguments": {"qprop": "qvalue"}}),
        calling(call({"qprop": "qvalue", "from_another_row": None})),
        {"role": "assistant", "content": None, "tool_calls": [], "function_call": {
            "name": "qtoolname", "arguments": '{"qprop": "qvalue"}'}},
    ],
    ids=["object", "text", "flat", "null of Arrow", "function_call"],
)  # fmt: skip
def test_calls_in_every_form_are_one_call(message: dict[str, Any]) -> None:
    result = {**RESULT, "role": "function"}
    for tools in (TOOLS, json.dumps(TOOLS), TOOLS[0], json.dumps(TOOLS[0]), {"tools": TOOLS}):
        dataset = read([USER, message, result, ANSWER], CALLING, tools=tools)
        said = '<call>{"name": "qtoolname", "arguments": {"qprop": "qvalue"}}<|im_end|>'
        assert targets(dataset) == [said, "qanstwo<|im_end|>"]
        assert json.dumps(TOOLS[0]) in context(dataset)
        assert "<|im_start|>tool\nqresult<|im_end|>" in context(dataset)
        nulls = [note for note in dataset.notes if "hold nulls" in note]
        assert len(nulls) == ("from_another_row" in str(message))


def test_tools_of_no_known_form_are_refused() -> None:
    for tools in (5, [5], {"qtoolname": {"d": 1}}, ["qtoolname"]):
        with pytest.raises(InputError, match=r"row 0 .*tools column must"):
            read(CALL, CALLING, tools=tools)
    for wrong in (call({}, name=""), "qtoolname", {"function": {"arguments": {}}}):
        with pytest.raises(InputError, match=r"row 0 .*a call of turn 1 has no name"):
            read([USER, calling(wrong)], CALLING)  # type: ignore[arg-type]


def test_the_template_for_tools_is_chosen_row_by_row() -> None:
    tokenizer = byte_tokenizer(chat_template={"default": CHATML, "tool_use": CALLING})
    rows = [{"messages": CALL, "tools": TOOLS}, {"messages": [USER, ANSWER], "tools": None}]
    dataset = load_dataset(rows, tokenizer, max_length=9999)
    dataset.tokenize([0, 1])
    for i, row in enumerate(rows):
        chosen = tokenizer.get_chat_template(tools=row["tools"])
        text = tokenizer.apply_chat_template(
            row["messages"], tools=row["tools"], chat_template=chosen, tokenize=False
        )
        assert marked_text(dataset[i].input_ids, [-100] * len(dataset[i].labels)) == text
    assert dataset.counts.remarks == {"tool_use": 1}
    assert any("In 1 of 2 rows tools are given" in note for note in dataset.notes)


THINK = {"role": "assistant", "content": "<think>\nqthoughtone\n</think>\n\nqansone"}


def test_a_thought_in_the_content_is_a_target_or_refused() -> None:
    dataset = read([USER, THINK], packaged("deepseek_r1_distill"))
    assert not any("User" in note or "six" in note for note in dataset.notes)
    assert targets(dataset)[0].startswith("qthoughtone\n</think>\n\nqansone")
    assert any("TRL's training version of it is used for them" in note for note in dataset.notes)
    with pytest.raises(InputError, match=r"turn 1 \(the thought 'qthoughtone'\)"):
        read([USER, THINK], packaged("deepseekv3"))


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_a_thought_under_its_own_key_is_a_target_or_refused(key: str) -> None:
    message = {"role": "assistant", "content": "qansone", key: "qthoughtone"}
    for name in ("qwen3", "gptoss", "glm4moe"):
        (said,) = targets(read([USER, message], packaged(name)))
        assert said.index("qthoughtone") < said.index("qansone")
    plain = load_dataset([{"messages": [USER, message]}], byte_tokenizer())
    assert targets(plain) == ["<think>\nqthoughtone\n</think>\n\nqansone</s>"]
    with pytest.raises(InputError, match=r"turn 1 \(the thought 'qthoughtone'\)"):
        read([USER, message], packaged("llama3"))


def test_a_thought_alone_is_something_to_learn() -> None:
    message = {"role": "assistant", "content": "", "reasoning_content": "qthoughtone"}
    (said,) = targets(read([USER, message], packaged("qwen3")))
    assert "qthoughtone" in said
    with pytest.raises(InputError, match="the thought"):
        read([USER, message], CHATML)


def test_thoughts_of_earlier_turns_removed_by_design_are_counted() -> None:
    """Qwen3 keeps the last thought only; a template that keeps none is refused."""
    later = [USER, {"role": "assistant", "content": "<think>\nqthoughttwo\n</think>\n\nqlast"}]
    dataset = read([USER, THINK, *later], packaged("qwen3"))
    first, second = targets(dataset)
    assert first == "qansone<|im_end|>" and "qthoughttwo" in second
    assert dataset.counts.remarks == {"thought_removed": 1}
    assert any("In 1 of 1 rows by its design" in note for note in dataset.notes)
    with pytest.raises(InputError, match="the thought"):
        read([USER, THINK, *later], packaged("deepseekv3"))


INSIDE = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[' + m.content + ']' }}"
    "{% elif m.role == 'assistant' %}{% generation %}{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{{ c | tojson }}{% endfor %}{% if m.tool_calls %}{{ '{' + messages[loop.index].content + '}' }}"
    "{% endif %}{{ eos_token }}{% endgeneration %}{% endif %}{% endfor %}"
)


def test_what_no_target_turn_said_is_no_target() -> None:
    """A result within the assistant's marks; a mark over everything; <s> before each answer."""
    with pytest.raises(InputError, match="leaves out what the tool says in turn 2"):
        read(CALL, INSIDE)
    with pytest.raises(InputError, match="leaves out what the user says in turn 0"):
        read([USER, ANSWER] * 2, "{% generation %}" + CHATML + "{% endgeneration %}")
    twice = INSIDE.replace(
        "{% elif", "{{ m.content }}{% elif m.role == 'tool' %}{{ m.content }}{% elif"
    )
    with pytest.raises(InputError, match=r"puts what the tool says in turn 2 \('qresult'\) into"):
        read(CALL, twice)
    begins = "{% for m in messages %}{{ '|' + m.role + '|' }}{% if m.role == 'assistant' %}" \
        "{% generation %}{{ 'x' + bos_token + m.content + eos_token }}{% endgeneration %}" \
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"  # fmt: skip
    with pytest.raises(InputError, match="puts '<s>', which begins another turn"):
        read([USER, ANSWER], begins)


def test_the_header_within_a_mark_is_no_target() -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}"
        "{{ '<|im_start|>assistant\n' + m.content + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ '<|im_start|>user\n' + m.content + '<|im_end|>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    assert targets(read([USER, ANSWER], template)) == ["qanstwo<|im_end|>"]


def test_templates_that_read_parts_are_given_parts() -> None:
    dataset = read([USER, ANSWER], packaged("smolvlm"))
    assert targets(dataset) == [" qanstwo<end_of_utterance>"]
    assert "User: quserone" in context(dataset)


@pytest.mark.parametrize(
    "prompt", ["Name a colour.", [{"role": "user", "content": "Name a colour."}]]
)
def test_a_prompt_that_the_completion_repeats_is_read_once(prompt: Any) -> None:
    talk = [
        {"role": "user", "content": "Name a colour."},
        {"role": "assistant", "content": "Green."},
    ]
    for chosen in (talk, [{"role": "system", "content": "S"}, *talk]):
        row = {"prompt": prompt, "chosen": chosen, "rejected": chosen}
        dataset = load_dataset([row], byte_tokenizer(chat_template=CHATML))
        assert targets(dataset) == ["Green.<|im_end|>"]
        assert context(dataset).count("Name a colour.") == 1
        assert dataset.counts.remarks == {"prompt_repeated": 1}
    other = {"prompt": "Name a beast.", "chosen": talk, "rejected": talk}
    with pytest.raises(InputError, match="ends with a user's turn and the completion begins with"):
        load_dataset([other], byte_tokenizer(chat_template=CHATML))


@pytest.mark.parametrize("adds", [True, False])
def test_a_rendered_text_begins_once_and_ends_once(adds: bool) -> None:
    rest = "[INST] Say red. [/INST] red"
    for end in ("", "</s>", "</s>\n", "</s> </s>"):
        dataset = load_dataset([{"text": f"<s>{rest}{end}"}], byte_tokenizer(bos=adds))
        example = dataset[0]
        assert marked_text(example.input_ids, example.labels) == f"<s>«{rest}</s>»"
        assert example.terminators == (len(rest) + 1,)
        assert set(dataset.counts.remarks) == {"beginning_given"} | (
            {"end_given"} if end else set()
        )
    pair = {"prompt": "<s>a", "completion": "b"}
    example = load_dataset([pair], byte_tokenizer(bos=adds))[0]
    assert marked_text(example.input_ids, example.labels) == "<s>a«b</s>»"


def test_an_end_token_given_twice_stands_there_once() -> None:
    given = {"role": "assistant", "content": "yo<|im_end|>"}
    for content in ("yo<|im_end|>", "yo</s>", "yo</s>\n<|im_end|>\n"):
        messages = [USER, {**given, "content": content}, USER, {**given, "content": content}]
        dataset = read(messages, CHATML)
        assert targets(dataset) == ["yo<|im_end|>"] * 2 and len(dataset[0].terminators) == 2
        assert dataset.counts.remarks == {"end_given": 1}
    plain = load_dataset([{"question": "q", "answer": "a</s>"}], byte_tokenizer())
    assert targets(plain) == ["a</s>"]
    endless = "{% for m in messages %}{{ '|' + m.role + '|' + m.content }}{% endfor %}"
    assert targets(read([USER, given], endless)) == ["yo<|im_end|>"]


def test_the_first_end_token_decides() -> None:
    """The template ends a turn with <|im_end|></s>: generation stops at the first of them."""
    dataset = read([USER, ANSWER], CHATML.replace("'<|im_end|>'", "'<|im_end|>' + eos_token"))
    example = dataset[0]
    assert targets(dataset) == ["qanstwo<|im_end|></s>"]
    (end,) = example.terminators
    assert dataset.tokenizer.decode([example.input_ids[end]]) == "<|im_end|>"


def test_control_tokens_in_a_text_are_counted() -> None:
    inside = {"role": "user", "content": "what is </s> for?"}
    dataset = read([inside, {"role": "assistant", "content": "<|im_end|> ends"}], CHATML)
    assert dataset.counts.remarks == {"control_context": 1, "control_answer": 1}
    assert read([USER, ANSWER], CHATML).counts.remarks == {}


ARGUMENTS: list[tuple[str, Callable[[str, Any], str]]] = [
    ("JSON", lambda name, a: json.dumps({"name": name, "parameters": a}, indent=2)),
    ("sorted", lambda name, a: name + json.dumps(a, sort_keys=True, separators=(",", ":"))),
    ("JSON text", lambda name, a: json.dumps({"name": name, "arguments": json.dumps(a)})),
    ("XML", lambda name, a: f"<f={name}>" + "".join(f"<p={k}>\n{v}\n</p>" for k, v in a.items())),
    ("Python", lambda name, a: f"{name}({', '.join(f'{k}={v!r}' for k, v in a.items())})"),
]


@pytest.mark.parametrize(("syntax", "write"), ARGUMENTS, ids=[a[0] for a in ARGUMENTS])
def test_calls_are_matched_by_names_and_values(syntax: str, write: Callable[..., str]) -> None:
    """In any syntax; not where a name, a key or a value is another."""
    arguments = {"town": 'Saint "O\'Neil"\nNorth', "days": 3, "share": 0.5, "wet": True}
    messages = [USER, calling(call(arguments)), ANSWER]
    wrong = [
        ("qtool", arguments),
        ("qtoolname", {**arguments, "days": 13}),
        ("qtoolname", {**arguments, "wet": False}),
        ("qtoolname", {k: v for k, v in arguments.items() if k != "share"}),
        ("qtoolname", {**arguments, "town": "Saint"}),
    ]
    from advisor.chat.accounting import LeftOut, Rules, account
    from advisor.chat.template import Conversation, Marked

    conversation = Conversation(messages=messages)
    for name, written in [("qtoolname", arguments), *wrong]:
        said = write(name, written)
        text = f"quserone|{said}|qanstwo"
        spans = ((9, 9 + len(said)), (10 + len(said), len(text)))
        marked = Marked(text=text, spans=spans)
        if (name, written) == ("qtoolname", arguments):
            assert account(conversation, marked, Rules()) == ()
            continue
        with pytest.raises(LeftOut, match="the call of 'qtoolname'"):
            account(conversation, marked, Rules())
