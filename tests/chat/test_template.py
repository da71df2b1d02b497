"""Chat templates: every assistant turn is a target, with the token that ends it and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import trl
from tokenizers import AddedToken
from transformers import AutoTokenizer, ByT5Tokenizer

from advisor.data.dataset import load_dataset
from advisor.errors import InputError
from tests.helpers.byte_tokens import byte_tokenizer, expected, marked_text

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != "
    "(loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate "
    "user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}"
    "{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)
VICUNA = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = 'A chat.' %}{% endif %}{{ bos_token + system_message }}"
    "{% for message in loop_messages %}{% if message['role'] == 'user' %}"
    "{{ ' USER: ' + message['content'] }}{% else %}"
    "{{ ' ASSISTANT: ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)
# The system text goes into the last user's turn, as in Mistral's later templates.
SYSTEM_LAST = (
    "{% set ns = namespace(text='', last=-1) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.last = loop.index0 %}{% elif m.role == 'system' %}{% set ns.text = m.content %}"
    "{% endif %}{% endfor %}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '[' + (ns.text + '|' if loop.index0 == ns.last else '') + m.content + ']' }}"
    "{% elif m.role == 'assistant' %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "S"}
SINGLE = [user("hi"), assistant("yo")]
MULTI = [*SINGLE, user("ok"), assistant("bye")]
THOUGHT = [user("hi"), assistant("<think>\na\n</think>\n\nyo"), user("ok"), assistant("bye")]


def shown(messages: list[dict[str, Any]], template: str, **columns: Any) -> tuple[str, list[str]]:
    """The example as marked text and the texts of its terminators."""
    tokenizer = byte_tokenizer(chat_template=template)
    dataset = load_dataset([{"messages": messages, **columns}], tokenizer)
    example = dataset[0]
    ends = [tokenizer.decode([example.input_ids[t]]) for t in example.terminators]
    assert example.target_tokens == sum(label != -100 for label in example.labels)
    return marked_text(example.input_ids, example.labels), ends


def packaged(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


GOLDEN = [
    (
        "chatml",
        CHATML,
        [SYSTEM, *MULTI],
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        "«yo<|im_end|>»\n<|im_start|>user\nok<|im_end|>\n<|im_start|>assistant\n«bye<|im_end|>»\n",
    ),
    (
        "llama3",
        packaged("llama3"),
        MULTI,
        "<s><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n«yo<|eot_id|>»"
        "<|start_header_id|>user<|end_header_id|>\n\nok<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n«bye<|eot_id|>»",
    ),
    (
        "gemma",
        packaged("gemma"),
        MULTI,
        "<s><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n«yo<end_of_turn>»\n"
        "<start_of_turn>user\nok<end_of_turn>\n<start_of_turn>model\n«bye<end_of_turn>»\n",
    ),
    ("mistral", MISTRAL, MULTI, "<s>[INST] hi [/INST]«yo</s>»[INST] ok [/INST]«bye</s>»"),
    (
        "vicuna",
        VICUNA,
        MULTI,
        "<s>A chat. USER: hi ASSISTANT:« yo</s>» USER: ok ASSISTANT:« bye</s>»",
    ),
    (
        "qwen3",
        packaged("qwen3"),
        MULTI,
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n«yo<|im_end|>»\n"
        "<|im_start|>user\nok<|im_end|>\n"
        "<|im_start|>assistant\n«<think>\n\n</think>\n\nbye<|im_end|>»\n",
    ),
    (
        "qwen3 strips the first thought",
        packaged("qwen3"),
        THOUGHT,
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n«yo<|im_end|>»\n"
        "<|im_start|>user\nok<|im_end|>\n"
        "<|im_start|>assistant\n«<think>\n\n</think>\n\nbye<|im_end|>»\n",
    ),
    (
        "qwen3, assistant speaks first",
        packaged("qwen3"),
        [assistant("yo"), user("ok"), assistant("bye")],
        "<|im_start|>assistant\n«yo<|im_end|>»\n<|im_start|>user\nok<|im_end|>\n"
        "<|im_start|>assistant\n«<think>\n\n</think>\n\nbye<|im_end|>»\n",
    ),
    (
        "phi3 ends the text once more",
        packaged("phi3"),
        SINGLE,
        "<|user|>\nhi<|end|>\n<|assistant|>\n«yo<|end|>»\n</s>",
    ),
    (
        "a space before the end",
        SYSTEM_LAST.replace("eos_token", "' ' + eos_token"),
        [SYSTEM, *MULTI],
        "[hi]«yo </s>»[S|ok]«bye </s>»",
    ),
    (
        "a thought put before each answer",
        SYSTEM_LAST.replace("{{ m.content + eos", "{{ 'A:(t)' + m.content + eos")
        + "{% if add_generation_prompt %}{{ 'A:' }}{% endif %}",
        [SYSTEM, *MULTI],
        "[hi]A:«(t)yo</s>»[S|ok]A:«(t)bye</s>»",
    ),
    (
        "turns that only open",
        "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
        MULTI,
        "<s><|user|>hi<|assistant|>«yo»<|user|>ok<|assistant|>«bye»",
    ),
    (
        "turns that open with the beginning of sequence",
        "{% for m in messages %}{{ bos_token + m.role + ' ' + m.content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ bos_token + 'assistant ' }}{% endif %}",
        MULTI,
        "<s>user hi<s>assistant «yo»<s>user ok<s>assistant «bye»",
    ),
    ("system in the last turn", SYSTEM_LAST, [SYSTEM, *MULTI], "[hi]«yo</s>»[S|ok]«bye</s>»"),
    ("an empty turn is no target", CHATML.replace("<|im_start|>", ""), [*SINGLE, user("ok"),
     assistant(" ")], "user\nhi<|im_end|>\nassistant\n«yo<|im_end|>»\nuser\nok<|im_end|>\n"
     "assistant\n <|im_end|>\n"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "messages", "text"), [g[1:] for g in GOLDEN],
                         ids=[g[0] for g in GOLDEN])  # fmt: skip
def test_golden_tokens(template: str, messages: list[dict[str, Any]], text: str) -> None:
    found, _ = shown(messages, template)
    assert found == text
    assert marked_text(*expected(text)) == text


def test_naive_prefixes_fail_where_the_golden_table_holds() -> None:
    tokenizer = byte_tokenizer(chat_template=packaged("qwen3"))
    whole = tokenizer.apply_chat_template(THOUGHT, tokenize=False)
    assert not whole.startswith(tokenizer.apply_chat_template(THOUGHT[:2], tokenize=False))


def test_terminators_are_what_the_template_emits() -> None:
    assert shown(MULTI, CHATML)[1] == ["<|im_end|>"] * 2
    assert shown(MULTI, packaged("llama3"))[1] == ["<|eot_id|>"] * 2
    assert shown(SINGLE, packaged("phi3"))[1] == ["<|end|>"]
    assert shown(MULTI, packaged("gptoss"))[1] == ["<|end|>", "<|return|>"]


# The other training versions expect lists of parts (VLMs), end no turn, count the role header or
# the thought that the generation prompt opens as written by the model, or write other thoughts.
AGREEING = (
    "cohere", "cohere2", "diffusion_gemma", "gemma", "gemma3", "lfm2", "lfm2_v2", "llama3", "phi3",
    "phi3_5", "qwen2_5", "qwen2_5_vl", "qwen3_instruct_2507", "qwen3_vl",
)  # fmt: skip


@pytest.mark.parametrize("name", AGREEING)
@pytest.mark.parametrize("messages", [SINGLE, MULTI], ids=["single", "multi"])
def test_located_turns_agree_with_generation_marks(name: str, messages: list[Any]) -> None:
    """TRL's training version of a template marks what we locate in the original."""
    tokenizer = byte_tokenizer(chat_template=packaged(name))
    extra = ["<turn|>", "<|END_OF_TURN_TOKEN|>", "<|END_RESPONSE|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": extra})
    reference = tokenizer.apply_chat_template(
        messages,
        chat_template=packaged(f"{name}_training"),
        return_dict=True,
        return_assistant_tokens_mask=True,
        tokenizer_kwargs={"verbose": False},
    )
    example = load_dataset([{"messages": messages}], tokenizer, max_length=8192)[0]
    assert example.input_ids == reference["input_ids"]
    ours = {t for t, label in enumerate(example.labels) if label != -100}
    theirs = {t for t, bit in enumerate(reference["assistant_masks"]) if bit}
    # What only they count stands after the end of a turn; phi3 ends the whole text once more.
    rest = tokenizer.decode([example.input_ids[t] for t in sorted(theirs - ours)])
    assert ours <= theirs and rest.strip() in ("", "</s>")
    assert len(example.terminators) == len(messages) // 2


