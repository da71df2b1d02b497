"""The bench of real models, on one of the ladder: ours and TRL take the same steps; what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.experiments.bench import real
from harness.experiments.bench.real import goals_of
from harness.experiments.bench.real_steps import OURS, TRL, Request, run
from harness.ladder import resolve

ROWS = [{"prompt": f"{i}+{i}=", "completion": str(2 * i) + "0" * (i % 3)} for i in range(7, 15)]


@pytest.mark.parametrize(("objective", "lora"), [("nll", False), ("dft", True)])
def test_all_variants_take_the_same_steps(objective: str, lora: bool) -> None:
    request = Request(
        variant="", model=str(resolve("strong")[0]), rows=ROWS, batch=4, objective=objective, max_length=64,
        lora=lora, threads=1, device="cpu",
    )  # fmt: skip
    found = {name: run(replace(request, variant=name)) for name in (*OURS, TRL)}
    assert {len(one["seconds"]) for one in found.values()} == {2}
    for name in OURS:
        assert found[name]["loss"] == pytest.approx(found[TRL]["loss"], rel=1e-5)


def test_goals_are_ratios_without_the_first_step() -> None:
    ours = {"seconds": [9.0, 1.0, 1.0], "peak": 4 * 2**30, "loss": 1.0}
    theirs = {"seconds": [1.0, 3.0, 3.0], "peak": 6 * 2**30, "loss": 1.0}
    found = {**{name: [ours] for name in OURS}, TRL: [theirs]}
    time, memory = goals_of(found, "135M")[:2]
    assert time.measured.median == 3 and time.met
    assert memory.measured.median == pytest.approx(2 / 3) and not memory.met


@pytest.mark.parametrize(
    ("flags", "said"),
    [(["--steps", "1"], "at least 2"), (["--prompt_field", "q"], "--prompt_field"), ([], "32 are needed")],
)  # fmt: skip
def test_refusals_are_one_line(
    flags: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    monkeypatch.setattr(
        "sys.argv", ["real", "--model", str(resolve("strong")[0]), "--dataset", str(path), *flags]
    )
    with pytest.raises(SystemExit) as stopped:
        real.main()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
