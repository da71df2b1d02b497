"""The benches on tiny sizes: that wrong numbers fail them, and that ratios and records come out."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from advisor.model.forward import extend_forward
from harness.experiments.bench import __main__ as command
from harness.experiments.bench import (
    goals,
    head,
    measure,
    models,
    peers,
    probe,
    problem,
    step,
    variants,
)
from harness.experiments.bench.measure import Conditions, Ratio, WrongNumbers
from tests.helpers.paths import ROOT

QUICK = Conditions(rounds=1, peers=False, memory=False)
TINY = problem.Case(shape="tiny")
HALF = problem.Case(shape="tiny", supervised=50)


def silent(line: str) -> None:
    del line


def undetached(made: problem.Problem) -> None:
    nll = peers.full_logits(made.hidden, made.weight, made.labels)
    ((-nll).exp() * nll).sum().div(len(made.rows)).backward()


def counts_prompts(made: problem.Problem) -> None:
    nll = peers.full_logits(made.hidden, made.weight, made.labels)
    ((-nll).exp().detach() * nll).sum().div(len(made.labels)).backward()


def shifted(made: problem.Problem) -> None:
    nll = peers.full_logits(made.hidden, made.weight, made.labels.roll(1))
    ((-nll).exp().detach() * nll).sum().div(len(made.rows)).backward()


def without_weight_gradient(made: problem.Problem) -> None:
    variants.ours("dft")(made)
    made.weight.grad = torch.zeros_like(made.weight)


@pytest.mark.parametrize("wrong", [undetached, counts_prompts, shifted, without_weight_gradient])
def test_a_wrong_head_fails_before_it_is_timed(
    wrong: variants.Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "interleave", lambda *_, **__: pytest.fail("timed"))
    with pytest.raises(WrongNumbers, match="ours dft"):
        head.run_case(HALF, QUICK, silent, replace={"ours dft": wrong})


def test_a_wrong_peer_is_left_out_and_named() -> None:
    lines: list[str] = []
    record = head.run_case(HALF, QUICK, lines.append, replace={"wrong dft": counts_prompts})
    assert "wrong dft" not in record["variants"]
    assert any(
        line.startswith("left out: wrong dft (relative gradient error 5.0e-01") for line in lines
    )


def test_exact_gradients_are_those_of_the_published_losses() -> None:
    made = problem.make(TINY, QUICK)
    exact = problem.exact_gradients(made)
    h, w = (x.detach().double().requires_grad_() for x in (made.hidden, made.weight))
    nll = torch.nn.functional.cross_entropy(h @ w.T, made.labels, reduction="none")
    for name, loss in (("nll", nll), ("-p", -(-nll).exp()), ("dft", (-nll).exp().detach() * nll)):
        expected = torch.autograd.grad(loss.mean(), (h, w), retain_graph=True)
        torch.testing.assert_close(exact[name], expected, rtol=1e-12, atol=1e-15)


def test_thresholds_keep_the_shares_in_their_names() -> None:
    made = problem.make(problem.Case(shape="tiny", dtype="bfloat16"), QUICK)
    logits = made.hidden.detach().float() @ made.weight.detach().float().T
    p = logits.softmax(-1).gather(1, made.labels[:, None])
    for log_odds, kept in ((problem.KEEP_HALF, 0.5), (problem.KEEP_TENTH, 0.1)):
        share = float((p >= torch.tensor(log_odds).sigmoid()).float().mean())
        assert share == pytest.approx(kept, abs=0.03)


def test_every_head_variant_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cut_cross_entropy", None)  # it compiles for half a minute
    lines: list[str] = []
    record = head.run_case(HALF, Conditions(rounds=1, memory=False), lines.append)
    assert any(line.startswith("left out: cce (") for line in lines)
    errors = {name: found["error"] for name, found in record["variants"].items()}
    assert {"floor", "ours nll", "hf nll", "reference dft", "trl as sft dft"} <= set(errors)
    assert all(error < 1e-4 for name, error in errors.items() if not name.startswith("floor"))


def leaking(batch: list[Any], device: str) -> dict[str, torch.Tensor]:
    inputs = models.packed(batch, device)
    inputs["position_ids"] = torch.arange(inputs["input_ids"].shape[1])[None]
    return inputs


def micro_batch_mean(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return step.ours(model, batch) * 2


@pytest.mark.parametrize(
    "wrong", [(step.ours, leaking), (micro_batch_mean, models.padded)], ids=["attention", "count"]
)
def test_a_wrong_step_fails(wrong: Any) -> None:
    with pytest.raises(WrongNumbers, match="ours packed"):
        step.run_case("float32", QUICK, silent, tiny=True, replace={"ours packed": wrong})


def test_packing_changes_no_gradient() -> None:
    model = models.make_model(models.TINY, 97, torch.float64, "cpu", 0).train()
    extend_forward(model)
    pairs = models.make_pairs(6, 97, 0, prompt=8, completion=5)
    gradients = []
    for collate in (models.padded, models.packed):
        model.zero_grad()
        step.ours(model, collate(pairs, "cpu")).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])  # type: ignore[union-attr]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-6)


def off_by_one(model: Any, pairs: Any) -> Any:
    score = probe.ours(model, pairs)
    return lambda: [np.roll(scores, 1) for scores in score()]


def test_a_wrong_probe_fails() -> None:
    case = probe.Case(vocabulary=97, tiny=True)
    with pytest.raises(WrongNumbers, match="log p is off"):
        probe.run_case(case, QUICK, silent, replace={"ours": off_by_one})


def test_useful_operations_count_the_weights_of_the_body_once_a_token() -> None:
    model, pairs = probe.make(probe.Case(vocabulary=97, tiny=True), QUICK)
    tokens, size = sum(len(pair.input_ids) for pair in pairs), models.TINY
    matrices = 4 * size.hidden**2 + 3 * size.hidden * size.intermediate
    body = 2 * tokens * size.layers * matrices
    attention = 2 * size.layers * size.hidden * sum(len(pair.input_ids) ** 2 for pair in pairs)
    on_targets = 2 * size.hidden * 97 * sum(pair.target_tokens for pair in pairs)
    # the norms' weights are counted as well: half a per cent here
    assert probe.useful_operations(model, pairs) == pytest.approx(
        body + attention + on_targets, rel=0.01
    )


def test_rounds_are_shuffled_and_the_first_is_dropped() -> None:
    ran: list[str] = []
    names = {name: (lambda name=name: ran.append(name)) for name in "abcd"}
    times = measure.interleave(names, Conditions(rounds=4))
    rounds = ["".join(ran[i : i + 4]) for i in range(0, 16, 4)]
    assert all(sorted(order) == list("abcd") for order in rounds)
    assert len(set(rounds)) > 1
    assert all(len(seconds) == 3 for seconds in times.values())


def test_a_ratio_is_taken_within_rounds() -> None:
    assert measure.ratio([2.0, 30.0, 4.0], [1.0, 10.0, 1.0]) == Ratio(median=3, low=2, high=4)


@pytest.mark.skipif(not measure.can_measure_memory("cpu"), reason="this system tells no peak")
def test_peak_memory_is_what_a_run_adds() -> None:
    """In a process of its own, as the benches measure: in this one others may have left memory to use."""
    code = (
        "import torch; from harness.experiments.bench.measure import MIB, peak_extra as peak; "
        "print(peak(lambda: torch.ones(16 * MIB), 'cpu'), peak(lambda: None, 'cpu'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    ones, nothing = map(int, done.stdout.split())
    assert ones == pytest.approx(64 * measure.MIB, rel=0.1)
    assert nothing < 8 * measure.MIB


def test_the_command_prints_the_goals_and_writes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bench" / "head.json"
    arguments = ["head", "--shapes", "tiny", "--rounds", "1", "--no_peers", "--no_memory"]
    arguments += ["--dtypes", "float32", "--supervised", "100", "--output_path", str(path)]
    monkeypatch.setattr(sys, "argv", ["harness.experiments.bench", *arguments])
    threads = torch.get_num_threads()
    try:
        command.main()
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert re.search(r"^H1 .* <= 1.2 .* (met|missed)$", printed, re.MULTILINE)
    assert f"torch {torch.__version__}" in printed
    assert "load average" in printed and "GFLOP/s" in printed
    record = json.loads(path.read_text(encoding="utf-8"))
    assert {goal["name"] for goal in record["goals"]} == {"A1", "H1", "H7", "H8"}
    assert record["cases"][0]["variants"]["ours dft"]["seconds"][0] > 0
    assert str(Path.cwd()) not in path.read_text(encoding="utf-8")


def test_a_goal_is_met_on_the_right_side_of_its_bound() -> None:
    at = Ratio(median=1.2, low=1, high=2)
    for at_least, bound, met in ((False, 1.2, True), (False, 1.1, False), (True, 1.3, False)):
        goal = goals.Goal(name="H", what="", where="", bound=bound, measured=at, at_least=at_least)
        assert goal.met is met
        assert goals.table([goal])[1].endswith("met" if met else "missed")