def test_a_template_without_an_end_takes_trls_version() -> None:
    tokenizer = byte_tokenizer(chat_template=packaged("glm4moe"))
    dataset = load_dataset([{"messages": MULTI}], tokenizer)
    assert any("TRL's training" in note for note in dataset.info.notes)
    assert [dataset[0].input_ids[t] for t in dataset[0].terminators] == expected("<|user|>")[0] * 2


HASHES = "{% for m in messages %}{{ '### ' + m.role + ': ' + m.content + '\n' }}{% endfor %}"


def test_no_terminator_and_no_generation_prompt_are_said() -> None:
    dataset = load_dataset([{"messages": SINGLE}], byte_tokenizer(chat_template=HASHES))
    assert dataset[0].terminators == ()
    assert any("end of a turn is not scored" in note for note in dataset.info.notes)
    assert any("ignores add_generation_prompt" in note for note in dataset.info.notes)
    text = "### user: hi\n### assistant: «yo\n»"
    assert marked_text(dataset[0].input_ids, dataset[0].labels) == text


ORDINARY = [
    CHATML.replace("<|im_end|>", "|END|"),
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ '\n' }}{% generation %}{{ m.content }}"
    "{% endgeneration %}{{ '|END|\n' }}{% else %}{{ m.content }}{% endif %}{% endfor %}",
]


