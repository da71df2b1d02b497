"""A watched text is found when it is whole, whatever tokens it is made of."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from harness.generate.hinted import Watch
from tests.helpers.tiny import tiny_tokenizer


def test_text_is_found_across_tokens_and_not_in_the_prompt() -> None:
    tokenizer = tiny_tokenizer()
    ids = [tokenizer.convert_tokens_to_ids(list(row)) for row in ("cdabeab", "abcdefg", "ggggacd")]
    watch = Watch(tokenizer, "c d", rows=3, start=2)
    for length in range(2, 8):
        watch.look(torch.tensor(ids)[:, :length])
    assert watch.at == {1: 2, 2: 5}


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        ("answer is ", "▁the ▁answer ▁is ▁42", 4),
        (" ####", "▁a ▁#### ▁42", 2),
        (" #", "▁a ▁ #", 3),
        ("is 4", "▁a ▁is ▁42", 3),
    ],
)
def test_text_with_space_at_its_ends_is_found_where_decoding_drops_it(
    text: str, words: str, found: int
) -> None:
    vocabulary = {word: number for number, word in enumerate(words.split())}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="▁a"))
    backend.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert tokenizer.decode([1]) == words.split()[1][1:]  # without the space that ▁ stands for
    watch = Watch(tokenizer, text, rows=1, start=2)
    for length in range(2, 3 + len(vocabulary)):
        watch.look(torch.tensor([[0, 0, *range(len(vocabulary))]])[:, :length])
    assert watch.at == {0: found}
