"""The programs that carry an objective into trainers which have no setting for it, as text to be filled in.

Fields stand as `$name` and are filled with literals of Python, so that no name of a file becomes code.
"""

from __future__ import annotations

from string import Template

TRL = Template('''\
"""SFT with $label on TRL: python train.py --config sft.yaml"""

from transformers import AutoModelForCausalLM
from trl import DatasetMixtureConfig, ModelConfig, SFTConfig, SFTTrainer, TrlParser, get_dataset

from advisor import get_objective
from harness.train.objective_trainer import ObjectiveLoss


class Trainer(ObjectiveLoss, SFTTrainer):
    pass


config, model, data = TrlParser((SFTConfig, ModelConfig, DatasetMixtureConfig)).parse_args_and_config()
trainer = Trainer(
    objective=get_objective($objective),
    model=AutoModelForCausalLM.from_pretrained(model.model_name_or_path, dtype="float32"),
    args=config,
    train_dataset=get_dataset(data)["train"],
)
trainer.train()
trainer.save_model()
''')
TRANSFORMERS = Template('''\
"""SFT with $label on transformers: python train.py"""

from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    HfArgumentParser,
    Trainer,
    TrainingArguments,
)

import advisor
$imports
[args] = HfArgumentParser(TrainingArguments).parse_json_file("arguments.json")
tokenizer = AutoTokenizer.from_pretrained($model)
rows = advisor.load_dataset($dataset, tokenizer, max_length=$max_length)
examples = [row for row in rows if row.target_tokens]
rows.refuse_weights("this program")
tokenizer.padding_side = "right"  # a target behind padding would be predicted from it
if tokenizer.pad_token is None:
    tokenizer.pad_token = tokenizer.eos_token
trainer = $trainer(
    model=AutoModelForCausalLM.from_pretrained($model, dtype="float32"),
    args=args,
    # labels are -100 on everything that is no answer, and on the first token, which nothing precedes
    train_dataset=[{"input_ids": row.input_ids, "labels": [-100, *row.labels[1:]]} for row in examples],
    data_collator=DataCollatorForSeq2Seq(tokenizer),$more
)
trainer.train()
trainer.save_model()
''')
MIXED_IN = """\
from harness.train.objective_trainer import ObjectiveLoss


class ObjectiveTrainer(ObjectiveLoss, Trainer):
    pass

"""
LIGER_DFT = """

class DFTTrainer(Trainer):
    def compute_loss(self, model, inputs, *args, **kwargs):
        # Liger's fused cross-entropy takes it from the model's keywords
        return super().compute_loss(model, {**inputs, "use_token_scaling": True}, *args, **kwargs)

"""
LLAMAFACTORY = Template('''\
"""SFT with $label on LLaMA-Factory: python train.py sft.yaml (or torchrun train.py sft.yaml)"""

from llamafactory.train import trainer_utils
from llamafactory.train.tuner import run_exp

import advisor

trainer_utils.dft_loss_func = advisor.objective_loss($objective)  # what use_dft_loss calls

if __name__ == "__main__":
    run_exp()
''')
MS_SWIFT = Template('''\
"""$label as a loss of ms-swift: --external_plugins objective_plugin.py --loss_type advisor"""

from swift.loss import BaseLoss, loss_map

import advisor


class AdvisorLoss(BaseLoss):
    def __init__(self, args, trainer):
        super().__init__(args, trainer)
        self.loss = advisor.objective_loss($objective)

    def __call__(self, outputs, labels, *, num_items_in_batch=None, **kwargs):
        return self.loss(outputs, labels, num_items_in_batch)


loss_map["advisor"] = AdvisorLoss
''')
AXOLOTL = Template('''\
"""$label as a plugin of axolotl: PYTHONPATH=. axolotl train axolotl.yaml"""

from axolotl.integrations.base import BasePlugin

import advisor


class ObjectivePlugin(BasePlugin):
    def post_trainer_create(self, cfg, trainer):
        trainer.compute_loss_func = advisor.objective_loss($objective)
''')
VERL = Template('''\
"""SFT with $label on verl: sh sft.sh, which starts this file with torchrun"""

import torch
from verl.trainer.sft_trainer import main
from verl.workers.utils import losses

from advisor.model.loss_function import weighted_logp

weighted, plain = weighted_logp($objective), losses.sft_loss


def sft_loss(config, model_output, data, dp_group=None):
    logp = model_output["log_probs"]
    if logp.is_nested:
        values = weighted(logp.values())
        logp = torch.nested.nested_tensor_from_jagged(values, logp.offsets())
    else:
        logp = weighted(logp)
    return plain(config, {**model_output, "log_probs": logp}, data, dp_group)


losses.sft_loss = sft_loss

if __name__ == "__main__":
    main()
''')
NEMO_RL = Template('''\
"""SFT with $label on NeMo RL: sh sft.sh, in the folder of its checkout

The workers that train import advisor.model.loss_function: install this tool, without its dependencies,
in their environment.
"""

import runpy

from nemo_rl.algorithms import sft

from advisor.model.loss_function import weighted_logp


class ObjectiveLossFn(sft.NLLLossFn):
    def __call__(self, next_token_logprobs, *args, **kwargs):
        logp = weighted_logp($objective)(next_token_logprobs)
        return super().__call__(logp, *args, **kwargs)


sft.NLLLossFn = ObjectiveLossFn
runpy.run_path("examples/run_sft.py", run_name="__main__")
''')
UNSLOTH = Template('''\
"""SFT with $label on Unsloth: python train.py"""

from unsloth import FastLanguageModel  # isort: skip  # before trl, which it patches

from datasets import load_dataset
from trl import SFTConfig, SFTTrainer
$imports
model, tokenizer = FastLanguageModel.from_pretrained(
    model_name=$model, max_seq_length=$max_length, load_in_4bit=False, full_finetuning=True
)
trainer = SFTTrainer(
    model=model,
    processing_class=tokenizer,
    train_dataset=load_dataset("json", data_files=$dataset, split="train"),
    args=SFTConfig(**$arguments),$more
)
trainer.train()
trainer.save_model()
''')