@pytest.mark.parametrize("template", ORDINARY, ids=["located", "marked"])
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "slow"])
def test_ordinary_text_may_end_a_turn(template: str, fast: bool) -> None:
    tokenizer = byte_tokenizer() if fast else ByT5Tokenizer()
    dataset = load_dataset([{"messages": MULTI}], tokenizer, chat_template=template)
    example = dataset[0]
    targets = [label for label in example.labels if label != -100]
    assert tokenizer.decode(targets) == "yo|END|bye|END|"
    assert tokenizer.decode([example.input_ids[t] for t in example.terminators]) == "|END|" * 2
    assert any("'|END|', which ends a turn, is no special" in note for note in dataset.info.notes)
    assert any("5 ordinary ones" in note for note in dataset.info.notes)


def test_a_run_of_space_that_is_a_token_ends_no_turn() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([AddedToken("  ", special=False)])
    for end in ("|END|", "<|im_end|>"):
        template = CHATML.replace("<|im_end|>", "  " + end)
        example = load_dataset([{"messages": MULTI}], tokenizer, chat_template=template)[0]
        ends = tokenizer.decode([example.input_ids[t] for t in example.terminators])
        assert ends.replace(" ", "") == end * 2


def test_a_token_that_the_answer_shares_ends_no_turn(shared: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared / "tokenizers" / "gpt2")
    messages = [user("hi"), assistant("yo.")]
    example = load_dataset([{"messages": messages}], tokenizer, chat_template=CHATML)[0]
    ends = [tokenizer.decode([example.input_ids[t]]) for t in example.terminators]
    assert tokenizer.tokenize("yo.<|im_end|>")[1] == ".<"
    assert ends == ["|", "im", "_", "end", "|", ">"]


def test_empty_turns_within_marks_are_no_targets() -> None:
    silent = [user("a"), assistant(""), *SINGLE]
    text, ends = shown(silent, packaged("qwen2_5_training"))
    assert text.count("«") == 1 and text.endswith("yo<|im_end|>»\n") and len(ends) == 1


def test_named_templates_without_a_default() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = {"rag": CHATML, "tools": CHATML}
    with pytest.raises(InputError, match="rag, tools, none of them the default"):
        load_dataset([{"messages": SINGLE}], tokenizer)


def test_template_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "l.jinja").write_bytes(b"caf\xe9")
    names = {
        str(tmp_path / "l.jinja"): "not UTF-8",
        "x" * 300: "too long",
        str(tmp_path): "directory",
    }
    for name, reason in names.items():
        with pytest.raises(InputError, match=f"cannot read the chat template file .*{reason}"):
            load_dataset([{"messages": SINGLE}], byte_tokenizer(), chat_template=name)


