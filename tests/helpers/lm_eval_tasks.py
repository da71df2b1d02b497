"""Tasks for lm-eval as files, and a machine that answers in a model's place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def write_task(folder: Path, task: dict[str, Any], **splits: list[dict[str, Any]]) -> None:
    files = {}
    for name, rows in splits.items():
        path = folder / f"{task['task']}-{name}.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        files[name] = str(path)
    settings = {**task, "dataset_kwargs": {"data_files": files}}
    (folder / f"{task['task']}.yaml").write_text(json.dumps(settings))  # JSON is YAML


def prompts_given(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], str]) -> list[str]:
    """Puts an answering machine in the model's place; the list fills with the prompts it gets."""
    from lm_eval.models.huggingface import HFLM

    seen: list[str] = []

    def generate_until(self: Any, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        seen.extend(request.args[0] for request in requests)
        return [answer(request.args[0]) for request in requests]

    monkeypatch.setattr(HFLM, "generate_until", generate_until)
    return seen
