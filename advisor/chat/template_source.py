"""Where a chat template comes from: `--chat_template`, the tokenizer, or TRL's training versions."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.chat.bounded_sandbox import bound_templates
from advisor.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def training_version(tokenizer: PreTrainedTokenizerBase, text: str) -> str | None:
    """TRL's version of a template for training, None where it has none."""
    from trl.chat_template_utils import get_training_chat_template

    bound_templates()
    own = copy.copy(tokenizer)
    own.chat_template = text
    try:
        return get_training_chat_template(own)
    except Exception:  # it renders the template
        return None


def own_source(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str | None]:
    """The tokenizer's template and, where it has another for rows with tools, that one."""
    named: Any = tokenizer.chat_template
    if not isinstance(named, dict):
        return str(named), None
    if "default" not in named:
        raise InputError(
            f"the tokenizer's chat templates are {', '.join(named)}, none of them the default; give "
            "one with --chat_template FILE, or use --chat_template none"
        )
    return str(tokenizer.get_chat_template()), named.get("tool_use")


def template_hash(text: str) -> str:
    """First 12 hex digits of the sha256 of a template."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def given_source(source: str) -> tuple[str, str]:
    """Kind and text of the template that `--chat_template` gives."""
    if "{" in source:
        return "string", source
    try:
        return "file", Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(
            f"cannot read the chat template file {source} ({reason}); --chat_template takes a jinja "
            "file, a jinja text, or none"
        ) from error
