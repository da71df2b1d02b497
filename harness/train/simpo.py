r"""Simple preference optimisation (arXiv:2405.14734) as an arm: DPO's pairs, without a reference model.

$$ L = -\log \sigma\Big( \frac{\beta}{|y_w|} \log \pi(y_w|x)
   - \frac{\beta}{|y_l|} \log \pi(y_l|x) - \gamma \Big) \qquad \text{(Eq. 6)} $$

TRL 1.16 has it in `trl.experimental.cpo`, whose trainer tokenises texts itself and would read other prompts
than the other arms; this one is TRL's DPOTrainer with another loss on the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from datasets import Dataset
from torch import Tensor
from torch.nn.functional import logsigmoid
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.sft_config import SFTConfig

from advisor.model.load import LoadedModel
from harness.train.dpo import Pair, PairTrainer
from harness.train.precision import float_masters, to_train
from harness.train.trl_settings import settings_for


class SimPOTrainer(PairTrainer):
    """On the rows of `pairs(..., whole=True)`: a mean over an answer needs the whole of it."""

    model: Any

    def __init__(self, *args: Any, gamma: float, **kwargs: Any) -> None:
        """`gamma` is the margin that the better answer shall have; beta is in the settings."""
        super().__init__(*args, **kwargs)
        self.gamma = gamma

    def _precompute_ref_logps(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return (
            dataset  # there is no reference: DPOTrainer would load one unless it is to precompute
        )

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        mask = inputs["completion_mask"]
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=inputs["input_ids"].masked_fill(mask == 0, -100),
            use_cache=False,
            fused_lm_head=True,
        )
        counted = mask[:, 1:]
        logp = outputs.log_probs[:, -counted.shape[1] :]
        # Prompts of one token and more: every token of an answer has something before it.
        means = (logp * counted).sum(1) / counted.sum(1).clamp(min=1)
        chosen, rejected = (self.beta * means).chunk(2)
        self._note(chosen.detach(), rejected.detach())
        loss = -logsigmoid(chosen - rejected - self.gamma).mean()
        return (loss, outputs) if return_outputs else loss

    def _note(self, chosen: Tensor, rejected: Tensor) -> None:
        metrics = self._metrics["train" if self.model.training else "eval"]
        margins = self.accelerator.gather(chosen - rejected)
        metrics["rewards/margins"].append(margins.mean().item())
        metrics["rewards/accuracies"].append((margins > 0).float().mean().item())


def build_simpo_trainer(
    loaded: LoadedModel,
    rows: Sequence[Pair],
    config: SFTConfig,
    given: Iterable[str],
    *,
    beta: float,
    gamma: float,
    peft_config: Any = None,
) -> SimPOTrainer:
    """A trainer ready to `train()`; the model is the loaded one and is changed in place.

    Args:
        loaded: the model before training.
        rows: of `pairs(..., whole=True)`.
        config: the settings that the other arms train with.
        given: names of those settings that are not TRL's defaults.
        beta: scale of the mean log-probabilities.
        gamma: margin between them, in units of beta times a mean log-probability.
        peft_config: of PEFT, to train an adapter.
    """
    settings = settings_for(DPOConfig, config, given)
    settings["max_length"] = None  # the rows are cut already
    masters = float_masters(loaded, peft_config)
    trainer = SimPOTrainer(
        model=to_train(loaded.model),
        args=DPOConfig(**settings, beta=beta, precompute_ref_log_probs=True),
        gamma=gamma,
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=loaded.tokenizer,
        peft_config=peft_config,
    )
    trainer.masters = masters
    return trainer
