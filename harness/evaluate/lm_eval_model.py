"""A model in memory as lm-eval calls it; the prompts of rows are read in the tokens that were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lm_eval.models.huggingface import HFLM

from harness.evaluate.trained_tokens import TrainedTokens


class TrainedPrompts(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """lm-eval's model; it makes tokens of a text itself where those that were trained on are not known."""

    tokens = TrainedTokens()
    """Of the task that is scored."""
    ends: Sequence[str] = ()
    """Texts at which the model's generation config stops, for whatever task generates."""

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers to prompts, none so long that its prompt would be cut."""
        roomy = list(map(self._with_room, requests))
        answers: list[str] = super().generate_until(roomy, disable_tqdm=disable_tqdm)
        return answers

    def _with_room(self, request: Any) -> Any:
        prompt, settings = request.args
        if (room := self.tokens.rooms.get(prompt)) is None:
            return request
        return replace(request, arguments=(prompt, {**settings, "max_gen_toks": room}))

    def tok_batch_encode(
        self,
        strings: Sequence[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[Any, Any]:
        """[prompts, tokens] ids and attention mask; prompts that are too long lose their beginning."""
        known = [self.tokens.prompts.get(text) for text in strings]
        if None in known:
            texts: tuple[Any, Any] = super().tok_batch_encode(
                strings, padding_side, left_truncate_len, truncation
            )
            return texts
        whole = {"input_ids": [list(ids) for ids in known if ids is not None]}
        batch = self.tokenizer.pad(whole, padding_side=padding_side, return_tensors="pt")
        start = -left_truncate_len if left_truncate_len else None
        return batch["input_ids"][:, start:], batch["attention_mask"][:, start:]

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        known = self.tokens.pair(context, continuation)
        return known or super()._encode_pair(context, continuation)
