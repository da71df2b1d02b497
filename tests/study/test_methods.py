"""How methods are written; DPO's pairs and loss; the model's own verified answers; batches that fit."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer

from advisor.data.dataset import load_dataset
from advisor.errors import InputError
from advisor.model.load import load_model
from advisor.objectives.table import Parameter
from harness.cli.main import main
from harness.distill.fire_settings import Fire
from harness.distill.self_settings import SelfTeaching
from harness.generate.own_answers import ArmRefused, answers_of, own_answers
from harness.records.arm import Arm, arm_of, source_of
from harness.records.runs import Results, RunSpec
from harness.records.target_sources import TARGET_SOURCES, Setting, TargetSource
from harness.runtime.memory import largest_that_fits
from harness.study.fit_arm import fit
from harness.study.methods import default_objectives, labels_of, read_method
from harness.study.problem import NEEDS, Problem, available
from harness.study.study import steps_of
from harness.study.study_settings import refuse_arms
from harness.study.target_effects import EFFECTS, fire_of, self_teaching_of
from harness.train.dpo import pairs, rejected_side
from harness.train.resampling import Resampling
from tests.helpers.tiny import tiny_tokenizer

PAIRS = [
    {"prompt": "a b", "chosen": f"{left} d", "rejected": f"{right} d"}
    for left, right in ("ce", "fg", "hi", "jk", "lm", "cd", "ef", "gh")
]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("dpo", "dpo"), ("DPO(0.10)", "dpo"), ("dpo(beta=0.5)", "dpo(0.5)"), ("sft", "nll"),
        ("dft@own", "neg_p@own"), ("-p@own(4)", "neg_p@own"), ("nll@own(16)", "nll@own(16)"),
        ("threshold(0.3)@own", "threshold(0.3)@own"), ("cadft@resampled", "cadft(1)@resampled"),
        ("cadft@resampled(0.005)", "cadft(1)@resampled"),
        ("cadft@resampled(.1)", "cadft(1)@resampled(0.1)"),
        ("OPD", "opd"), ("opd( sampled )", "opd(sampled)"), ("fire()", "fire"),
        ("fire(percentile=20)", "fire"), ("fire(beta=0,sampled)", "fire(sampled, beta=0)"),
        ("fire(per_teacher)", "fire(per_teacher)"), ("fire(percentile=50.0)", "fire(percentile=50)"),
        ("fire(alpha=0.12345678)", "fire(alpha=0.12345678)"), ("dpo(0.12345678)", "dpo(0.12345678)"),
        ("cadft@resampled(0.12345678)", "cadft(1)@resampled(0.12345678)"),
        ("opd (sampled)", "opd(sampled)"), ("OPD ()", "opd"), ("dpo (0.5)", "dpo(0.5)"),
        ("nll@own (8)", "nll@own(8)"), ("cadft@resampled (0.1)", "cadft(1)@resampled(0.1)"),
        ("nll>dft", "nll>neg_p(at=0.5)"), ("sft>-p(at=.5)@own(4)", "nll>neg_p(at=0.5)@own"),
        ("nll>cadft(at=.25)@own(8)", "nll>cadft(1, at=0.25)@own(8)"),
        ("nll@cascade(4)", "nll@cascade"), ("idft@cascade(8)", "idft(1, 0.1, 2)@cascade(8)"),
        ("SDFT", "sdft"), ("sdft(ema=0, reverse)", "sdft(reverse, ema=0)"),
        ("SimPO", "simpo"), ("simpo(gamma=1.6)", "simpo(gamma=1.6)"),
        ("simpo(beta=2.5, gamma=0)", "simpo(beta=2.5, gamma=0)"),
        ("fire (alpha=-0)", "fire(alpha=0)"), ("fire(beta=-0.0)", "fire(beta=0)"),
    ],
)  # fmt: skip
def test_methods_are_read_and_written(text: str, label: str) -> None:
    assert read_method(text).label == label
    assert read_method(label) == read_method(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dpo(0)", "above 0"), ("dpo(nan)", "above 0"), ("dpo(x)", "not a number"), ("dft@mine", "own(K)"),
        ("dft@own(0)", "own(K)"), ("dft@own(1.5)", "own(K)"), ("dpo@own", "unknown objective"),
        ("cadft@rewritten(0.1)", "objective cadft@rewritten(0.1): rewritten is now resampled"),
        ("nll@resampled", "second stage of cadft"), ("cadft@resampled(0)", "at most 1"),
        ("cadft@resampled(10%)", "not a number"), ("opd(alpha=1)", "opd takes sampled"),
        ("fire(1)", "fire takes sampled, alpha=NUMBER"), ("fire(alpha)", "fire takes"),
        ("fire(percentile=x)", "not a number"), ("fire(alpha=1, alpha=2)", "'alpha=2'"),
        ("opd@own", "unknown objective"), ("simpo(beta=0)", "above 0"), ("simpo(2)", "beta=NUMBER"),
        ("sdft(skip=0.5)", "whole number"), ("sdft(ema=2)", "at most 1"), ("dft@cascade(0)", "cascade(K)"),
    ],
)  # fmt: skip
def test_what_is_no_method_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match="objective") as refusal:
        read_method(text)
    assert says in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(("arm", "chosen"), [("cadft@resampled", 3), ("cadft@resampled(0.5)", 12)])
def test_resampling_takes_its_share_at_each_of_three_times(
    arm: str, chosen: int, model_folder: Path
) -> None:
    spec = spec_of(arm, per_device_train_batch_size=8, max_steps=6)
    _, found = fit(spec, problem_of(model_folder, read(PAIRS)))
    assert len(found.of_targets["resampling"]["steps"]) == 3
    assert found.of_targets["resampling"]["chosen"] == chosen


@pytest.mark.parametrize("objective", ["tailsft", "tailsft(whole=1)"])
def test_no_smaller_micro_batch_is_tried_where_the_objective_selects_within_it(
    objective: str, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks where a run that memory has no room for becomes one of another objective under its name."""
    sizes = []

    def lacks(trainer: Any, begin: Any) -> None:
        sizes.append(trainer.args.per_device_train_batch_size)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("harness.study.fit_arm.train_from", lacks)
    spec = spec_of(objective, per_device_train_batch_size=4, max_steps=2)
    with pytest.raises(torch.OutOfMemoryError):
        fit(spec, problem_of(model_folder, read(PAIRS)))
    assert sizes == ([4] if objective == "tailsft" else [4, 2, 1])


