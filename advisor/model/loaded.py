"""What loading a model gives, wherever it came from: `LoadedModel`."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

CONTEXT_FIELDS = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "seq_length",
    "context_length",
)


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model in evaluation mode with its tokenizer and what was decided while loading."""

    model: PreTrainedModel
    """On its device; without gradients where it was loaded here, as it was where it was given."""
    tokenizer: PreTrainedTokenizerBase
    """The model's own."""
    name: str
    """As the user gave it, path or hub id; of a model in memory, where it came from, or its class."""
    fingerprint: str
    """Local folder: 16 hexadecimal digits over weights and config; hub id: the commit; model in memory: 16
    digits over the weights as they are."""
    parameters: int
    """Tied parameters counted once."""
    dtype: str
    """Of the weights: float32, bfloat16 or float16."""
    device: str
    """Where the inputs go: cpu, cuda:0, ..."""
    kind: str
    """base, instruct or unknown; see `advisor/model/kind.py`."""
    notes: tuple[str, ...]
    """What was chosen or assumed, one sentence each."""
    tokenizer_fingerprint: str | None = None
    """Local folder: 16 hexadecimal digits over the tokenizer's files and chat templates; else None."""
    dtype_chosen: bool = False
    """Whether the dtype was chosen here (`auto`), not by whoever asked for the model."""

    @property
    def context_length(self) -> int | None:
        """Longest sequence, in tokens, that the model's config speaks of; None where it names none."""
        return context_of(self.model.config)


def context_of(config: PreTrainedConfig) -> int | None:
    """Longest sequence, in tokens, that a config speaks of; None where it names none."""
    own = config.get_text_config()
    lengths = (getattr(own, field, None) for field in CONTEXT_FIELDS)
    return next((n for n in lengths if isinstance(n, int) and n > 0), None)
