"""What tiny models hide, on SmolLM2-135M-Instruct: its chat template, 49,152 entries, a tied head."""

import json
from pathlib import Path
from typing import Any

import pytest

from advisor.model.load import load_model
from harness.cli.main import main
from harness.experiments.real import fetch
from harness.experiments.real.cells import demonstrated
from tests.helpers.paths import ROOT

MODEL = ROOT / "outputs" / "smollm2"
pytestmark = pytest.mark.skipif(
    not (MODEL / "config.json").exists(), reason="no outputs/smollm2: `make real` fetches it"
)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Chats whose answers are fields of a sentence."""
    path = tmp_path / "fields.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in demonstrated("fields", 40)))
    return path


def test_it_answers_its_guards() -> None:
    loaded = load_model(MODEL, dtype="float32", device="cpu")
    assert fetch.answer(loaded, fetch.QUESTION) == "The capital of France is Paris."


@pytest.mark.slow
def test_the_prior_is_of_answers_and_of_ends_of_turns(rows: Path, capsys: Any) -> None:
    """Protects the chat template on a real tokenizer: what is a target, and what ends a turn."""
    assert (
        main(["recommend", str(MODEL), str(rows), "--exact", "--temperature", "0", "--json"]) == 0
    )
    answer = json.loads(capsys.readouterr().out)
    assert answer["prior"]["p_eos"] < 0.1 < answer["prior"]["mean_p"] < 0.6
    assert answer["prior"]["model"]["kind"] == "instruct"
