"""A saved model is the model that was trained: its template, its ends, its card; nothing that diverged."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, GenerationConfig

from advisor.data.dataset import load_dataset
from advisor.model.load import load_model
from advisor.objectives.table import get_objective
from harness.cli.main import main
from harness.generate.turn_end import turn_end_of
from harness.train.saving import PLAIN, carry_template
from harness.train.sft import build_trainer
from tests.helpers.settings import read_settings
from tests.helpers.tiny import tiny_tokenizer

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, whose end of a turn is several ordinary tokens of the small model."""
TALK = [
    {"role": "user", "content": "Once upon a time"},
    {"role": "assistant", "content": "there was a dog."},
]
QUICK = [
    *("--max_steps", "2", "--per_device_train_batch_size", "2", "--learning_rate", "1e-3"),
    *("--logging_steps", "1", "--disable_tqdm", "true", "--report_to", "none"),
]


@pytest.fixture
def stories(shared: Path) -> Path:
    """A really trained model of 260k parameters."""
    return shared / "models" / "tinystories-260k"


@pytest.fixture
def talks(write: Any) -> Path:
    rows = [
        {"messages": [TALK[0], {**TALK[1], "content": f"there was a dog {i}."}]} for i in range(8)
    ]
    path: Path = write("talks.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return path


def train(command: str, model: Path, data: Path, out: Path, *flags: str) -> None:
    words = [command, str(model), str(data), "--output_dir", str(out), *QUICK, *flags]
    assert main(words) == 0


PATHS: dict[str, tuple[str, ...]] = {
    "train": ("train", "--measure_prior"),
    "use_peft": ("train", "--use_peft"),
    "resample": ("train", "--objective", "cadft", "--resample", "--max_steps", "8"),
    "distill": ("distill", "--max_completion_length", "4", "--teacher"),
}


@pytest.mark.parametrize("path", PATHS)
def test_template_ends_and_card_are_saved_whichever_way_is_trained(
    stories: Path, talks: Path, tmp_path: Path, write: Any, path: str
) -> None:
    """The template travels; no piece of a terminator ends an answer; the card knows what it says."""
    file = write("chatml.jinja", TEMPLATE)
    command, *flags = PATHS[path]
    more = [str(stories)] if path == "distill" else []
    out = tmp_path / "out"
    train(command, stories, talks, out, *flags, *more, "--chat_template", str(file))
    for folder in (out, next(out.glob("checkpoint-*"))):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        text = tokenizer.apply_chat_template(TALK, tokenize=False)
        assert text == (
            "<|im_start|>user\nOnce upon a time<|im_end|>\n"
            "<|im_start|>assistant\nthere was a dog.<|im_end|>\n"
        )
        pieces = tokenizer("<|im_end|>", add_special_tokens=False)["input_ids"]
        config = GenerationConfig.from_pretrained(folder)
        eos = (
            config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        )
        assert len(pieces) > 3 and tokenizer.eos_token_id in eos and not set(eos) & set(pieces)
        assert config.stop_strings == ["<|im_end|>"]
    card = (out / "README.md").read_text()
    assert "None" not in card and "[More Information" not in card
    for fact in (str(stories), "talks", "learning rate 0.001", "torch 2", "stop_strings"):
        assert fact in card, card
    assert ("## Distillation" if path == "distill" else "## Objective") in card
    assert ("mean probability" in card) == ("--measure_prior" in flags)


def test_a_saved_model_stops_at_the_whole_terminator(
    stories: Path, talks: Path, tmp_path: Path
) -> None:
    """Trained to end its answer, it does so by the terminator's text, with transformers' own generate."""
    out = tmp_path / "out"
    train("train", stories, talks, out, "--chat_template", TEMPLATE, "--max_steps", "150",
          "--learning_rate", "3e-3", "--save_strategy", "no")  # fmt: skip
    loaded = load_model(out)
    prompt = loaded.tokenizer.apply_chat_template(
        TALK[:1], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = loaded.model.generate(
        **prompt, max_new_tokens=100, do_sample=False, tokenizer=loaded.tokenizer
    )[0, prompt["input_ids"].shape[1] :]
    text = loaded.tokenizer.decode(answer)
    assert text.rstrip().endswith("<|im_end|>") and text.count("<|im_end|>") == 1
    assert "there was a dog" in text


def test_one_token_that_ends_a_turn_is_an_eos_token(model_folder: Path, write: Any) -> None:
    """A terminator that is a token by itself needs no text to stop at."""
    template = "{% for m in messages %}{{ m.content }} m {% endfor %}"
    tokenizer = load_model(model_folder).tokenizer
    rows = [
        {"messages": [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c"}]}
    ]
    assert turn_end_of(load_dataset(rows, tokenizer, chat_template=template)).text == ""
    assert turn_end_of(load_dataset([{"prompt": "a", "completion": "b"}], tokenizer)).text == ""


@pytest.mark.parametrize(
    "talk",
    [
        TALK,
        [{"role": "system", "content": "Be kind."}, *TALK],
        [
            *TALK,
            {"role": "user", "content": "And then?"},
            {"role": "assistant", "content": "It ran."},
        ],
    ],
)
def test_the_plain_template_travels_as_well(talk: list[dict[str, str]], stories: Path) -> None:
    """A model trained on plain text must not be asked in the template that its base came with."""
    tokenizer = AutoTokenizer.from_pretrained(stories)
    tokenizer.chat_template = TEMPLATE
    dataset = load_dataset([{"messages": talk}], tokenizer, chat_template="none")
    carry_template(tokenizer, dataset)
    assert tokenizer.apply_chat_template(talk)["input_ids"] == dataset[0].input_ids
    text = tokenizer.apply_chat_template(talk, tokenize=False)
    assert text.startswith("<s>") and tokenizer.chat_template.endswith(PLAIN)
    prompt = tokenizer.apply_chat_template(talk[:-1], tokenize=False, add_generation_prompt=True)
    assert text.startswith(prompt) and text[len(prompt) :].strip().startswith(talk[-1]["content"])


def test_a_tokenizers_own_template_stays_and_another_end_is_kept(stories: Path) -> None:
    """What the template prints for `eos_token` in training it prints later too; no text turns special."""
    tokenizer = AutoTokenizer.from_pretrained(stories)
    ends = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    tokenizer.chat_template = ends
    carry_template(tokenizer, load_dataset([{"messages": TALK}], tokenizer))
    assert tokenizer.chat_template == ends
    before = tokenizer.eos_token
    carry_template(tokenizer, load_dataset([{"messages": TALK}], tokenizer, eos_token="none"))
    assert tokenizer.apply_chat_template(TALK, tokenize=False) == "".join(
        m["content"] for m in TALK
    )
    assert tokenizer.eos_token == before


def built(model: Path, data: Path, out: Path, *flags: str) -> Any:
    loaded = load_model(model)
    config, _ = read_settings([*QUICK, "--output_dir", str(out), *flags], {})
    return build_trainer(
        loaded, load_dataset(str(data), loaded.tokenizer), get_objective("nll"), config
    )


@pytest.fixture
def data(write: Any) -> Path:
    rows = [{"prompt": "a b ", "completion": " ".join("cdefgh"[: 1 + i % 6])} for i in range(40)]
    path: Path = write("data.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("what", ["the loss", "the gradient", "a weight"])
def test_a_training_that_diverges_stops_at_once_and_keeps_the_last_good_checkpoint(
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
    model_folder: Path,
    data: Path,
    tmp_path: Path,
    what: str,
) -> None:
    """The update that would spoil the weights is not made; what was saved before stays; exit code 1."""
    from harness.train.objective_trainer import ObjectiveTrainer

    compute = ObjectiveTrainer.compute_loss

    def spoilt(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = compute(self, *args, **kwargs)
        if self.state.global_step < 5:
            return loss
        weight = next(self.model.parameters())
        if what == "a weight":
            weight.data[0, 0] = math.inf
            return loss
        # sqrt at 0: a finite loss with a gradient that is not
        return loss * math.nan if what == "the loss" else loss + (weight * 0).sum().sqrt()

    monkeypatch.setattr(ObjectiveTrainer, "compute_loss", spoilt)
    words = ["train", str(model_folder), str(data), "--output_dir", str(tmp_path), *QUICK]
    capsys.readouterr()
    steps = "6" if what == "a weight" else "12"
    assert main([*words, "--max_steps", steps, "--save_steps", "2"]) == 1
    errors = [e for e in capsys.readouterr().err.splitlines() if e.startswith("advisor: error")]
    assert len(errors) == 1 and what in errors[0] and "lower --learning_rate" in errors[0]
    assert f"{tmp_path / 'checkpoint-4'} is the last good checkpoint" in errors[0]
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [
        "checkpoint-2",
        "checkpoint-4",
    ]
    assert not (tmp_path / "model.safetensors").exists()
    assert all(
        w.isfinite().all()
        for w in load_file(tmp_path / "checkpoint-4" / "model.safetensors").values()
    )


@pytest.mark.parametrize("rate", ["1e20", "1e38"])
def test_a_rate_that_is_far_too_high_is_a_divergence(
    capsys: Any, model_folder: Path, data: Path, tmp_path: Path, rate: str
) -> None:
    """Nothing is patched: the update itself overflows."""
    flags = [
        "--learning_rate",
        rate,
        "--max_steps",
        "8",
        "--save_steps",
        "1",
        "--max_grad_norm",
        "0",
    ]
    words = ["train", str(model_folder), str(data), "--output_dir", str(tmp_path), *QUICK]
    assert main([*words, *flags]) == 1
    for path in tmp_path.rglob("*.safetensors"):
        assert all(torch.isfinite(w).all() for w in load_file(path).values())


def test_a_checkpoint_is_good_only_once_a_later_step_was_finite(
    capsys: Any, model_folder: Path, data: Path, tmp_path: Path
) -> None:
    """The first update breaks the model; its weights, of 1e30, are finite and are saved before a loss."""
    words = ["train", str(model_folder), str(data), "--output_dir", str(tmp_path), *QUICK]
    flags = ["--learning_rate", "1e30", "--max_steps", "6", "--save_steps", "1"]
    capsys.readouterr()
    assert main([*words, *flags, "--disable_tqdm", "false"]) == 1
    lines = capsys.readouterr().err.splitlines()
    errors = [
        line for line in lines if line.startswith("advisor: error")
    ]  # no bar stands before it
    assert len(errors) == 1 and "is the last good checkpoint" not in errors[0], lines
    assert f"no good checkpoint ({tmp_path / 'checkpoint-1'} was saved after the last" in errors[0]


def test_the_checkpoint_before_the_unproven_one_is_named(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, model_folder: Path, data: Path, tmp_path: Path
) -> None:
    """With a loss of NaN after 3 updates: 2 updates had a finite loss after them, 3 did not."""
    from harness.train.objective_trainer import ObjectiveTrainer

    compute = ObjectiveTrainer.compute_loss

    def spoilt(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = compute(self, *args, **kwargs)
        return loss if self.state.global_step < 3 else loss * math.nan

    monkeypatch.setattr(ObjectiveTrainer, "compute_loss", spoilt)
    words = ["train", str(model_folder), str(data), "--output_dir", str(tmp_path), *QUICK]
    for resume in (
        [],
        ["--resume_from_checkpoint", "true"],
    ):  # from checkpoint-3, which is as it was
        capsys.readouterr()
        assert main([*words, "--max_steps", "6", "--save_steps", "1", *resume]) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert f"{tmp_path / 'checkpoint-2'} is the last good checkpoint" in error, error
        assert f"({tmp_path / 'checkpoint-3'} was saved after the last update" in error, error


def test_stop_strings_of_an_earlier_template_are_dropped(
    capsys: Any, stories: Path, talks: Path, tmp_path: Path
) -> None:
    """Trained by ChatML, then by a template that a token ends: only what it writes is stopped at."""
    first, second = tmp_path / "first", tmp_path / "second"
    train("train", stories, talks, first, "--chat_template", TEMPLATE)
    again = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
    capsys.readouterr()
    train("train", first, talks, second, "--chat_template", again)
    assert GenerationConfig.from_pretrained(second).stop_strings is None
    said = "no longer stops at '<|im_end|>'"
    assert said in capsys.readouterr().err and said in (second / "README.md").read_text()
    rows = tmp_path / "rows.jsonl"  # without a conversation the template stays, and its end with it
    rows.write_text('{"prompt": "Once ", "completion": "upon a time"}\n' * 4)
    train("train", first, rows, tmp_path / "third")
    assert GenerationConfig.from_pretrained(tmp_path / "third").stop_strings == ["<|im_end|>"]


def test_a_licence_is_named_where_it_is_known(
    model_folder: Path, data: Path, tmp_path: Path
) -> None:
    """It comes from the base model's own card; what is not known is left out."""
    import shutil

    base = tmp_path / "base"
    shutil.copytree(model_folder, base)
    (base / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    for model, licence in ((base, ["licence mit"]), (model_folder, [])):
        trainer = built(model, data, tmp_path / "out")
        trainer.create_model_card()
        card = (tmp_path / "out" / "README.md").read_text()
        assert [word for word in ("licence mit", "licence") if word in card][:1] == licence
        assert "None" not in card


def test_a_tiny_tokenizer_has_no_template() -> None:
    """Rows of plain text bring no template into the saved tokenizer."""
    tokenizer = tiny_tokenizer()
    carry_template(tokenizer, load_dataset([{"prompt": "a ", "completion": "b"}], tokenizer))
    assert not tokenizer.chat_template
