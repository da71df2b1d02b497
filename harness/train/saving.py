"""What is saved beside the weights, so that the model is used as it was trained: its template and its ends.

A chat template that was trained with goes into the tokenizer. The generation config that is saved stops at
whole terminators: at a token where one ends a turn, and where several ordinary tokens do, at their text
(`stop_strings`), since any of them alone may well stand within an answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from peft import PeftModel
from transformers import PreTrainedTokenizerBase, Trainer

from advisor.chat.bounded_sandbox import bound_templates
from advisor.chat.plain import PLAIN_CHAT, PLAIN_SINGLE
from advisor.data.dataset import SFTDataset
from harness.generate.decoding import as_set
from harness.generate.turn_end import ONE_TOKEN, RENDERED, TurnEnd

if TYPE_CHECKING:
    _Mixed = Trainer
else:
    _Mixed = object

PLAIN = (
    "{% set roles = messages | map(attribute='role') | list %}"
    "{% if roles.count('assistant') > 1 or roles.count('user') > 1 or 'tool' in roles %}"
    + PLAIN_CHAT
    + "{% if add_generation_prompt %}{{ '\\nAssistant:' }}{% endif %}{% else %}"
    + PLAIN_SINGLE
    + "{% endif %}"
)
"""Both forms of the plain template in one, chosen as they are in training."""


def carry_template(tokenizer: PreTrainedTokenizerBase, dataset: SFTDataset) -> None:
    """Have a tokenizer render conversations as they were rendered for training, once it is saved, too.

    The tokenizer's own template stays. An end-of-sequence token that was given becomes the tokenizer's
    where it is a token by itself; an ordinary piece of text made special would change how texts are split.
    """
    info = dataset.info
    known = {token.content for token in tokenizer.added_tokens_decoder.values()}
    if info.eos_token in known:
        tokenizer.eos_token = info.eos_token
    text = _plain(tokenizer) if info.template == "plain" else info.template_text
    uses_other_end = "eos_token" in text and (info.eos_token or "") != (tokenizer.eos_token or "")
    if info.template not in (*RENDERED, "plain"):
        return
    if uses_other_end:
        end = json.dumps(info.eos_token or "")
        tokenizer.chat_template = (
            f"{{% set eos_token = {end} %}}\n{text}"  # the line break is trimmed
        )
    elif info.template != "tokenizer":
        tokenizer.chat_template = text


def _written(tokenizer: Any) -> str:
    """A tokenizer's chat template, and a conversation as it writes it; empty where there is no template."""
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        return ""
    talk = [{"role": "user", "content": "-"}, {"role": "assistant", "content": "-"}]
    bound_templates()
    try:
        text = str(tokenizer.apply_chat_template(talk, tokenize=False))
    except Exception:  # a template raises what it likes at roles that it does not know
        text = ""
    return f"{template}\n{text}"


def _plain(tokenizer: PreTrainedTokenizerBase) -> str:
    """The plain template, with what the tokenizer puts before a text, which it does not before a chat."""
    begins = list(tokenizer("a")["input_ids"])[:1] == [tokenizer.bos_token_id]
    return ("{{ bos_token }}" if begins else "") + PLAIN


class SavesHowItIsUsed(_Mixed):
    """Mix-in before a Hugging Face trainer: the saved generation config stops at whole terminators."""

    turn_end: TurnEnd = ONE_TOKEN

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As Trainer's; a generation config stands beside an adapter, too, which PEFT leaves out."""
        with self._whole_ends() as config:
            super().save_model(output_dir, _internal_call)
            if self.args.should_save and isinstance(self.model, PeftModel):
                config.save_pretrained(output_dir or str(self.args.output_dir))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What somebody who uses the saved model has to know, one sentence each."""
        if not self.turn_end.text:
            _, stale = self._stop_strings()
            return tuple(
                f"The saved generation config no longer stops at {text!r}: the chat template that was "
                "trained with never writes it."
                for text in stale
            )
        return (
            f"{self.turn_end.text!r}, which ends a turn, is several ordinary tokens: the saved generation "
            "config stops at it by stop_strings, for which `generate` takes tokenizer=...",
        )

    def _stop_strings(self) -> tuple[list[str], list[str]]:
        """Texts that the saved model stops at, and those of the model before that are dropped.

        An earlier training with another template left them; with the new one they end no turn.
        """
        model: Any = self.model
        given = model.generation_config.stop_strings or []
        before = [given] if isinstance(given, str) else list(given)
        if self.turn_end.text:
            return [self.turn_end.text], [text for text in before if text != self.turn_end.text]
        written = _written(self.processing_class)
        stale = [text for text in before if written and text not in written]
        return [text for text in before if text not in stale], stale

    @contextmanager
    def _whole_ends(self) -> Iterator[Any]:
        model: Any = self.model
        config = model.generation_config
        eos, strings = config.eos_token_id, config.stop_strings
        if self.turn_end.text:
            whole = sorted(as_set(eos) - self.turn_end.pieces)
            config.eos_token_id = whole if len(whole) > 1 else whole[0] if whole else None
        config.stop_strings = self._stop_strings()[0] or None
        try:
            yield config
        finally:
            config.eos_token_id, config.stop_strings = eos, strings
