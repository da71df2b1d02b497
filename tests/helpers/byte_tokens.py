"""A tokenizer whose ids are ASCII codes, so that expected ids can be written as marked text."""

import re
from typing import Any

SPECIAL = (
    "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>",
    "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<|user|>", "<|assistant|>", "<|end|>", "<|start|>", "<|message|>", "<|channel|>", "<|return|>",
)  # fmt: skip
BASE = 128


def byte_tokenizer(
    *, bos: bool = False, eos: str | None = "</s>", chat_template: str | None = None
) -> Any:
    """Ids 0 to 127 are ASCII codes, then SPECIAL in order; `bos` puts <s> before every text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = {32: "Ġ", 10: "Ċ", **{code: chr(code) for code in range(33, 127)}}
    vocabulary = {names.get(code, f"<{code}>"): code for code in range(BASE)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", BASE)]
        )
    special = {"bos_token": "<s>"} | ({"eos_token": eos} if eos else {})
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=512, **special)
    tokenizer.chat_template = chat_template
    return tokenizer


def expected(marked: str) -> tuple[list[int], list[int]]:
    """Ids and labels of a text in which « and » stand around the targets."""
    ids: list[int] = []
    labels: list[int] = []
    target = False
    for piece in re.findall("|".join(map(re.escape, SPECIAL)) + "|.", marked, flags=re.DOTALL):
        if piece in "«»":
            target = piece == "«"
            continue
        token = BASE + SPECIAL.index(piece) if piece in SPECIAL else ord(piece)
        ids.append(token)
        labels.append(token if target else -100)
    return ids, labels


def marked_text(ids: list[int], labels: list[int]) -> str:
    """The inverse of `expected`: readable when a test fails."""
    text = ""
    target = False
    for token, label in zip(ids, labels, strict=True):
        if (label != -100) != target:
            text += "»" if target else "«"
            target = not target
        text += SPECIAL[token - BASE] if token >= BASE else chr(token)
    return text + "»" * target
