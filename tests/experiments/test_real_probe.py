"""The probe against lm-eval on a real model: what is written, and that wrong numbers are not timed."""

import json
from pathlib import Path

import numpy as np
import pytest

from harness.experiments.bench import real_probe
from harness.ladder import resolve

ROWS = [{"prompt": f"{i}+{i}=", "completion": str(2 * i)} for i in range(7, 11)]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command line, ready to be run; the file that it writes."""
    rows, written = tmp_path / "rows.jsonl", tmp_path / "real.json"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    flags = ["--rows", "4", "--rounds", "2", "--threads", "1", "--output_path", str(written)]
    model = str(resolve("strong")[0])
    monkeypatch.setattr(
        "sys.argv", ["real_probe", "--model", model, "--dataset", str(rows), *flags]
    )
    return written


def test_the_record_has_the_ratio(command: Path) -> None:
    real_probe.main()
    record = json.loads(command.read_text())
    [goal], [case] = record["goals"], record["cases"]
    times = case["variants"]
    assert goal["measured"]["median"] == times["lm-eval"][0] / times["ours"][0]


def test_a_wrong_log_probability_ends_it(
    command: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = real_probe.ours

    def off(*asked: object) -> object:
        return lambda: [scores - np.float64(1e-3) for scores in right(*asked)()]  # type: ignore[arg-type]

    monkeypatch.setattr(real_probe, "ours", off)
    with pytest.raises(SystemExit) as stopped:
        real_probe.main()
    assert stopped.value.code == 1
    assert "off by 1.0e-03 nats" in capsys.readouterr().err
    assert not command.exists()
