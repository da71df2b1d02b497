"""Refusals of a command before torch, transformers, datasets and TRL are imported: half a second, not ten.

Each is the function that the command calls later too. What cannot be seen so early is let pass.
"""

from __future__ import annotations

from advisor.data.first_look import look
from advisor.model import checkpoint
from advisor.options import DataOptions
from harness.ladder.named_pair import Pair


def check_pair(pair: Pair, data: DataOptions) -> None:
    """Refuse a MODEL that is none, and a DATASET that leads nowhere or whose columns are of no known format.

    Raises:
        InputError: as of `load_model` and `load_dataset`.
    """
    name, folder = checkpoint.locate(pair.model)
    if folder and not any(folder.glob("*.gguf")):
        checkpoint.check_config(name, folder)
    look(pair.dataset, data)
