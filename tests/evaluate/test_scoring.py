"""How `confirm` asks `--tasks`: as the model is trained, unless a flag says otherwise; that is recorded."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advisor.errors import InputError
from harness.cli.flags import read
from harness.cli.main import main
from harness.cli.parser import parse
from harness.evaluate.lm_eval import evaluate
from harness.evaluate.score_choice import Asked
from harness.evaluate.scoring import arguments_of, described, settings_of
from harness.evaluate.scoring_options import ScoringOptions
from harness.records.runs import Results
from tests.helpers.lm_eval_tasks import prompts_given, write_task
from tests.helpers.records import SCORE, make
from tests.helpers.studies import study_of

CHAT = (
    "{% for m in messages %}<bos>{% if m.role == 'user' %}a{% else %}b{% endif %} {{ m.content }} <eos>"
    "{% endfor %}{% if add_generation_prompt %}<bos>b {% endif %}"
)
TASK = {
    "task": "mine", "dataset_path": "json", "test_split": "test", "fewshot_split": "test",
    "doc_to_text": "prompt", "doc_to_target": "answer", "output_type": "generate_until",
    "target_delimiter": "", "fewshot_delimiter": " ",
    "generation_kwargs": {"until": ["<eos>"], "max_gen_toks": 2},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}  # fmt: skip
"""Asked of the miniature model, whose words are the letters a to m."""


class Info:
    """What is known of demonstrations, as far as scoring goes."""

    template = "file"
    template_text = "T"
    template_hash = "abc"


class Tokenizer:
    """One without a template of its own."""

    chat_template = None


def settings(*flags: str, template: str = "file", tokenizer: Any = Tokenizer) -> dict[str, Any]:
    info: Any = type("Of", (Info,), {"template": template})
    options = read(ScoringOptions, parse(["confirm", "m", "d", *flags]))
    return settings_of(options, info, tokenizer)


def test_tasks_are_asked_as_the_model_is_trained() -> None:
    tasks = ("--tasks", "gsm8k")
    chat = {"apply_chat_template": True, "chat_template": "abc"}
    assert settings(*tasks) == chat
    assert settings(*tasks, template="plain") == settings(*tasks, template="none") == {}
    assert settings(*tasks, "--apply_chat_template", "false") == {}
    assert settings(*tasks, "--apply_chat_template", "--num_fewshot", "0") == {
        **chat,
        "num_fewshot": 0,
    }
    off = settings(*tasks, "--fewshot-as-multiturn", "false")
    assert off == {**chat, "fewshot_as_multiturn": False}
    own = type("Own", (), {"chat_template": "mine"})
    given = settings(*tasks, "--apply_chat_template", template="none", tokenizer=own)
    assert given == {"apply_chat_template": True}
    asked = settings("--metric", "acc", "--filter", "none", "--higher_is_better", "false")
    assert asked == {"metric": "acc", "filter": "none", "higher_is_better": False}


def test_the_command_of_a_report_asks_and_scores_as_the_study_did() -> None:
    from harness.report.facts import command
    from harness.study.from_records import Evidence

    evaluation = {"temperature": 0.0, **settings("--tasks", "t", "--num_fewshot", "0", "--metric", "mae",
                  "--higher_is_better", "false", "--fewshot_as_multiturn", "false")}  # fmt: skip
    for given in (evaluation, {"temperature": 0.0}):
        words = shlex.split(command(Evidence(study=study_of(evaluation=given), runs=())))
        args = parse([word for word in words[1:] if word != "\n"])
        again = settings_of(read(ScoringOptions, args), Info, Tokenizer)  # type: ignore[arg-type]
        assert {"temperature": 0.0, **again} == given


def test_settings_come_back_out_of_a_record() -> None:
    info: Any = Info
    evaluation = {
        "apply_chat_template": True,
        "chat_template": "abc",
        "metric": "acc",
        "num_fewshot": 3,
    }
    assert arguments_of(evaluation, info) == {
        "num_fewshot": 3, "apply_chat_template": "T", "fewshot_as_multiturn": None,
        "asked": Asked(metric="acc"),
    }  # fmt: skip
    assert arguments_of({"apply_chat_template": True}, info)["apply_chat_template"] is True
    assert arguments_of({}, info)["apply_chat_template"] is False


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--num_fewshot", "1"), "--num_fewshot: is for --tasks"),
        (
            ("--tasks", "t", "--apply_chat_template", "false", "--fewshot_as_multiturn"),
            "needs --apply_chat",
        ),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        settings(*flags)
    with pytest.raises(InputError, match="nor the tokenizer have a chat template"):
        settings("--tasks", "t", "--apply_chat_template", template="none")
    with pytest.raises(InputError, match="'maybe': expected true or false"):
        settings("--apply_chat_template", "maybe")


@pytest.mark.parametrize("chat", [True, False])
def test_confirm_asks_tasks_with_the_template_of_the_training(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, model_folder: Path, write: Any, tmp_path: Path,
    chat: bool,
) -> None:  # fmt: skip
    asked = [{"prompt": f"{x} {y}", "answer": x} for x in "cdefgh" for y in "ijkl"]
    write_task(tmp_path, TASK, test=asked)
    rows = [
        {"messages": [{"role": "user", "content": f"{x} {y}"}, {"role": "assistant", "content": x}]}
        for x in "cdefgh" for y in "cdefgh"
    ]  # fmt: skip
    data = write("d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    seen = prompts_given(monkeypatch, lambda prompt: "c")
    words = [
        "confirm", str(model_folder), str(data), "--chat_template", CHAT, "--tasks", "mine",
        "--include_path", str(tmp_path), "--num_fewshot", "1", "--objectives", "nll", "--seeds", "1",
        "--learning_rates", "1e-3", "--max_steps", "1", "--temperature", "0", "--json",
        "--results", str(tmp_path / "r"), *([] if chat else ["--apply_chat_template", "false"]),
    ]  # fmt: skip
    assert main(words) == 0
    said = " ".join(capsys.readouterr().err.split())
    [evaluation] = {json.dumps(dict(run.spec.evaluation)) for run in Results(tmp_path / "r").runs()}
    first = seen[0]
    if chat:
        assert first.startswith("<bos>a ") and first.endswith(" <eos><bos>b ")
        assert (
            first.count("<bos>a ") == 2 and first.count("<bos>b ") == 2
        )  # an example, then the question
        assert json.loads(evaluation)["apply_chat_template"] and '"chat_template"' in evaluation
        assert "asked with the chat template that the model is trained with, 1 examples" in said
    else:
        assert "<bos>" not in first and "chat_template" not in evaluation
        assert "asked as plain text" in said
    assert "mine by exact_match (higher is better)" in said


LOSS = {
    **TASK, "task": "loss", "generation_kwargs": {"until": ["<eos>"], "max_gen_toks": 4},
    "metric_list": [
        {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True},
        {"metric": "mae", "aggregation": "mean", "higher_is_better": False},
    ],
    "process_results": lambda doc, results: {
        "exact_match": float(results[0] == doc["answer"]), "mae": abs(len(results[0]) - 3.0)
    },
}  # fmt: skip


def test_metric_and_direction_are_the_tasks(monkeypatch: pytest.MonkeyPatch, tiny: Any) -> None:
    """Answers of 3 and of 7 letters are 0 and 4 letters off a length of 3."""
    from datasets import Dataset

    rows = [{"prompt": "c", "answer": "abc"}, {"prompt": "d", "answer": "abc"}]
    task = {
        **LOSS,
        "custom_dataset": lambda **_: {"test": Dataset.from_list(rows)},
        "fewshot_split": None,
    }
    prompts_given(monkeypatch, lambda prompt: "abc" if prompt == "c" else "abcdefg")

    def scored(**asked: Any) -> Any:
        (score,) = evaluate(*tiny, [task], temperature=0.0, part="all", asked=Asked(**asked))
        return score

    assert (scored().metric, scored().mean, scored().unit) == ("exact_match", 0.5, "share")
    mae = scored(metric="mae")
    assert (mae.values, mae.oriented) == (((0.0,), (4.0,)), (0.0, -4.0))
    assert (mae.unit, mae.higher_is_better) == ("mae", False)
    with pytest.raises(InputError, match=r"--metric f1: no task has .* loss: exact_match; mae"):
        scored(metric="f1")


@pytest.fixture
def tiny() -> tuple[Any, Any]:
    from tests.helpers.tiny import tiny_model, tiny_tokenizer

    return tiny_model(), tiny_tokenizer()


def test_what_is_said_names_unit_and_direction() -> None:
    score = replace(SCORE, metric="ter", unit="ter", higher_is_better=False)
    text = described({"apply_chat_template": True, "num_fewshot": 2}, make(scores=(score,)))
    assert text == (
        "asked with the chat template of the model, 2 examples; scored: a by ter (lower is better, ter)"
    )
