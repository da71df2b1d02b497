"""From characters to tokens: a token weighs the mean of its letters, and no stretch of white space counts."""

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from advisor.chat.template import Marked
from advisor.data.dataset import load_dataset
from advisor.data.token_weights import token_weights
from advisor.errors import InputError


def marked(text: str, *weights: tuple[int, int, float]) -> Marked:
    return Marked(text=text, spans=((0, len(text)),), weights=weights)


def test_a_token_across_the_border_weighs_the_mean_of_its_letters() -> None:
    row = marked("abcd efgh", (0, 2, 0.5), (6, 9, 3.0))
    offsets = [(0, 4), (4, 9)]
    assert token_weights(row, offsets) == [(2 * 0.5 + 2) / 4, (1 + 3 * 3.0) / 4]


@pytest.mark.parametrize("end", [3, 4])
def test_a_space_at_the_border_does_not_count(end: int) -> None:
    """A token takes the space before its word with it, on whichever side of the border that stands."""
    row = marked("so. 42", (0, end, 0.0))
    assert token_weights(row, [(0, 3), (3, 6)]) == [0.0, 1.0]
    assert token_weights(row, [(0, 2), (2, 3), (3, 4), (4, 6)]) == [0.0, 0.0, float(end == 3), 1.0]


def test_white_space_across_the_border_weighs_the_mean_of_its_characters() -> None:
    assert token_weights(marked("a\n\nb", (0, 2, 0.0)), [(0, 1), (1, 3), (3, 4)]) == [0.0, 0.5, 1.0]


def test_factors_on_the_same_characters_multiply() -> None:
    row = marked("ab", (0, 2, 2.0), (1, 2, 0.25), (0, 2, 3.0))
    assert token_weights(row, [(0, 1), (1, 2), (2, 2)]) == [6.0, 1.5, 1.5]


def test_any_tokens_of_any_text_against_the_definition() -> None:
    draw = random.Random(0)
    for _ in range(200):
        text = "".join(draw.choices("ab \n", k=draw.randint(1, 30)))
        cuts = sorted({0, len(text), *(draw.randint(0, len(text)) for _ in range(6))})
        offsets = list(pairwise(cuts))
        stretches = []
        for _ in range(draw.randint(0, 4)):
            start = draw.randrange(len(text))
            stretches.append(
                (start, draw.randint(start + 1, len(text)), draw.choice([0.0, 0.5, 3.0]))
            )
        characters = [1.0] * len(text)
        for start, stop, factor in stretches:
            characters[start:stop] = [weight * factor for weight in characters[start:stop]]
        expected = []
        for start, stop in offsets:
            seen = [i for i in range(start, stop) if text[i].strip()] or list(range(start, stop))
            expected.append(sum(characters[i] for i in seen) / len(seen))
        assert np.allclose(token_weights(marked(text, *stretches), offsets), expected, rtol=1e-15)


def word_tokenizer() -> Any:
    """Words with the space before them, as byte-level BPE has them; letters elsewhere."""
    pieces = ["<unk>", "</s>", *"qabcdefgĠ", "Ġb", "ab", "Ġcd", "cd", "ef"]
    merges = [("Ġ", "b"), ("a", "b"), ("c", "d"), ("Ġ", "cd"), ("e", "f")]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")


def test_targets_of_words_that_straddle_a_border() -> None:
    row = {"prompt": "q", "completion": "ab cd ef", "spans": [
        {"start": 0, "end": 3, "weight": 0}, {"start": 4, "end": 5, "weight": 5},
    ]}  # fmt: skip
    dataset = load_dataset([row], word_tokenizer())
    [example] = dataset
    words = [dataset.tokenizer.decode([i]) for i in example.input_ids]
    assert words == ["q", "ab", " cd", " ", "ef", "</s>"]
    assert example.labels[1] == -100 and dataset.counts.weightless == 1
    assert example.weights is not None and list(example.weights[2:]) == [3.0, 1.0, 1.0, 1.0]


def test_a_slow_tokenizer_takes_weights_of_rows_alone() -> None:
    row = {"prompt": "q", "completion": "abc"}
    [example] = load_dataset([{**row, "weight": 2}], ByT5Tokenizer())
    assert example.weights is not None and set(example.weights[-4:]) == {2.0}
    spans = [{"start": 0, "end": 1, "weight": 2}]
    with pytest.raises(InputError, match=r"row 0 .*slow tokenizer"):
        load_dataset([{**row, "spans": spans}], ByT5Tokenizer())[0]
