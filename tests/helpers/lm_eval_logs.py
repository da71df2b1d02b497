"""Logs as lm-eval itself writes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

GREEDY = {"until": ["\n"], "do_sample": False}


def bits(share: float, n: int = 400, seed: int = 0) -> list[float]:
    """0/1 scores with exactly that share of ones, in a random order."""
    ones = np.arange(n) < round(share * n)
    return [float(x) for x in np.random.default_rng(seed).permutation(ones)]


def log(folder: Path, values: Sequence[float], *, decoding: Any = GREEDY, order: Sequence[int] = (),
        shots: int = 0, model: str = "org/model", task: str = "sums", ids: str = "document",
        text: str = "?") -> Path:  # fmt: skip
    """Have lm-eval write its results and samples as `lm-eval run --log_samples --output_path` does."""
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.utils import hash_string

    samples: list[dict[str, Any]] = []
    for name in ("strict", "loose"):
        for i in order or range(len(values)):
            value = values[i] if name == "strict" else 1.0
            samples.append(
                {"doc_id": i, "doc": {"text": text}, "target": "7",
                 "arguments": [("text", decoding)], "resps": [["7"]], "filtered_resps": ["7"],
                 "filter": name, "metrics": ["exact_match"],
                 "doc_hash": hash_string(f"{ids} {i}"), "prompt_hash": "p", "target_hash": "t",
                 "exact_match": np.float64(value)}
            )  # fmt: skip
    tracker = EvaluationTracker(output_path=str(folder))
    tracker.general_config_tracker.log_experiment_args("hf", f"pretrained={model}", "", None, False)
    tracker.save_results_aggregated({"results": {}, "n-shot": {task: shots}}, {task: samples})
    tracker.save_results_samples(task, samples)  # type: ignore[arg-type]
    return folder
