"""The ladder's tokenizer: one token per character, built here rather than learned."""

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from harness.ladder.known import DIGITS, LETTERS

TERMINATOR = "$"
ALPHABET = DIGITS + LETTERS + "|#+-*/%=,:?@<>. "
VOCABULARY = ("<pad>", "<bos>", "<unk>", TERMINATOR, *ALPHABET)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Makes the tokenizer; `$` is its EOS token, `<bos>` is known but not added to a text."""
    ids = {token: index for index, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        unk_token="<unk>",
        eos_token=TERMINATOR,
        clean_up_tokenization_spaces=False,
        model_max_length=128,
    )
