"""Where a stretch of a turn stands once a template has rendered it: to the character, or refused."""

from typing import Any

import pytest

from advisor.data.dataset import load_dataset
from advisor.data.describe import describe_example
from advisor.errors import InputError
from tests.helpers.byte_tokens import byte_tokenizer

HEAD = "{% for m in messages %}{{ m.role[0] + ':' }}"
TAIL = "{{ eos_token }}{% endfor %}"
TEMPLATES = {
    "as it is": HEAD + "{{ m.content }}" + TAIL,
    "trimmed": HEAD + "{{ m.content | trim }}" + TAIL,
    "thought apart": HEAD + "{% set c = m.content %}{% if '</think>' in c %}"
    "<think>\n{{ c.split('</think>')[0].split('<think>')[-1].strip() }}\n</think>\n\n"
    "{{ c.split('</think>')[-1].lstrip() }}{% else %}{{ c }}{% endif %}" + TAIL,
    "thought in other marks": HEAD + "{% set c = m.content %}{% if '</think>' in c %}"
    "[[{{ c.split('</think>')[0].split('<think>')[-1].strip() }}]]"
    "{{ c.split('</think>')[-1].lstrip() }}{% else %}{{ c }}{% endif %}" + TAIL,
}
CONTENT = "<think>\nab ab\n</think>\n\nab cd "
THOUGHT = (0, CONTENT.index("\n\nab"))
ANSWER = (CONTENT.index("ab cd"), CONTENT.index("ab cd") + 5)


def weighed(
    template: str, *spans: tuple[int, int, float], content: str = CONTENT, **more: Any
) -> str:
    """The targets of a row's last turn, each piece with its weight before it; `_` for a line break."""
    spans_ = [{"start": a, "end": b, "weight": w} for a, b, w in spans]
    turns = [
        {"role": "user", "content": "ab"},
        {"role": "assistant", "content": content, "spans": spans_, **more},
    ]
    dataset = load_dataset([{"messages": turns}], byte_tokenizer(), chat_template=template)
    found = describe_example(dataset, 0)
    return "".join(f"{w:g}({text})" for text, w in found if w).replace("\n", "_")


@pytest.mark.parametrize(
    ("name", "thought", "answer"),
    [
        ("as it is", "0.5(<think>_ab ab_</think>)1(__ab cd </s>)",
         "1(<think>_ab ab_</think>__)2(ab cd)1( </s>)"),
        ("trimmed", "0.5(<think>_ab ab_</think>)1(__ab cd</s>)",
         "1(<think>_ab ab_</think>__)2(ab cd)1(</s>)"),
        ("thought apart", "0.5(<think>_ab ab_</think>)1(__ab cd </s>)",
         "1(<think>_ab ab_</think>__)2(ab cd)1( </s>)"),
        ("thought in other marks", "0.5([[ab ab]])1(ab cd </s>)", "1([[ab ab]])2(ab cd)1( </s>)"),
    ],
)  # fmt: skip
def test_a_thought_and_an_answer_are_found(name: str, thought: str, answer: str) -> None:
    """The words of the thought are those of the answer and of the question: a search would mistake them."""
    assert weighed(TEMPLATES[name], (*THOUGHT, 0.5)) == thought
    assert weighed(TEMPLATES[name], (*ANSWER, 2)) == answer


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_word_within_a_thought_is_found_to_the_character(name: str) -> None:
    start = CONTENT.index("ab ab") + 4  # the last letter of the thought
    expected = weighed(TEMPLATES[name], (start, start + 1, 3))
    assert "ab a)3(b)1(" in expected and expected.count("3(") == 1


@pytest.mark.parametrize("name", ["as it is", "trimmed"])
@pytest.mark.parametrize("content", ["  ab", "ab", "a</think>b", "a <think> b"])
def test_every_character_of_any_content(name: str, content: str) -> None:
    for at, letter in enumerate(content):
        if letter.strip():
            found = weighed(TEMPLATES[name], (at, at + 1, 3), content=content)
            assert f"3({letter})" in found
            bare = found.replace("3(", "").replace("1(", "").replace(")", "")
            assert bare.strip() == f"{content.strip()}</s>"


def test_an_end_token_that_the_text_has_itself_is_not_weighed_twice() -> None:
    template = TEMPLATES["as it is"]
    assert weighed(template, (0, 2, 3), content="ab</s>") == "3(ab)1(</s>)"
    with pytest.raises(InputError, match="turn 1 weighs its characters 2 to 6"):
        weighed(template, (2, 6, 3), content="ab</s>")


def test_a_template_that_changes_the_words_is_refused() -> None:
    upper = (
        HEAD
        + "{% if m.role == 'user' %}{{ m.content }}{% else %}{{ m.content | replace('b', 'B') }}{% endif %}"
    )
    with pytest.raises(InputError, match=r"row 0 \(counted from 0\): the chat template"):
        weighed(upper + TAIL, (0, 1, 3), content="ab")


def test_a_thought_in_two_places_is_refused() -> None:
    both = (
        HEAD
        + "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}"
    )
    with pytest.raises(InputError, match="keep a thought in one place"):
        weighed(both + TAIL, (*ANSWER, 2), reasoning_content="ab ab")


def test_turns_whose_stretches_cannot_be_told_apart_are_refused() -> None:
    blocks = (
        "{% for m in messages %}{{ m.role[0] }}:{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
        "{% endgeneration %}{% generation %}{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}"
        "{% endif %}{% endfor %}"
    )
    with pytest.raises(InputError, match="weights of turns cannot be placed"):
        weighed(blocks, content="ab", weight=3)
    assert weighed(blocks, (0, 1, 3), content="ab") == "3(a)1(b</s>)"
