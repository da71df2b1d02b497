"""Texts to tokens and labels: a text of megabytes is cut before it is tokenised, and nothing else changes."""

import random
from typing import Any

import pytest
from transformers import ByT5Tokenizer

from advisor.data import labels
from advisor.data.dataset import SFTDataset, load_dataset
from tests.helpers.byte_tokens import byte_tokenizer

LIMIT = 64
TALK = "{% for m in messages %}<s>{{ m.content + eos_token }}{% endfor %}"


def words(number: int) -> str:
    draw = random.Random(number)
    return " ".join("".join(draw.choices("abcdefg .\n", k=9)) for _ in range(number))


ROWS = [
    {"prompt": "short", "completion": "one"},
    {"prompt": "short", "completion": words(60_000)},
    {"prompt": words(60_000), "completion": "never reached"},
    {"prompt": words(5), "completion": words(40_000)},
    {"prompt": "blank", "completion": "a" + " " * 400_000 + "b"},
]


def read(tokenizer: Any) -> tuple[SFTDataset, list[Any]]:
    dataset = load_dataset(ROWS, tokenizer, max_length=LIMIT)
    return dataset, list(dataset)


@pytest.mark.parametrize(
    "make",
    [
        byte_tokenizer,
        lambda: byte_tokenizer(bos=True),
        lambda: byte_tokenizer(chat_template=TALK),
        ByT5Tokenizer,
    ],
    ids=["bytes", "beginning", "template", "slow"],
)
def test_long_texts_give_the_tokens_of_the_whole(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, examples = read(make())
    monkeypatch.setattr(labels, "PER_TOKEN", 10**9)
    whole, expected = read(make())
    assert examples == expected
    assert (cut.counts, cut.notes) == (whole.counts, whole.notes)
    assert (
        list(cut.counts.reasons) == ["no target before the limit of 64 tokens"]
        or cut.counts.dropped == 1
    )


def test_no_more_is_tokenised_than_is_kept_and_a_margin() -> None:
    tokenizer = byte_tokenizer()
    lengths: list[int] = []
    call = type(tokenizer).__call__

    class Counting(type(tokenizer)):  # type: ignore[misc]
        def __call__(self, text: Any, *args: Any, **given: Any) -> Any:
            lengths.extend(len(t) for t in ([text] if isinstance(text, str) else text))
            return call(self, text, *args, **given)

    tokenizer.__class__ = Counting
    dataset = load_dataset(
        [{"prompt": "a", "completion": "b" * 10_000_000}], tokenizer, max_length=LIMIT
    )
    assert dataset[0].truncated and len(dataset[0].input_ids) == LIMIT
    assert max(lengths) == labels.PER_TOKEN * (LIMIT + labels.MARGIN)