@pytest.mark.parametrize("row", TARGET_SOURCES.values(), ids=lambda row: row.name)
def test_every_source_of_targets_is_one_row_and_what_it_does(row: TargetSource) -> None:
    """Its name, its arm and its label lead back to it; what it needs is known, what it does is bound."""
    objective = row.objective or "nll"
    text = f"{objective}@{row.name}" if row.after_at else row.name if row.own_loss else objective
    method = read_method(text)
    assert method.source is row and method.values == {s.name: s.default for s in row.settings}
    arm = arm_of(method.label)
    assert source_of(arm) is row and arm.method == method.label
    assert set(row.needs) <= NEEDS.keys() and EFFECTS.keys() == TARGET_SOURCES.keys()
    assert row.does and row.source
    assert row.written.rpartition("@")[2].startswith(text.rpartition("@")[2].replace("nll", "OBJ"))


def test_settings_of_a_source_have_the_defaults_of_what_they_are_handed_to() -> None:
    assert fire_of(read_method("fire")) == Fire()
    assert read_method("cadft@resampled").values == {"share": Resampling().share}


def test_a_new_source_is_written_and_read_by_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    cold = Setting(name="cold", meaning="greedily")
    heat = Setting(
        name="heat", meaning="of sampling", number=Parameter(default=0.5, low=0.0, high=2.0)
    )
    written = "OBJECTIVE@drawn(cold, heat=HEAT)"
    row = TargetSource(
        name="drawn", written=written, does="something", source="ours", settings=(cold, heat)
    )
    monkeypatch.setitem(TARGET_SOURCES, "drawn", row)
    method = read_method("dft@drawn(heat=1.5, cold)")
    assert method.label == "neg_p@drawn(cold, 1.5)" and read_method(method.label) == method
    assert arm_of(method.label) == Arm(objective="neg_p", targets="drawn(cold, 1.5)")
    for text, says in (
        ("dft@drawn(3)", "heat = 3 lies outside its range, a number of 0 or more, at most 2: write "),
        ("dft@drawn(cold, cold)", "'cold': drawn takes cold, heat=NUMBER"),
        ("dft@drown", "did you mean drawn"),
    ):  # fmt: skip
        with pytest.raises(InputError) as refusal:
            read_method(text)
        assert says in str(refusal.value)


