"""Rows of plain text to marked text: begun once, ended once, whatever the text itself holds."""

from transformers import PreTrainedTokenizerBase

from advisor.chat import remarks
from advisor.chat.template import Marked, Passage


def mark_passage(
    passage: Passage, tokenizer: PreTrainedTokenizerBase, eos_token: str | None
) -> Marked:
    """A prompt and its completion, which is the target, with one end token.

    A text that was rendered before may begin with the beginning of sequence, which is no target, and
    end with the end token, which is not added again.
    """
    if not passage.completion.strip():
        return Marked(text=passage.prompt + passage.completion, spans=())
    completion, found = _ended(passage.completion, eos_token)
    start = len(passage.prompt)
    bos = str(tokenizer.bos_token or "")
    text = passage.prompt + completion
    if bos and text.startswith(bos):
        found.append(remarks.BEGINNING_GIVEN)
        start = max(start, len(bos))
    first = len(passage.prompt)
    return Marked(
        text=text,
        spans=((start, len(text)),),
        remarks=tuple(found),
        weights=tuple((first + s.start, first + s.end, s.weight) for s in passage.spans),
    )


def _ended(completion: str, eos_token: str | None) -> tuple[str, list[str]]:
    """A completion with one end token, and what is to be remarked."""
    if not eos_token:
        return completion, []
    text = completion.rstrip()
    if not text.endswith(eos_token):
        return completion + eos_token, []
    while (shorter := text.removesuffix(eos_token).rstrip()).endswith(eos_token):
        text = shorter
    return text, [remarks.END_GIVEN]
