"""Base or instruct: words of the name, a short table of families, the model card, where the model stops.

Asked in this order, the name that the config records last, since a base model may carry a chat template too
(Qwen2.5) and an old instruct model none. Where nothing tells, the answer is "unknown". Needs no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import huggingface_hub
import yaml

from advisor.files import read_json

Kind = Literal["base", "instruct", "unknown"]

WORDS: dict[Kind, str] = {
    "instruct": "instruct|instruction|it|chat|thinking|think|reasoning|reasoner|r1|rlhf|rlvr|dpo|orpo|grpo"
    "|ppo|sft|distill|distilled|assistant|aligned|tulu|vicuna|zephyr",
    "base": "base|pt|pretrain|pretrained",
}
"""Words of a name that say what the model is."""
_SIZE = r"\d+(\.\d+)?[bm]"
FAMILIES: dict[Kind, tuple[str, ...]] = {
    "base": (
        rf"(meta-)?llama-?[23](\.\d)?-{_SIZE}(-hf)?", rf"llama-{_SIZE}(-hf)?", rf"codellama-{_SIZE}(-hf)?",
        rf"qwen(1\.5|2|2\.5)-((math|coder)-)?{_SIZE}(-a{_SIZE})?", r"mistral-7b(-v0\.\d)?",
        r"mixtral-8x\d+b(-v0\.\d)?", rf"olmo-2-\d{{4}}-{_SIZE}", rf"olmo-2-{_SIZE}",
        rf"olmo-{_SIZE}(-\d{{4}})?(-hf)?",
        rf"gemma-(2-)?{_SIZE}", rf"pythia-{_SIZE}(-deduped)?", r"(distil)?gpt2(-(medium|large|xl))?",
        rf"gpt-(neo|j|neox)-{_SIZE}", rf"opt-{_SIZE}", rf"bloom(-\d+b\d|-{_SIZE})?", rf"falcon-(rw-)?{_SIZE}",
        r"phi-(1|1_5|2)", rf"smollm2?-{_SIZE}", rf"yi-(1\.5-)?{_SIZE}", rf"starcoder2?(-{_SIZE})?",
        r"starcoderbase.*", rf"internlm2(_5)?-{_SIZE}", r"stablelm-(2-)?\d+(_\d)?b(-4e1t)?",
        rf"deepseekmath-{_SIZE}", r"tinyllama_v1\.1", rf"mamba2?-{_SIZE}(-hf)?", rf"cerebras-gpt-{_SIZE}",
    ),
    "instruct": (
        rf"qwen3-{_SIZE}(-a{_SIZE})?(-2507)?", rf"smollm3-{_SIZE}", r"phi-4(-mini)?", r"gpt-oss-\d+b",
        rf"qwq-{_SIZE}(-preview)?",
        rf"glm-?4-{_SIZE}-0414", r"deepseek-v3(\..*)?", r"(c4ai-)?command-.*",
    ),
}  # fmt: skip
"""Names that say nothing by themselves, whole, in small letters."""
TAGS = {
    "chat",
    "conversational",
    "instruct",
    "instruction-tuned",
    "sft",
    "dpo",
    "rlhf",
    "grpo",
    "orpo",
}
"""Tags of a model card that make an instruct model."""
ADAPTED = ("quantized", "adapter", "merge")
"""Relations to a `base_model` of the card that leave its kind as it is."""
TRAINED_HERE = ("trainer_state.json", "training_args.bin")
"""Files of a trainer: the name that the config records is then that of the model before."""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """How turns end, by the tokenizer and the generation config."""

    template: str = ""
    """Of chats; empty where there is none."""
    stops: tuple[str, ...] = ()
    """Tokens at which the model stops."""
    tokens: tuple[str, ...] = ()
    """Tokens that stand for no text."""


NO_CHAT = Chat()
UNKNOWN = "Neither its name, its card nor its chat template says whether it is a base or an instruct model."


def kind(
    name: str, folder: Path | None, chat: Chat = NO_CHAT, *, named: Sequence[str] = ()
) -> tuple[Kind, str]:
    """Base, instruct or unknown, and the sentence that says why.

    Args:
        name: as the user typed it; empty for a model in memory that came from nowhere.
        folder: the model's, where it is local.
        chat: how turns end.
        named: what a file that holds the whole model is called, in place of its folder.
    """
    own, recorded = [*named] or [name], ""
    if folder and not named:
        cached = _of_cache(folder)
        own = [Path(name).name, folder.resolve().name, cached]
        recorded = "" if cached else _recorded(folder)
    before = [] if folder and _trained_here(folder) else [recorded]
    return (
        _by_words([*own, recorded])
        or _by_family(own)
        or _by_card(_card(name, folder))
        or _by_chat(chat)
        or _by_family(before)
        or ("unknown", UNKNOWN)
    )


def chat_of(tokenizer: Any, generation_config: Any) -> Chat:
    """What a loaded tokenizer and a generation config say."""
    template = tokenizer.chat_template or ""
    if isinstance(template, Mapping):
        template = template.get("default") or next(iter(template.values()), "")
    ids = getattr(generation_config, "eos_token_id", None)
    numbers = ids if isinstance(ids, list) else [] if ids is None else [ids]
    stops = {tokenizer.eos_token, *tokenizer.convert_ids_to_tokens(numbers)} - {None}
    tokens = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    return Chat(template=template, stops=tuple(sorted(stops)), tokens=tuple(sorted(tokens)))


def _by_words(names: list[str]) -> tuple[Kind, str] | None:
    for found, words in WORDS.items():
        pattern = rf"(?<![a-z0-9])({words})(?![a-z0-9])"
        for name in names:
            if match := re.search(pattern, name.lower()):
                return found, f'Its name says "{match[0]}": taken for the {found} kind of model.'
    return None


def _by_card(card: Mapping[str, Any]) -> tuple[Kind, str] | None:
    tags = TAGS & {str(tag).lower() for tag in _listed(card.get("tags"))}
    if tags:
        return (
            "instruct",
            f'Its card is tagged "{min(tags)}": taken for the instruct kind of model.',
        )
    before = [str(name) for name in _listed(card.get("base_model"))]
    found = _by_words(before) or _by_family(before)
    same = card.get("base_model_relation") in ADAPTED
    if found and (
        same or found[0] == "instruct"
    ):  # what is tuned further from a base may be either
        return found[0], f"Its card says that it was made from {before[0]}: taken for {found[0]}."
    return None


def _by_family(names: list[str]) -> tuple[Kind, str] | None:
    for found, patterns in FAMILIES.items():
        for name in names:
            last = name.split("/")[-1]
            if any(re.fullmatch(pattern, last.lower()) for pattern in patterns):
                return found, f"{last} is known to be a model of the {found} kind."
    return None


def _by_chat(chat: Chat) -> tuple[Kind, str] | None:
    """A model that was trained on chats stops where its template ends a turn."""
    used = [token for token in chat.tokens if token in chat.template]
    if not used and "eos_token" not in chat.template:
        return None
    if "eos_token" in chat.template or set(used) & set(chat.stops):
        return (
            "instruct",
            "It stops where its chat template ends a turn: taken for the instruct kind of model.",
        )
    return (
        "base",
        "It does not stop at any token of its chat template: taken for the base kind of model.",
    )


def _card(name: str, folder: Path | None) -> Mapping[str, Any]:
    """The metadata of the model card; empty where there is none that can be read."""
    if not folder and not name:
        return {}
    try:
        cached = folder or huggingface_hub.try_to_load_from_cache(name, "README.md")
        if not isinstance(cached, str | Path):
            return _hub_card(name)
        return huggingface_hub.metadata_load(folder / "README.md" if folder else cached) or {}
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def _hub_card(name: str) -> Mapping[str, Any]:
    """From the hub, asked once: a download would be tried again and again where it is out of reach."""
    try:
        card = huggingface_hub.model_info(name, timeout=10).card_data
    except Exception:  # the session's library differs between versions of huggingface_hub
        return {}
    return dict(vars(card)) if card else {}


def _of_cache(folder: Path) -> str:
    """The name that a folder of the hub's cache stands for."""
    for part in folder.resolve().parts:
        if part.startswith("models--"):
            return part.split("--")[-1]
    return ""


def _recorded(folder: Path) -> str:
    """The name that the config remembers, without its owner; it may be that of the model before training."""
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        return ""
    return Path(str(config.get("_name_or_path") or "")).name


def _trained_here(folder: Path) -> bool:
    return any((folder / name).exists() for name in TRAINED_HERE)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