@pytest.mark.parametrize("arm", ["nll@own", "nll@cascade", "dpo", "simpo", "opd", "fire"])
def test_what_an_arm_needs_is_asked_for_before_any_work_and_again_by_a_run(
    arm: str, model_folder: Path
) -> None:
    problem = problem_of(model_folder, read([{"prompt": "a", "chosen": "b"}]))
    with pytest.raises(InputError) as early:
        refuse_arms([arm], {}, problem)
    with pytest.raises(ArmRefused) as late:
        fit(spec_of(arm), problem)
    assert str(early.value) == f"--objectives {arm}: {late.value}" and "\n" not in str(late.value)
    assert available(problem) == {"unweighted"} and not {arm} & set(default_objectives("nll"))


def test_a_cascade_and_a_model_that_teaches_itself_are_arms(model_folder: Path) -> None:
    rows = read(PAIRS)
    _, found = fit(
        spec_of("nll@cascade(2)", per_device_train_batch_size=4),
        problem_of(model_folder, rows, answer_pattern=LAST),
    )
    ways = found.of_targets["cascade"]
    assert ways["own"] + ways["guided"] + ways["demonstration"] == len(PAIRS)
    assert found.steps
    _, taught = fit(
        spec_of("sdft(skip=0)", per_device_train_batch_size=4), problem_of(model_folder, rows)
    )
    assert taught.steps and all(step["loss"] > 0 for step in taught.steps)
    assert self_teaching_of(read_method("sdft")) == SelfTeaching()
    assert self_teaching_of(read_method("sdft(reverse, ema=0, skip=1)")) == SelfTeaching(
        ema=0.0, skip=1, reverse=True
    )
    assert self_teaching_of(read_method("opd")) is None


def test_settings_of_fire_reach_it_and_are_checked() -> None:
    method = read_method("fire(sampled, alpha=0.5, percentile=0, per_teacher)")
    assert fire_of(method) == Fire(alpha=0.5, percentile=0.0, filter_per_teacher=True)
    assert method.values["sampled"] and fire_of(read_method("opd")) is None
    with pytest.raises(InputError, match="outside"):
        read_method("fire(percentile=101)")


def test_distillation_is_a_default_arm_only_where_there_is_a_teacher() -> None:
    assert default_objectives("nll", {"teacher", "unweighted"})[-2:] == ("opd", "fire")
    for has in ({"pairs", "unweighted"}, {"teacher"}):  # nor where the data weigh their targets
        assert not {"opd", "fire"} & set(default_objectives("nll", has))


def test_dpo_is_a_default_arm_only_where_there_are_pairs() -> None:
    assert default_objectives("cadft") == ("nll", "neg_p", "threshold", "cadft")
    assert default_objectives("nll", {"pairs", "unweighted"})[-1] == "dpo"
    assert "dpo" not in default_objectives("nll", {"pairs"})
    assert labels_of(["dpo", "dft", "neg_p"]) == ("nll", "dpo", "neg_p")


def read(rows: Any) -> Any:
    return load_dataset(
        list(rows), tiny_tokenizer(), prompt_field="prompt", completion_field="chosen"
    )


def test_pairs_share_their_prompt_and_are_tokenised_as_the_demonstrations() -> None:
    dataset = read([*PAIRS, {"prompt": "a", "chosen": "c d", "rejected": "c d"}])
    other = rejected_side(dataset, read)
    assert other is not None
    found = pairs(dataset, other)
    assert len(found) == len(PAIRS)  # what does not differ says nothing
    for pair, row, one, two in zip(found, PAIRS, dataset, other, strict=False):
        assert pair["prompt_ids"] + pair["chosen_ids"] == one.input_ids
        assert pair["prompt_ids"] + pair["rejected_ids"] == two.input_ids
        first = (
            dataset.tokenizer.decode(pair["chosen_ids"][0]),
            dataset.tokenizer.decode(pair["rejected_ids"][0]),
        )
        assert first == (row["chosen"][0], row["rejected"][0])


