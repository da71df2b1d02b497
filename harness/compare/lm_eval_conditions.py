"""How a task was evaluated, as far as lm-eval's logs say: what has to be the same for all arms."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from harness.compare.lm_eval_files import Log
from harness.evaluate.lm_eval_rows import OF_THE_TEMPERATURE

OF_THE_TASK = (
    "doc_to_target", "doc_to_choice", "process_results", "output_type", "repeats", "doc_to_text",
    "description", "target_delimiter", "fewshot_delimiter", "gen_prefix",
)  # fmt: skip
"""Keys of a task's configuration that decide a score; the documents themselves are told by their hashes."""
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def conditions(log: Log, decoding: Mapping[str, Any] | None) -> dict[str, Any]:
    """How a task was evaluated, by lm-eval's names; None where the log does not say."""
    config = log.of_task("configs") or {}
    results, run = log.results, log.results.get("config") or {}
    shots = config.get("num_fewshot", log.of_task("n-shot"))
    seeded = run.get("fewshot_seed") if shots else None
    generation = {k: v for k, v in (decoding or {}).items() if k not in OF_THE_TEMPERATURE}
    return {
        "num_fewshot": shots,
        "chat_template": bool(results["chat_template"]) if "chat_template" in results else None,
        "chat_template_sha": results.get("chat_template_sha"),
        "system_instruction_sha": results.get("system_instruction_sha"),
        "fewshot_as_multiturn": results.get("fewshot_as_multiturn") if shots else None,
        "fewshot_seed": seeded,
        "limit": _limit(run),
        "version": log.of_task("versions"),
        "generation_kwargs": _canonical(generation) if decoding is not None else None,
        **{key: _canonical(config[key]) for key in OF_THE_TASK if key in config},
        "metric_list": _canonical(config["metric_list"]) if "metric_list" in config else None,
        "filter_list": _canonical(config["filter_list"]) if "filter_list" in config else None,
    }


def _limit(run: Mapping[str, Any]) -> float | str | None:
    """Documents of a task, or their share, that were evaluated; "none" where that is all of them."""
    if "limit" not in run:
        return None
    return "none" if run["limit"] is None else _number(run["limit"])


def _number(value: Any) -> float | str:
    """As text where it is none: it is compared alone."""
    return float(value) if isinstance(value, int | float) else _canonical(value)


def _canonical(value: Any) -> str:
    return ADDRESS.sub("", json.dumps(value, sort_keys=True, default=str))
