"""Resuming does what was asked or refuses: settings, parts of a checkpoint, the choice of the best."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from transformers import EarlyStoppingCallback

from advisor.data.dataset import load_dataset
from advisor.errors import InputError
from advisor.model.load import load_model
from advisor.objectives.table import get_objective
from harness.cli.main import main
from harness.train.checkpoints import newest_checkpoint
from harness.train.sft import build_trainer
from tests.helpers.settings import read_settings
from tests.helpers.training import build as build_plain
from tests.helpers.training import rows

STEPS = ["--max_steps", "4", "--save_steps", "2"]
QUICK = [
    *("--per_device_train_batch_size", "4", "--learning_rate", "1e-3", "--logging_steps", "1"),
    *("--disable_tqdm", "true", "--report_to", "none"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"prompt": "a b ", "completion": " ".join("cdefgh"[: 1 + i % 6])} for i in range(40)]
    path: Path = tmp_path_factory.mktemp("data") / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def trained(model_folder: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What STEPS leave behind, trained once."""
    out: Path = tmp_path_factory.mktemp("trained") / "out"
    words = ["train", model_folder, data, "--output_dir", out, *QUICK, *STEPS]
    assert main(list(map(str, words))) == 0
    return out


@pytest.fixture
def out(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, which `train` writes into."""
    return shutil.copytree(trained, tmp_path / "out")


@pytest.fixture
def train(capsys: Any, model_folder: Path, data: Path, tmp_path: Path) -> Any:
    """Runs `advisor train` into OUT; gives its exit code and the lines it wrote."""

    def run(*flags: object, model: Path = model_folder, rows: Path = data) -> tuple[int, list[str]]:
        capsys.readouterr()
        words = ["train", model, rows, "--output_dir", tmp_path / "out", *QUICK, *flags]
        code = main(list(map(str, words)))
        return code, capsys.readouterr().err.strip().splitlines()

    return run


@pytest.mark.parametrize(
    ("first", "then", "says"),
    [
        ([], ["--learning_rate", "2e-3"], "with --learning_rate 0.001, not with --learning_rate 0.002"),
        ([], ["--lr_scheduler_type", "cosine"], "with --lr_scheduler_type linear, not with"),
        ([], ["--seed", "12345678"], "with --seed 42, not with --seed 12345678"),
        ([], ["--max_steps", "9"], "with --max_steps 4, not with --max_steps 9"),
        ([], ["--max_steps", "-1", "--num_train_epochs", "2"], "with --max_steps 4, not without --max_steps"),
        ([], ["--per_device_train_batch_size", "2"], "step of 4 rows, not with an optimiser step of 2"),
        ([], ["--gradient_accumulation_steps", "2"], "an optimiser step of 4 rows, not with"),
        ([], ["--warmup_steps", "1"], "with --warmup_steps 0, not with --warmup_steps 1:"),
        ([], ["--dataloader_drop_last", "true"], "without --dataloader_drop_last, not with"),
        ([], ["--ignore_data_skip", "true"], "without --ignore_data_skip, not with"),
        ([], ["--accelerator_config", '{"split_batches": true}'], '"split_batches": true'),
        ([], ["--weight_decay", "0.1"], "--weight_decay 0.1"),
        ([], ["--optim", "sgd"], "not with --optim sgd"),
        ([], ["--max_grad_norm", "5"], "--max_grad_norm 1, not with --max_grad_norm 5"),
        ([], ["--packing", "true"], "without --packing, not with --packing"),
        (["--use_peft", "--lora_r", "4"], ["--use_peft", "--lora_r", "8"], "--lora_r 4, not with --lora_r 8"),
        (
            ["--use_peft", "--lora_target_modules", "q_proj"],
            ["--use_peft", "--lora_target_modules", "q_proj", "v_proj"],
            "--lora_target_modules q_proj, not with --lora_target_modules q_proj v_proj",
        ),
        ([], ["--dtype", "bfloat16"], "--dtype float32, not with --dtype bfloat16"),
    ],
)  # fmt: skip
def test_every_setting_is_compared(
    train: Any, out: Path, first: list[str], then: list[str], says: str
) -> None:
    """What Trainer would ignore in silence, or bend the schedule with, is refused in one line."""
    if first:
        shutil.rmtree(out)
        assert train(*STEPS, *first)[0] == 0
    code, lines = train(*STEPS, *then, "--resume_from_checkpoint", "true")
    errors = [line for line in lines if line.startswith("advisor: error")]
    assert code == 2 and len(errors) == 1 and says in errors[0], lines
    assert "to go on from there" in errors[0]


def test_a_cut_is_compared_where_the_objective_selects_within_it(train: Any, out: Path) -> None:
    """Breaks where `tailsft` is gone on with in other micro-batches, which makes it another objective."""
    cuts = [["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2"], []]
    for objective, code in (("tailsft", 2), ("tailsft(whole=1)", 0)):
        shutil.rmtree(out, ignore_errors=True)
        flags = [*STEPS, "--objective", objective]
        assert train(*flags, *cuts[1])[0] == 0
        found, lines = train(*flags, *cuts[0], "--resume_from_checkpoint", out / "checkpoint-2")
        assert found == code
        says = "was made with a forward of 4 rows, not with a forward of 2 rows"
        assert any(says in line for line in lines) == (code == 2), lines


def test_what_changes_no_number_is_applied(train: Any, out: Path, tmp_path: Path) -> None:
    """Another cut of the step, another saving: the same weights as without a stop."""
    whole = load_file(tmp_path / "out" / "model.safetensors")
    cut = ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2"]
    code, lines = train(
        *STEPS,
        *cut,
        "--save_steps",
        "3",
        "--resume_from_checkpoint",
        tmp_path / "out" / "checkpoint-2",
    )
    assert code == 0 and any("goes on from" in line and "2 of 4 steps" in line for line in lines)
    for name, value in load_file(tmp_path / "out" / "model.safetensors").items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=1e-5)


def test_a_training_that_is_done_is_said_to_be(train: Any, out: Path) -> None:
    """Nothing is trained, and the model is there."""
    code, lines = train(*STEPS, "--resume_from_checkpoint", "true")
    assert code == 0 and any("all of its 4 steps: nothing is left" in line for line in lines)
    assert (out / "model.safetensors").is_file()


def test_at_a_constant_rate_a_training_may_be_made_longer(train: Any, tmp_path: Path) -> None:
    """Four steps and two more are six; fewer than were done are refused."""
    constant = ["--lr_scheduler_type", "constant", "--save_steps", "2"]
    assert train(*constant, "--max_steps", "6")[0] == 0
    whole = load_file(tmp_path / "out" / "model.safetensors")
    shutil.rmtree(tmp_path / "out")
    assert train(*constant, "--max_steps", "4")[0] == 0
    assert train(*constant, "--max_steps", "6", "--resume_from_checkpoint", "true")[0] == 0
    for name, value in load_file(tmp_path / "out" / "model.safetensors").items():
        assert torch.equal(value, whole[name])
    code, lines = train(*constant, "--max_steps", "3", "--resume_from_checkpoint", "true")
    assert code == 2 and "has done 6 steps, more than --max_steps 3" in lines[-1]


def test_a_training_that_changes_at_a_share_of_its_steps_may_not_be_made_longer(train: Any) -> None:
    """Of six steps the first three are nll's, of four the first two: the switch would move."""
    staged = ["--objective", "nll>neg_p", "--lr_scheduler_type", "constant", "--save_steps", "2"]
    assert train(*staged, "--max_steps", "4")[0] == 0
    code, lines = train(*staged, "--max_steps", "6", "--resume_from_checkpoint", "true")
    assert code == 2 and "with --max_steps 4, not with --max_steps 6" in lines[-1], lines


def test_a_training_made_longer_in_epochs_says_of_how_many_steps_it_is(
    train: Any, tmp_path: Path
) -> None:
    """40 rows, 4 a step, are 10 steps an epoch; the checkpoint knows of its own 10 alone."""
    constant = ["--lr_scheduler_type", "constant", "--save_steps", "5", "--num_train_epochs"]
    assert train(*constant, "1")[0] == 0
    resume = ["--resume_from_checkpoint", tmp_path / "out" / "checkpoint-10"]
    code, lines = train(*constant, "2", *resume, "--dtype", "bfloat16")
    assert code == 2 and not any("goes on from" in line for line in lines), lines
    code, lines = train(*constant, "2", *resume)
    assert code == 0 and any("goes on from" in x and "10 of 20 steps" in x for x in lines), lines
    assert not any("nothing is left" in line for line in lines)
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    assert state["global_step"] == 20


def test_an_adapter_whose_b_is_zero_is_whole(train: Any, out: Path) -> None:
    """At a learning rate of 0 LoRA's B stays as it begins."""
    shutil.rmtree(out)
    flags = [*STEPS, "--use_peft", "--learning_rate", "0"]
    assert train(*flags)[0] == 0
    code, lines = train(*flags, "--resume_from_checkpoint", out / "checkpoint-2")
    assert code == 0 and any("2 of 4 steps" in line for line in lines), lines


def spoil(kind: str, checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    if kind == "no optimiser":
        (checkpoint / "optimizer.pt").unlink()
    elif kind == "no scheduler":
        (checkpoint / "scheduler.pt").unlink()
    elif kind == "no weights":
        weights.unlink()
    elif kind == "a shard is missing":
        index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
        (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
        weights.rename(checkpoint / "model-1.safetensors")
    elif kind == "some weights":
        tensors = load_file(weights)
        tensors.pop("lm_head.weight")
        save_file(tensors, weights, {"format": "pt"})
    elif kind == "NaN weights":
        tensors = load_file(weights)
        tensors["lm_head.weight"][0, 0] = float("nan")
        save_file(tensors, weights, {"format": "pt"})
    elif kind == "zeros":
        tensors = load_file(weights)
        tensors["lm_head.weight"].zero_()
        save_file(tensors, weights, {"format": "pt"})
    elif kind == "another shape":
        tensors = load_file(weights)
        tensors["lm_head.weight"] = tensors["lm_head.weight"][:5].clone()
        save_file(tensors, weights, {"format": "pt"})
    else:
        name = kind.removeprefix("half of ")
        content = (checkpoint / name).read_bytes()
        (checkpoint / name).write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("no optimiser", "has no optimiser state"),
        (
            "no scheduler",
            "has no scheduler.pt, though its optimiser state is there: it was copied partly",
        ),
        ("no weights", "it has no model.safetensors"),
        ("a shard is missing", "it has no model-2.safetensors"),
        ("some weights", "it lacks 1 of"),
        ("zeros", "1 of its weight matrices hold nothing but zeros (lm_head.weight)"),
        ("NaN weights", "its weights are not finite"),
        ("another shape", "does not fit this model"),
        ("half of model.safetensors", "is damaged: model.safetensors cannot be read"),
        ("half of optimizer.pt", "is damaged: optimizer.pt cannot be read"),
        ("half of scheduler.pt", "is damaged: scheduler.pt cannot be read"),
        ("half of rng_state.pth", "is damaged: rng_state.pth cannot be read"),
        ("half of trainer_state.json", "no checkpoint that was written to its end"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused(
    train: Any, out: Path, kind: str, says: str
) -> None:
    """Trainer would go on with a fresh optimiser, or with the base's weights, and say nothing."""
    checkpoint = out / "checkpoint-2"
    spoil(kind, checkpoint)
    code, lines = train(*STEPS, "--resume_from_checkpoint", checkpoint)
    errors = [line for line in lines if line.startswith("advisor: error")]
    assert code == 2 and len(errors) == 1 and says in errors[0] and str(checkpoint) in errors[0], (
        lines
    )


def test_a_checkpoint_of_weights_alone_is_refused(train: Any) -> None:
    """As the trainer itself makes it."""
    assert train(*STEPS, "--save_only_model", "true")[0] == 0
    code, lines = train(*STEPS, "--resume_from_checkpoint", "true")
    assert code == 2 and "has no optimiser state" in lines[-1] and "as MODEL" in lines[-1]


def test_where_there_is_nothing_to_go_on_from_that_is_said(train: Any, tmp_path: Path) -> None:
    """A script that is started again and again may always say `true`."""
    resume = ["--resume_from_checkpoint", "true"]
    code, lines = train(*STEPS, *resume)
    assert code == 0 and any("There is no whole checkpoint" in line for line in lines)
    (tmp_path / "out" / "checkpoint-4" / "trainer_state.json").write_text("")
    code, lines = train(*STEPS, *resume)
    assert code == 0 and any("checkpoint-4" in line and "Passed over" in line for line in lines)
    assert any("checkpoint-2, 2 of 4 steps" in line for line in lines)


def test_a_checkpoint_of_another_trainer_is_compared_by_its_files(
    train: Any, tmp_path: Path
) -> None:
    """Rate, steps and adapter stand in them; training_args.bin, a pickle, is not opened."""
    assert train(*STEPS, "--use_peft", "--lora_r", "4")[0] == 0
    path = tmp_path / "out" / "checkpoint-2" / "trainer_state.json"
    state = json.loads(path.read_text())
    del state["stateful_callbacks"]["MadeWith"]
    path.write_text(json.dumps(state))
    (path.parent / "training_args.bin").write_bytes(b"not to be read")
    own = ["--use_peft", "--lora_r", "4", "--resume_from_checkpoint", path.parent]
    for flags, says in (
        (["--learning_rate", "2e-3"], "--learning_rate 0.001, not"),
        (["--max_steps", "5"], "--max_steps 4, not"),
        (["--lora_r", "8"], "--lora_r 4, not"),
    ):
        code, lines = train(*STEPS, *own, *flags)
        assert code == 2 and says in lines[-1], lines
    assert train(*STEPS, *own)[0] == 0


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--lora_r", "8"], "--lora_r is of an adapter"),
        (["--lora_target_modules", "q_proj"], "add --use_peft"),
        (["--use_peft", "false", "--lora_alpha=4"], "--lora_alpha is of an adapter"),
        (["--use_dora", "true"], "--use_dora is of an adapter"),
        (["--load_in_4bit", "true"], "--load_in_4bit cannot be set"),
        (
            ["--restore_callback_states_from_checkpoint", "true"],
            "_from_checkpoint cannot be set: the advisor's callbacks go on from a checkpoint without it",
        ),
        (["--attn_implementation", "eager"], "--attn_implementation cannot be set"),
        (
            ["--objective", "dft", "--metric_for_best_model", "loss", "--load_best_model_at_end", "true",
             "--eval_split", "x", "--eval_strategy", "steps"],
            "choose by eval_nll",
        ),
    ],
)  # fmt: skip
def test_settings_that_would_do_nothing_or_harm_are_refused(
    train: Any, flags: list[str], says: str
) -> None:
    """Before any work, in one line."""
    code, lines = train(*STEPS, *flags)
    assert code == 2 and len(lines) == 1 and says in lines[0], lines


def test_one_name_of_a_target_is_the_name_of_modules(train: Any, tmp_path: Path) -> None:
    """Alone, `q_proj` would be a pattern for the whole path of a module, which no module's is."""
    assert train(*STEPS, "--use_peft", "--lora_target_modules", "q_proj")[0] == 0
    weights = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert len(weights) == 4 and all("q_proj" in name for name in weights)  # two layers, A and B
    for given, expected in (
        ("all-linear", "all-linear"),
        (".*_proj", ".*_proj"),
        ("v_proj", {"v_proj"}),
    ):
        words = ["--output_dir", "o", "--use_peft", "--lora_target_modules", given]
        adapter: LoraConfig = read_settings(words, {})[1]
        assert adapter.target_modules == expected


@pytest.mark.parametrize(("rate", "told"), [("1e-6", True), ("1e-2", False)])
def test_updates_below_the_resolution_are_said(
    train: Any, model_folder: Path, tmp_path: Path, rate: str, told: bool
) -> None:
    """At 1e-6 no weight of size 1 moves in bfloat16; the share said is that of all weights pulled at."""
    flags = ["--max_steps", "3", "--dtype", "bfloat16", "--learning_rate", rate]
    code, lines = train(*flags)
    cautions = [line for line in lines if "did not move" in line]
    assert code == 0 and len(cautions) == told, lines
    before, after = (
        load_file(folder / "model.safetensors") for folder in (model_folder, tmp_path / "out")
    )
    stayed = moved = 0
    for name, value in after.items():
        if "embed" not in name:  # rows of words that do not occur have no gradient
            same = value == before[name].to(torch.bfloat16)
            stayed, moved = stayed + int(same.sum()), moved + int((~same).sum())
    assert (stayed / (stayed + moved) > 0.9) == told
    if told:
        said = float(cautions[0].split("%")[0].split()[-1]) / 100
        assert said == pytest.approx(stayed / (stayed + moved), abs=0.03)


def chooser(model: Path, out: Path, objective: str, *flags: str) -> Any:
    """A trainer that makes `d i` likelier, and is evaluated on `d l`, which so gets less likely."""
    loaded = load_model(model)
    words = [
        *QUICK, "--output_dir", str(out), "--max_steps", "12", "--save_steps", "3", "--eval_steps", "3",
        "--eval_strategy", "steps", "--load_best_model_at_end", "true", "--learning_rate", "2e-2", *flags,
    ]  # fmt: skip
    config, _ = read_settings(words, {})
    train, other = (
        load_dataset(
            [{"prompt": "d ", "completion": word}] * 16, loaded.tokenizer, eos_token="none"
        )
        for word in "il"
    )
    return build_trainer(loaded, train, get_objective(objective), config, eval_dataset=other)


def curve(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


@pytest.mark.parametrize("objective", ["dft", "nll", "threshold(0.2)"])
def test_the_best_model_is_not_the_one_that_has_forgotten_most(
    model_folder: Path, tmp_path: Path, objective: str
) -> None:
    """p log p tends to 0 where p does: by that loss the worst checkpoint would be the best."""
    trainer = chooser(model_folder, tmp_path, objective)
    trainer.train()
    nll = curve(trainer, "eval_nll")
    assert nll == sorted(nll) and len(nll) == 4 and nll[-1] > nll[0] + 0.5
    if objective == "dft":
        loss = curve(trainer, "eval_loss")
        assert loss.index(min(loss)) == 3  # what Trainer would have chosen
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-3")
    assert trainer.state.best_metric == pytest.approx(nll[0])


def test_a_best_checkpoint_from_before_the_switch_is_said(
    model_folder: Path, tmp_path: Path
) -> None:
    trainer = chooser(model_folder, tmp_path, "nll>neg_p")
    trainer.train()
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-3")
    course, undone = trainer.notes
    assert course == "nll for steps 1 to 3 of 12."
    assert "the weights after step 3, the best by eval_nll" in undone
    surest = ["--metric_for_best_model", "eval_entropy", "--greater_is_better", "false"]
    last = chooser(model_folder, tmp_path, "nll>neg_p", *surest)
    last.train()
    assert last.notes == ("nll for steps 1 to 6, then neg_p for steps 7 to 12.",)


@pytest.mark.parametrize(
    ("objective", "flags", "told"),
    [
        ("nll>neg_p", [], True),
        ("nll>neg_p", ["--metric_for_best_model", "nll"], True),
        ("nll>neg_p", ["--metric_for_best_model", "eval_mean_p"], False),
        ("neg_p", [], False),
    ],
)
def test_a_choice_that_may_undo_a_stage_is_said_before_training(
    train: Any, data: Path, tmp_path: Path, objective: str, flags: list[str], told: bool
) -> None:
    for name in ("train", "test"):
        (tmp_path / "rows").mkdir(exist_ok=True)
        (tmp_path / "rows" / f"{name}.jsonl").write_text(data.read_text())
    words = [*STEPS, "--split", "train", "--eval_split", "test", "--eval_strategy", "steps"]
    words += ["--eval_steps", "2", "--load_best_model_at_end", "true", "--objective", objective]
    code, lines = train(*words, *flags, rows=tmp_path / "rows")
    found = [line for line in lines if "nll>neg_p(at=0.5) does late may be undone" in line]
    assert code == 0 and bool(found) == told, lines


def test_early_stopping_stops_a_collapse(model_folder: Path, tmp_path: Path) -> None:
    """By the default metric, as it gets worse; by the loss of DFT it would go on."""
    trainer = chooser(model_folder, tmp_path, "dft")
    trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=1))
    trainer.train()
    assert trainer.state.global_step == 6


def test_the_metric_does_not_depend_on_the_batch_of_evaluation(tmp_path: Path) -> None:
    """Trainer's mean over batches weighs a short answer's tokens more; a mean over tokens does not."""
    found = []
    for size in (1, 3, 16):
        trainer = build_plain(tmp_path, "dft", per_device_eval_batch_size=size)
        trainer.eval_dataset = Dataset.from_list(rows(16, seed=1))
        found.append(trainer.evaluate())
    nll = [one["eval_nll"] for one in found]
    assert nll == pytest.approx([nll[0]] * 3, rel=1e-5)
    assert found[0]["eval_loss"] != pytest.approx(found[2]["eval_loss"], rel=1e-3)


@pytest.mark.parametrize(
    ("flags", "metric", "greater"),
    [
        ([], "eval_nll", False),
        (["--metric_for_best_model", "eval_mean_p"], "eval_mean_p", True),
        (["--metric_for_best_model=nll"], "nll", False),
        (["--metric_for_best_model", "eval_nll"], "eval_nll", False),
    ],
)
def test_directions_of_metrics(flags: list[str], metric: str, greater: bool) -> None:
    """TRL takes every name that does not end in `loss` for larger is better, NLL among them."""
    words = ["--output_dir", "o", "--load_best_model_at_end", "true", "--eval_strategy", "steps"]
    config, _ = read_settings([*words, *flags], {})
    assert (config.metric_for_best_model, config.greater_is_better) == (metric, greater)


def test_library_users_get_the_same_default(model_folder: Path, data: Path, tmp_path: Path) -> None:
    """TRL's own default is the loss that is reported; an adapter's settings need not be given."""
    from trl import SFTConfig

    loaded = load_model(model_folder)
    dataset = load_dataset(str(data), loaded.tokenizer)
    settings = {"load_best_model_at_end": True, "eval_strategy": "steps", "save_strategy": "steps"}
    config = SFTConfig(str(tmp_path), report_to="none", use_cpu=True, bf16=False, **settings)
    assert config.metric_for_best_model == "loss"
    build_trainer(loaded, dataset, get_objective("dft"), config, eval_dataset=dataset)
    assert (config.metric_for_best_model, config.greater_is_better) == ("eval_nll", False)
    with pytest.raises(InputError, match="choose by eval_nll"):
        config.metric_for_best_model = "eval_loss"
        build_trainer(loaded, dataset, get_objective("dft"), config)
    assert newest_checkpoint(str(tmp_path)) is None