def test_without_two_columns_that_differ_there_are_no_pairs() -> None:
    plain = read([{"prompt": "a", "chosen": "c"}])
    assert rejected_side(plain, read) is None
    same = read([{"prompt": "a", "chosen": "c", "rejected": "c"}])
    assert rejected_side(same, read) is None

    def elsewhere(rows: Any) -> Any:
        return load_dataset(list(rows), tiny_tokenizer())

    given = elsewhere([{"prompt": "a", "completion": "b", "chosen": "c", "rejected": "d"}])
    assert rejected_side(given, elsewhere) is None  # the targets are not the chosen answers


def problem_of(folder: Path, dataset: Any, **more: Any) -> Problem:
    settings: dict[str, Any] = {
        "loading": {"device": "cpu"},
        "held_out": None,
        "tasks": (),
        "domain": "user",
    }
    return Problem(model=str(folder), train=dataset, **{**settings, **more})


def spec_of(objective: str, rate: float = 1e-2, **training: Any) -> RunSpec:
    return RunSpec(
        model="m", model_fingerprint="f", dataset="d", dataset_fingerprint="g", split=None,
        arm=arm_of(objective, learning_rate=rate), seed=3, training={"logging_steps": "1", **training},
        tasks=("t",), evaluation={"temperature": 1.0},
    )  # fmt: skip


def log_p(model: Any, pair: dict[str, list[int]], end: str) -> torch.Tensor:
    """Log-probability of one answer after its prompt, from the logits."""
    ids = torch.tensor([pair["prompt_ids"] + pair[end]])
    logp = model(input_ids=ids).logits.log_softmax(-1)[0, :-1]
    picked: torch.Tensor = logp.gather(1, ids[0, 1:, None])[:, 0]
    return picked[len(pair["prompt_ids"]) - 1 :].sum()


def test_dpo_lowers_the_published_loss_and_keeps_the_settings(model_folder: Path) -> None:
    dataset = read(PAIRS)
    other = rejected_side(dataset, read)
    assert other is not None
    problem = problem_of(model_folder, dataset, rejected=other, held_out=read(PAIRS[:2]))
    spec = spec_of(
        "dpo(0.5)", 1e-3, per_device_train_batch_size=8, max_steps=3, lr_scheduler_type="constant"
    )
    loaded, found = fit(spec, problem)
    reference = load_model(str(model_folder), device="cpu").model

    def loss(model: Any) -> float:  # arXiv:2305.18290, equation 7
        total = 0.0
        for pair in pairs(dataset, other):
            gaps = [
                log_p(m, pair, "chosen_ids") - log_p(m, pair, "rejected_ids")
                for m in (model, reference)
            ]
            total += float(-torch.nn.functional.logsigmoid(0.5 * (gaps[0] - gaps[1])).detach())
        return total / len(PAIRS)

    assert loss(reference) == pytest.approx(math.log(2))
    losses = [step["loss"] for step in found.steps]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert loss(loaded.model) < losses[2] < losses[1] < losses[0]
    assert [step["learning_rate"] for step in found.steps] == [1e-3] * 3
    assert found.steps[-1]["rewards/margins"] > 0 and not loaded.model.training
    assert found.tokens == 3 * sum(len(e.input_ids) for side in (dataset, other) for e in side)
    assert found.held_out["nll"] > 0 and 0 < found.held_out["p_eos"] < 1


