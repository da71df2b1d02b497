"""The settings are ones that the trainers accept, and every objective gets an answer from each."""

import shlex

import pytest
import yaml
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer

from advisor.errors import InputError
from advisor.objectives.neighbours import NEIGHBOURS
from advisor.objectives.other_trainers import export
from advisor.objectives.table import OBJECTIVES, get_objective
from harness.cli.parser import parse

TRAINERS = ["objective-advisor", *(one.title for one in NEIGHBOURS.values())]


def settings(objective, trainer, parameters=None):
    return next(s for s in export(objective, parameters) if s.trainer == trainer)


def sft_trainer(config: SFTConfig) -> SFTTrainer:
    sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=8, **sizes))
    data = Dataset.from_list([{"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}])
    return SFTTrainer(model, config, train_dataset=data, processing_class=tokenizer())


def tokenizer():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "a": 2}, "<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_gets_an_answer_from_every_trainer(objective):
    answers = export(objective)
    assert [answer.trainer for answer in answers] == TRAINERS
    for answer in answers:
        assert answer.supported == bool(answer.settings) == bool(answer.version)
        assert answer.supported or answer.trainer in answer.notes[0]


@pytest.mark.parametrize("objective", ["nll", "neg_p"])
def test_trl_takes_the_settings(objective, tmp_path):
    given = yaml.safe_load(settings(objective, "TRL").settings) or {}
    config = SFTConfig(str(tmp_path), use_cpu=True, bf16=False, **given)
    expected = {"nll": "nll", "neg_p": "dft"}
    assert sft_trainer(config).args.loss_type == expected[objective]


def test_trl_refuses_other_loss_types(tmp_path):
    config = SFTConfig(str(tmp_path), use_cpu=True, bf16=False, loss_type="p_pow")
    with pytest.raises(ValueError, match="Supported values are 'nll' and 'dft'"):
        sft_trainer(config)


def test_yaml_settings():
    assert yaml.safe_load(settings("neg_p", "LLaMA-Factory").settings) == {"use_dft_loss": True}
    assert yaml.safe_load(settings("neg_p", "axolotl").settings) == {
        "plugins": ["axolotl.integrations.liger.LigerPlugin"],
        "liger_fused_linear_cross_entropy": True,
        "liger_use_token_scaling": True,
    }
    for trainer in TRAINERS[1:]:
        assert yaml.safe_load(settings("nll", trainer).settings) is None


def test_ms_swift_settings():
    assert yaml.safe_load(settings("neg_p", "ms-swift").settings) == {"enable_dft_loss": True}


def test_alias_is_the_same_answer():
    assert export("dft") == export("neg_p")


@pytest.mark.parametrize("objective", ["p_pow", "threshold", "cadft"])
def test_no_trainer_has_the_others(objective):
    for answer in export(objective)[1:]:
        assert not answer.supported
        assert f"no setting for {OBJECTIVES[objective].label}" in answer.notes[0]


@pytest.mark.parametrize(
    ("objective", "parameters", "same"),
    [
        ("p_pow", {"k": 1}, "neg_p"),
        ("threshold", {"tau": 0}, "nll"),
        ("cadft", {"beta": 0}, "neg_p"),
    ],
)
def test_limits_of_the_families_are_supported(objective, parameters, same):
    found, expected = export(objective, parameters)[1:], export(same)[1:]
    assert [one for one in found if one.supported] == [one for one in expected if one.supported]
    assert [one.supported for one in found] == [one.supported for one in expected]


def test_parameters_are_named():
    assert "p_pow(3)" in settings("p_pow", "TRL", {"k": 3}).notes[0]
    assert "threshold(0.1)" in settings("threshold(0.1)", "axolotl").notes[0]


@pytest.mark.parametrize("objective", ["nll>neg_p", "p_anneal", "cadft"])
def test_what_no_trainer_has_is_referred_to_the_command(objective):
    label = get_objective(objective).label
    for answer in export(objective)[1:]:
        assert not answer.supported and f"no setting for {label}" in answer.notes[0]
        words = shlex.split(answer.notes[0].split("`")[1])
        args = parse(words[1:])
        assert get_objective(args.objective).label == label
        assert args.to in NEIGHBOURS


def test_unknown_objective():
    with pytest.raises(InputError, match="focal"):
        export("focall")


def test_rare_settings_carry_the_parameters():
    eaft = settings("eaft(2)", "LLaMA-Factory")
    assert yaml.safe_load(eaft.settings) == {"use_eaft_loss": True, "eaft_alpha": 2}
    assert yaml.safe_load(settings("asft", "LLaMA-Factory").settings)["asft_alpha"] == 0.05
    assert not settings("asft", "axolotl").supported


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_our_own_command_reads_its_objective_back(objective):
    words = shlex.split(settings(objective, "objective-advisor").settings)
    args = parse(words[1:])
    assert get_objective(args.objective) == get_objective(OBJECTIVES[objective].label)