def test_generation_marks_are_extended_by_the_terminator() -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
        "{% endgeneration %}{{ '<|im_end|>\n' }}{% else %}{{ m.content + '<|im_end|>' }}"
        "{% endif %}{% endfor %}"
    )
    assert shown(MULTI, template)[0] == "hi<|im_end|>«yo<|im_end|>»\nok<|im_end|>«bye<|im_end|>»\n"


def test_only_the_completion_is_a_target() -> None:
    row = {"prompt": [*SINGLE, user("ok")], "completion": [assistant("bye")]}
    tail = "<|im_start|>user\nok<|im_end|>\n<|im_start|>assistant\n«bye<|im_end|>»\n"
    head = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>\n"
    for template in (CHATML, packaged("qwen2_5_training")):
        example = load_dataset([row], byte_tokenizer(chat_template=template))[0]
        assert marked_text(example.input_ids, example.labels).endswith(head + tail)


def test_tools_reach_the_template() -> None:
    template = "{{ (tools or []) | length }}" + CHATML
    text, _ = shown(SINGLE, template, tools='[{"name": "f"}, {"name": "g"}]')
    assert text.startswith("2<|im_start|>")


def test_template_from_file_and_text(tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text(CHATML)
    tokenizer = byte_tokenizer()
    by_file = load_dataset([{"messages": MULTI}], tokenizer, chat_template=str(file))
    by_text = load_dataset([{"messages": MULTI}], tokenizer, chat_template=CHATML)
    assert by_file[0] == by_text[0]
    assert (by_file.info.template, by_text.info.template) == ("file", "string")
    assert by_file.info.template_hash == by_text.info.template_hash


REFUSED = [
    (packaged("gemma"), [SYSTEM, *SINGLE], r"row 1 .*System role not supported"),
    (packaged("gemma"), [user("a"), user("b"), assistant("c")], "row 1 .*must alternate"),
    ("{{ messages[0].content }}", SINGLE, r"leaves out what the assistant says in turn 1 \('yo'\)"),
    ("{{ messages[1].content }}", SINGLE, r"leaves out what the user says in turn 0 \('hi'\)"),
    (
        "{% for m in messages %}{% generation %}{% endgeneration %}{{ m.content }}{% endfor %}",
        SINGLE,
        "marks no token",
    ),
    ("{{ messages | length }}{% for m in messages | reverse %}{{ m.content }}{% endfor %}", MULTI,
     "rewrites earlier turns"),
    ("{% for m in %}", SINGLE, "refuses the conversation"),
    ("{{ 'constant' }}", MULTI, "leaves out what the user says in turn 0"),
    ("{{ 1 / 0 }}", SINGLE, "division by zero"),
    ("{{ range(10 ** 9) | list }}", SINGLE, "Range too big"),
    ("{{ 'a' * 10 ** 15 }}", SINGLE, "does too much work"),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", SINGLE, "recursion"),
    ("no-such-file.jinja", SINGLE, "cannot read the chat template file"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "messages", "reason"), REFUSED)
def test_refusals_are_one_line(template: str, messages: list[Any], reason: str) -> None:
    rows = [{"messages": SINGLE}, {"messages": messages}]
    with pytest.raises(InputError, match=reason) as caught:
        dataset = load_dataset(rows, byte_tokenizer(), chat_template=template)
        dataset.tokenize([1])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gpt2", "gpt-neox-20b"])
@pytest.mark.parametrize(
    ("template", "end"),
    [(CHATML, "<|im_end|>"), (packaged("qwen3"), "<|im_end|>"), (packaged("llama3"), "<|eot_id|>")],
    ids=["chatml", "qwen3", "llama3"],
)
def test_real_tokenizers_and_conversations(
    shared: Path, name: str, template: str, end: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared / "tokenizers" / name)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", end]})
    tokenizer.chat_template = template
    source = shared / "data" / "sharegpt" / "fastchat_dummy_conversation.json"
    dataset = load_dataset(str(source), tokenizer)
    for i in range(0, 500, 25):
        example = dataset[i]
        answers = [m["value"] for m in dataset.raw(i)["conversations"] if m["from"] == "gpt"]
        targets = tokenizer.decode([label for label in example.labels if label != -100])
        pieces = [p.split("</think>")[-1].strip() for p in targets.split(end)[:-1]]
        assert pieces == [a.strip() for a in answers]
        assert len(example.terminators) == len(answers)