def test_dpo_takes_the_steps_of_the_formula(model_folder: Path) -> None:
    """Two steps of plain SGD, the second with a model that is no longer the reference."""
    dataset = read(PAIRS)
    other = rejected_side(dataset, read)
    assert other is not None
    settings = {"optim": "sgd", "max_steps": 2, "max_grad_norm": 0, "lr_scheduler_type": "constant"}
    spec = spec_of("dpo", per_device_train_batch_size=8, **settings)
    loaded, _ = fit(spec, problem_of(model_folder, dataset, rejected=other))
    model = load_model(str(model_folder), device="cpu").model.requires_grad_(True)
    reference = load_model(str(model_folder), device="cpu").model
    for _ in range(2):
        model.zero_grad()
        for pair in pairs(dataset, other):
            gaps = [
                log_p(m, pair, "chosen_ids") - log_p(m, pair, "rejected_ids")
                for m in (model, reference)
            ]
            (
                -torch.nn.functional.logsigmoid(0.1 * (gaps[0] - gaps[1].detach())) / len(PAIRS)
            ).backward()
        with torch.no_grad():
            for weight in model.parameters():
                weight -= 1e-2 * weight.grad
    for ours, theirs in zip(loaded.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_simpo_takes_the_steps_of_the_formula(model_folder: Path) -> None:
    """Two steps of plain SGD; answers that begin alike are divided by all of their tokens."""
    rows = [*PAIRS, {"prompt": "a", "chosen": "c d e f", "rejected": "c d"}]
    dataset = read(rows)
    other = rejected_side(dataset, read)
    assert other is not None
    settings = {"optim": "sgd", "max_steps": 2, "max_grad_norm": 0, "lr_scheduler_type": "constant"}
    spec = spec_of("simpo(beta=2.5, gamma=0.5)", per_device_train_batch_size=9, **settings)
    loaded, found = fit(spec, problem_of(model_folder, dataset, rejected=other))
    model = load_model(str(model_folder), device="cpu").model.requires_grad_(True)
    expected = []
    for _ in range(2):
        model.zero_grad()
        total = torch.zeros(())
        for row, one, two in zip(rows, dataset, other, strict=True):
            first = 1 + row["prompt"].count(" ")
            whole = [
                {"prompt_ids": e.input_ids[:first], "end": e.input_ids[first:]} for e in (one, two)
            ]
            assert [e.labels[first - 1] for e in (one, two)] == [-100, -100] != one.labels[first:]
            means = [log_p(model, pair, "end") / len(pair["end"]) for pair in whole]
            gap = 2.5 * (means[0] - means[1]) - 0.5
            total = total - torch.nn.functional.logsigmoid(gap) / len(rows)
        total.backward()
        expected.append(float(total.detach()))
        with torch.no_grad():
            for weight in model.parameters():
                weight -= 1e-2 * weight.grad
    assert [step["loss"] for step in found.steps] == pytest.approx(expected, abs=1e-4)
    assert "rewards/margins" in found.steps[0]
    for ours, theirs in zip(loaded.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


class Parrot:
    """Stands for `generate`: gives scripted answers, notes what it was asked."""

    def __init__(self, tokenizer: Any, answers: dict[str, list[str]]) -> None:
        self.tokenizer, self.answers, self.asked = tokenizer, answers, []

    def __call__(self, input_ids: Any, attention_mask: Any, **settings: Any) -> Any:
        self.asked.append((input_ids, attention_mask, settings))
        rows = []
        for ids, mask in zip(input_ids, attention_mask, strict=True):
            prompt = self.tokenizer.decode(ids[mask.bool()])
            for answer in self.answers[prompt]:
                new = self.tokenizer(answer, add_special_tokens=False)["input_ids"]
                rows.append(ids.tolist() + new + [0] * (6 - len(new)))
        return torch.tensor(rows)


QUESTIONS = [
    {"prompt": "a ", "completion": "b c"}, {"prompt": "a b ", "completion": "c d"},
    {"prompt": "b ", "completion": "e f"},
]  # fmt: skip
ANSWERS = {  # the last word is the answer
    "a": ["b c <eos>", "k c <eos>", "b c <eos>", "b d <eos>"],  # two distinct ones are right
    "a b": ["k <eos>", "l <eos>", "c d", "m <eos>"],  # the right one does not come to an end
    "b": ["f <eos> m m", "g <eos>", "g <eos>", "g <eos>"],  # one, in other words
}
LAST = r"(\w) ?$"


def asked(model_folder: Path, monkeypatch: Any, answers: dict[str, list[str]], heat: float) -> Any:
    loaded = load_model(str(model_folder), device="cpu")
    dataset = load_dataset(QUESTIONS, loaded.tokenizer)
    parrot = Parrot(loaded.tokenizer, answers)
    monkeypatch.setattr(loaded.model, "generate", parrot)
    settings: dict[str, Any] = {"pattern": LAST, "per_prompt": 4, "temperature": heat, "seed": 0}
    return (*own_answers(loaded, dataset, **settings), parrot)


def test_own_answers_are_kept_where_they_are_right(model_folder: Path, monkeypatch: Any) -> None:
    own, sampled, parrot = asked(model_folder, monkeypatch, ANSWERS, 0.0)
    texts = sorted(own.tokenizer.decode(example.input_ids) for example in own)
    assert texts == ["a b c <eos>", "a k c <eos>", "b f <eos>"]
    for example in own:
        prompt = 1
        assert example.labels == [-100] * prompt + example.input_ids[prompt:]
        assert example.terminators == (len(example.input_ids) - 1,)
    assert sampled.to_dict() == {
        "prompts": 3, "per_prompt": 4, "temperature": 1.0, "right": 4 / 12, "kept": 3, "covered": 2 / 3,
    }  # fmt: skip
    ((_, mask, settings),) = parrot.asked
    assert mask.tolist() == [[0, 1], [0, 1], [1, 1]]  # padded on the left
    assert settings["temperature"] == 1.0 and settings["do_sample"] and settings["top_k"] == 0
    assert asked(model_folder, monkeypatch, ANSWERS, 0.5)[1].temperature == 0.5


def test_nothing_right_is_a_refusal_of_the_arm(model_folder: Path, monkeypatch: Any) -> None:
    wrong = {prompt: ["m <eos>"] * 4 for prompt in ANSWERS}
    with pytest.raises(
        ArmRefused, match="none of the untouched model's 4 answers to each of 3 prompts"
    ):
        asked(model_folder, monkeypatch, wrong, 1.0)


def test_answers_that_can_be_checked_are_found() -> None:
    rows = [{"prompt": "a", "completion": r"b \boxed{c}"}]
    tokenizer = tiny_tokenizer()
    assert answers_of(load_dataset(rows, tokenizer), None) is None  # its words are no answer
    assert answers_of(load_dataset(rows, tokenizer), LAST) == LAST


def test_the_largest_batch_that_fits_is_found() -> None:
    tried = []

    def works(size: int) -> int:
        tried.append(size)
        if size > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return size

    assert largest_that_fits(works, 12, "rows") == 3 and tried == [12, 6, 4, 3]
    assert largest_that_fits(lambda size: size, 8, "rows") == 8

    def never(size: int) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(torch.OutOfMemoryError):
        largest_that_fits(never, 4, "rows")

    def broken(size: int) -> int:
        tried.append(size)
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        largest_that_fits(broken, 4, "rows")
    assert tried[-2:] == [3, 4]  # tried once


@pytest.mark.parametrize("objective", ["neg_p", "dpo"])
def test_a_lack_of_memory_changes_nothing_but_the_micro_batches(
    model_folder: Path, monkeypatch: Any, objective: str
) -> None:
    dataset = read(PAIRS)
    problem = problem_of(model_folder, dataset, rejected=rejected_side(dataset, read))
    spec = spec_of(objective, per_device_train_batch_size=8, num_train_epochs=2, optim="sgd")
    whole, log = fit(spec, problem)
    sizes: list[tuple[int, int]] = []
    step = Trainer.training_step

    def scarce(self: Any, *args: Any, **kwargs: Any) -> Any:
        size = self.args.per_device_train_batch_size
        if not self.state.global_step and size not in dict(sizes):
            sizes.append((size, self.args.gradient_accumulation_steps))
        if self.state.global_step and size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", scarce)
    small, again = fit(spec, problem)
    assert sizes == [(8, 1), (4, 2), (2, 4)]
    assert [s["step"] for s in again.steps] == [s["step"] for s in log.steps] == [1, 2]
    assert again.tokens == log.tokens
    for ours, theirs in zip(small.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_steps_of_a_run() -> None:
    assert steps_of({"max_steps": "7"}, 100) == 7
    assert steps_of({"num_train_epochs": "2"}, 20) == 6  # 3 steps an epoch
    assert steps_of({"num_train_epochs": "0.3"}, 600) == 23  # as Trainer: 22.5, rounded up
    assert (
        steps_of({"per_device_train_batch_size": "4", "gradient_accumulation_steps": "2"}, 16) == 2
    )


FLAGS = ["--learning_rates", "1e-3", "--seeds", "1", "--max_steps", "1", "--temperature", "0", "--json",
         "--prompt_field", "prompt", "--answer_regex", r"([c-m])"]  # fmt: skip


def write_rows(write: Any, **columns: str) -> Path:
    letters = "cdefghijklm"
    rows = [
        {"prompt": f"{a} {b} {c}", **{name: text.format(a=a, b=b, c=c) for name, text in columns.items()}}
        for a in letters for b in letters for c in "ab"
    ]  # fmt: skip
    path: Path = write("d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_confirmation_with_pairs_and_an_arm_that_is_refused(
    capsys: Any, model_folder: Path, write: Any, tmp_path: Path
) -> None:
    data = write_rows(write, chosen=" {a} {b}", rejected=" {b} {c}")
    words = ["confirm", str(model_folder), str(data), *FLAGS, "--completion_field", "chosen"]
    words += ["--chat_template", "none", "--results", str(tmp_path)]
    capsys.readouterr()
    never = ["--answer_regex", r"^([c-m] [c-m])(?= $| ?<eos>$|$)"]
    code = main(
        [*words, *never, "--objectives", "dpo", "cadft", "dft@own(1)", "--logging_steps", "1"]
    )
    output = capsys.readouterr()
    assert code == 0, output.err
    arms = {Arm(**row["arm"]).label for row in json.loads(output.out)["rows"]}
    assert arms == {"nll", "nll, lr/10", "dpo", "cadft(1)"}
    assert "neg_p@own(1) is left out: none of the untouched model's 1 answers" in output.err
    runs = {run.spec.arm.method: run for run in Results(tmp_path).runs()}
    assert set(runs) == {"base", "nll", "dpo", "cadft(1)"}
    assert runs["dpo"].steps[0]["loss"] == pytest.approx(math.log(2), abs=0.1)
    assert "nll" in runs["dpo"].held_out and "nll" in runs["cadft(1)"].held_out
    assert [run.spec.arm.method for run in Results(tmp_path).failed()] == ["neg_p@own(1)"]


def test_a_confirmation_says_that_the_data_had_weights(
    capsys: Any, model_folder: Path, write: Any, tmp_path: Path
) -> None:
    data = write_rows(write, completion=" {a} {b}")
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    rows = [{**row, "quality": 0.5 + 3 * (i % 2)} for i, row in enumerate(rows)]
    write("d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    words = ["confirm", str(model_folder), str(data), *FLAGS, "--completion_field", "completion"]
    words += ["--weight_field", "quality", "--chat_template", "none", "--results", str(tmp_path)]
    assert main([*words, "--objectives", "dft", "--logging_steps", "1"]) == 0
    capsys.readouterr()
    runs = list(Results(tmp_path).runs())
    assert {run.spec.arm.method for run in runs} == {"base", "nll", "neg_p"}
    for run in runs:
        assert run.prior is not None and run.spec.reading is not None
        assert run.prior["weights"].startswith("0.5 to 3.5 in ")
        assert run.spec.reading["weight_field"] == "quality"
        assert run.prior["dataset"]["weight_field"] == "quality"
    [step] = next(run for run in runs if run.spec.arm.method == "nll").steps
    assert (
        step["mean_weight"] != 1
    )  # as that of NLL itself is; no eight of these weights are 8 in all
    assert main(["compare", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "trained with weights of the data, 0.5 to 3.5 in" in captured.out + captured.err


@pytest.mark.parametrize(
    ("columns", "field", "objective", "says"),
    [
        ({"completion": " {a}"}, "completion", "dpo", "has no pairs"),
        ({"chosen": "{a}", "rejected": "{a}"}, "chosen", "dpo", "has no pairs"),
        (
            {"chosen": "{a}", "rejected": "{b}", "weight": "2"},
            "chosen",
            "dpo",
            "weigh their targets",
        ),
        ({"completion": " {a}", "weight": "2"}, "completion", "nll@own(1)", "weigh their targets"),
    ],
)
def test_arms_that_the_data_do_not_allow_are_refused_at_once(
    capsys: Any, model_folder: Path, write: Any, tmp_path: Path, columns: Any, field: str, objective: str,
    says: str,
) -> None:  # fmt: skip
    data = write_rows(write, **columns)
    words = ["confirm", str(model_folder), str(data), *FLAGS, "--completion_field", field]
    code = main([*words, "--objectives", objective, "--results", str(tmp_path / "r")])
    errors = [x for x in capsys.readouterr().err.splitlines() if x.startswith("advisor: error")]
    assert code == 2 and len(errors) == 1 and says in errors[0]
    assert not list((tmp_path / "r").rglob("*.json"))
