"""Direct preference optimisation (arXiv:2305.18290) as an arm: TRL's DPOTrainer on tokenised pairs.

The pairs are tokenised as the demonstrations are, `rejected` in the place of `chosen`, so that DPO reads the
same prompts and the same preferred answers as the other arms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig

from advisor.data.dataset import SFTDataset
from advisor.data.labels import last_target
from advisor.model.forward import copied
from advisor.model.load import LoadedModel
from harness.train.divergence import StopsWhenDiverged
from harness.train.precision import float_masters, to_train
from harness.train.trl_settings import settings_for

CHOSEN, REJECTED = "chosen", "rejected"
Pair = dict[str, list[int]]


def rejected_side(
    dataset: SFTDataset, read: Callable[[Sequence[Mapping[str, Any]]], SFTDataset]
) -> SFTDataset | None:
    """The dataset with the rejected answers for targets, row by row; None where there are no pairs.

    Args:
        dataset: demonstrations whose targets may be a column `chosen`.
        read: source rows to a dataset, as `dataset` was read.
    """
    if not {CHOSEN, REJECTED} <= set(dataset.info.columns):
        return None
    rows = [dataset.raw(i) for i in range(len(dataset))]
    other = read([{**row, CHOSEN: row[REJECTED]} for row in rows])
    return other if pairs(dataset, other) else None


def pairs(chosen: Iterable[Any], rejected: Iterable[Any], *, whole: bool = False) -> list[Pair]:
    """Token ids of the common beginning and of both ends; pairs that do not differ are left out.

    Tokens that both answers begin with count as prompt: they cancel out in DPO's difference. With `whole`
    they are part of the answers, for a loss that divides by the length of each.
    """
    found = []
    for one, other in zip(chosen, rejected, strict=True):
        if not (one.target_tokens and other.target_tokens):
            continue
        together = zip(one.input_ids, other.input_ids, strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], together))
        if one.input_ids == other.input_ids:
            continue
        if whole:
            shared = min(shared, last_target(one.labels)[0], last_target(other.labels)[0])
        ends = one.input_ids[shared:], other.input_ids[shared:]
        if all(ends) or not whole:
            found.append(
                {
                    "prompt_ids": one.input_ids[:shared],
                    "chosen_ids": ends[0],
                    "rejected_ids": ends[1],
                }
            )
    return found


class PairTrainer(StopsWhenDiverged, DPOTrainer):
    """TRL's DPOTrainer on pairs that are tokenised already."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset


def build_pair_trainer(
    loaded: LoadedModel,
    rows: Sequence[Pair],
    config: SFTConfig,
    given: Iterable[str],
    *,
    beta: float,
    peft_config: Any = None,
) -> PairTrainer:
    """A trainer ready to `train()`; the model is the loaded one, is the reference, and is changed in place.

    Args:
        loaded: the model before training.
        rows: of `pairs`.
        config: the settings that the other arms train with.
        given: names of those settings that are not TRL's defaults.
        beta: weight of the reference.
        peft_config: of PEFT, to train an adapter.
    """
    settings = settings_for(DPOConfig, config, given)
    settings["max_length"] = None  # the rows are cut already
    reference = None if peft_config else copied(loaded.model).requires_grad_(False).eval()
    masters = float_masters(loaded, peft_config)
    trainer = PairTrainer(
        model=to_train(loaded.model),
        ref_model=reference,
        args=DPOConfig(**settings, beta=beta),
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=loaded.tokenizer,
        peft_config=peft_config,
    )
    trainer.masters = masters
    return trainer
