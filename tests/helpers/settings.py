"""Settings of TRL's from words, as the commands read them."""

from collections.abc import Mapping, Sequence
from typing import Any

from trl.trainer.sft_config import SFTConfig

from harness.train.trl_settings import configured, read_words


def read_settings(
    words: Sequence[str], fixed: Mapping[str, Any], config_type: Any = SFTConfig
) -> tuple[Any, Any]:
    """Words of a command line to (configuration, PEFT configuration or None); `fixed` goes before them."""
    return configured({**read_words(words, config_type), **fixed}, config_type)
