"""A task goes to the harness that its word names, and all scores come back in the order of the tasks."""

from types import SimpleNamespace
from typing import Any

import pytest

from harness.evaluate import scorers


def module(calls: list[Any], name: str) -> SimpleNamespace:
    def evaluate(model: str, tokenizer: str, tasks: list[Any], **settings: Any) -> list[str]:
        calls.append((name, tasks, settings))
        return [f"{name} {task}" for task in tasks]

    return SimpleNamespace(
        evaluate=evaluate, task_names=lambda spec, path, **more: [name, spec, path, more]
    )


def test_every_task_goes_to_its_own_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    found = {name: module(calls, name or "lm-eval") for name in ("", "mine")}
    monkeypatch.setattr(scorers, "SCORERS", found)
    own = {"task": "mine:not"}  # a configuration, and a colon of another word, are lm-eval's
    tasks = ["gsm8k", own, "mine:a", "mine:b", "other:c"]
    scores = scorers.evaluate("model", "tokenizer", tasks, temperature=1.0)
    assert scores == [f"lm-eval {t}" for t in tasks[:2]] + [
        "mine mine:a",
        "mine mine:b",
        "lm-eval other:c",
    ]
    assert [(name, some) for name, some, _ in calls] == [
        ("lm-eval", tasks[:2]), ("mine", tasks[2:4]), ("lm-eval", tasks[4:]),
    ]  # fmt: skip
    assert all(settings == {"temperature": 1.0} for *_, settings in calls)
    assert scorers.task_names("mine:a", "folder", trust_remote_code=True) == [
        "mine", "mine:a", "folder", {"trust_remote_code": True},
    ]  # fmt: skip


def test_without_another_harness_all_is_lm_evals() -> None:
    assert list(scorers.SCORERS) == [""]
    assert scorers.task_names("ladder_chain") == ["ladder_chain"]
