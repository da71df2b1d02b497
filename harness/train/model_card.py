"""The card of a trained model: what it was made of, and with what; nothing that is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData, try_to_load_from_cache
from huggingface_hub.repocard import metadata_load
from peft import PeftModel

from advisor.data.dataset import SFTDataset
from advisor.files import find
from advisor.model.load import LoadedModel
from advisor.prior.prior import Prior
from harness.runtime.versions import versions

CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model or a dataset that went into a training."""

    name: str
    """As the user typed it."""
    details: tuple[str, ...] = ()
    """What else identifies it."""
    hub: bool = False
    """Whether the name is a hub id."""
    licence: str | None = None
    """As its own card says; None where that is not known."""

    def line(self, what: str) -> str:
        """An item of a list."""
        licence = [f"licence {self.licence}"] if self.licence else []
        return f"- {what}: " + ", ".join([f"`{self.name}`", *self.details, *licence])


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a trainer cannot tell from its settings."""

    base: Source | None = None
    data: Source | None = None
    prior: Prior | None = None
    """What was measured before training."""


UNKNOWN = Facts()


def facts_of(loaded: LoadedModel, dataset: SFTDataset, prior: Prior | None = None) -> Facts:
    """Base model, data and prior of a training."""
    info = dataset.info
    kind = find(info.name)[1]
    split = [f"split {info.split}"] if info.split else []
    weights = [f"weights {dataset.weights}"] if dataset.weights else []
    return Facts(
        base=Source(
            name=loaded.name,
            details=(f"fingerprint {loaded.fingerprint}",),
            hub=_is_hub_id(loaded.name),
            licence=licence_of(loaded.name, "model"),
        ),
        data=Source(
            name=info.name,
            details=(*split, f"{info.rows} rows", f"fingerprint {info.fingerprint}", *weights),
            hub=kind is None and _is_hub_id(info.name),
            licence=licence_of(info.name, "dataset"),
        ),
        prior=prior,
    )


def licence_of(name: str, kind: str) -> str | None:
    """The licence in the card of a folder, or of a hub id whose card lies in the cache; asks no host."""
    path, there = find(name)
    card: Any = path / CARD if there == "folder" else None
    if there is None and _is_hub_id(name):
        card = try_to_load_from_cache(name, CARD, repo_type=kind)
    if not isinstance(card, str | Path) or not Path(card).is_file():
        return None
    try:
        found = (metadata_load(card) or {}).get("license")
    except (ValueError, OSError):  # a broken card
        return None
    words = found if isinstance(found, list) else [found]
    return ", ".join(str(word) for word in words if word) or None


def write_card(trainer: Any, facts: Facts, sections: Sequence[str]) -> None:
    """Write the card into a trainer's output folder.

    Args:
        trainer: after or in training.
        facts: of what it was made.
        sections: in Markdown, of what was minimised.
    """
    if not trainer.is_world_process_zero():
        return
    folder = Path(str(trainer.args.output_dir))
    folder.mkdir(parents=True, exist_ok=True)
    adapter = isinstance(trainer.model, PeftModel)
    base = facts.base or Source(name=str(trainer.model.config._name_or_path or "not recorded"))
    lines = [_metadata(base, facts.data, adapter=adapter), "", f"# {folder.resolve().name}", ""]
    lines.append(
        f"{'An adapter for' if adapter else 'A fine-tune of'} `{base.name}`, made with objective-advisor."
    )
    lines += ["", base.line("Base model")]
    lines += [facts.data.line("Data")] if facts.data else []
    lines += [_prior_line(facts.prior)] if facts.prior else []
    lines += ["- Training: " + ", ".join(_training(trainer))]
    lines += [f"- Versions: {', '.join(f'{k} {v}' for k, v in versions().items())}"]
    text = "\n".join([*lines, "", *sections]).rstrip("\n") + "\n"
    (folder / CARD).write_text(text, encoding="utf-8")


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and find(name)[1] is None and not name.startswith(".")


def _metadata(base: Source, data: Source | None, *, adapter: bool) -> str:
    """What the hub reads; a name that is none of its own would be refused there."""
    known: dict[str, Any] = {
        "base_model": base.name if base.hub else None,
        "license": base.licence if base.hub else None,
        "datasets": [data.name] if data and data.hub else None,
    }
    metadata = ModelCardData(
        library_name="peft" if adapter else "transformers",
        tags=["objective-advisor", "generated_from_trainer"],
        **{name: value for name, value in known.items() if value},
    )
    return f"---\n{metadata.to_yaml()}\n---"


def _prior_line(prior: Prior) -> str:
    low, high = prior.mean_p_interval
    end = f"{prior.p_eos:.3g}" if prior.p_eos is not None else "was no target"
    return (
        f"- Prior: before training the model gave a target token a mean probability of {prior.mean_p:.3f} "
        f"(95 % interval {low:.3f} to {high:.3f}, {prior.examples} examples, {prior.target_tokens} tokens), "
        f"and the end of a turn {end}."
    )


def _training(trainer: Any) -> list[str]:
    args, state = trainer.args, trainer.state
    rows = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    schedule = getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
    return [
        f"{state.global_step} optimiser steps of {rows} rows",
        f"learning rate {args.learning_rate:g} ({schedule})",
        f"seed {args.seed}",
    ]
