"""Studies on made-up runs: what is asked for, and runs whose accuracy is known."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from harness.records.runs import Run, RunSpec, Score
from harness.runtime.environment import Environment
from harness.study.confirm import Plan
from harness.study.contrasts import Row
from harness.study.study import Step, Study, next_runs
from harness.study.verdict import Verdict

DOCUMENTS = 300
HERE = Environment.here()


def study_of(**changes: Any) -> Study:
    settings: dict[str, Any] = {
        "model": "m", "model_fingerprint": "f", "dataset": "d", "dataset_fingerprint": "g",
        "objectives": ("nll", "neg_p", "threshold(0.2)"), "learning_rates": (1e-4, 1e-3), "seeds": (0, 1, 2),
        "tasks": ("t",), "temperature": 1.0,
        "evaluation": {"temperature": 1.0, "temperatures": [0.0, 0.5, 1.0], "repeats": 1},
    }  # fmt: skip
    return Study(**{**settings, **changes})


def run_of(spec: RunSpec, accuracy: dict[float, float]) -> Run:
    """A run whose documents score 1 with these probabilities at these temperatures."""
    rng = np.random.default_rng(int(spec.id, 16))
    difficulty = np.random.default_rng(0).random(DOCUMENTS)

    def score(part: str, temperature: float) -> Score:
        noisy = 0.7 * difficulty + 0.3 * rng.random(DOCUMENTS)
        right = noisy < np.quantile(0.7 * difficulty + 0.15, accuracy[temperature])
        documents = tuple(f"{part}{i}" for i in range(DOCUMENTS))
        return Score(task="t", metric="exact_match", temperature=temperature, part=part,
                     documents=documents, values=tuple((float(x),) for x in right))  # fmt: skip

    scores = [score("development", spec.evaluation["temperature"])]
    scores += [score("test", t) for t in spec.evaluation["temperatures"]]
    return Run(spec=spec, environment=HERE, domain="user", prior=None, steps=(), held_out={},
               scores=tuple(scores), seconds=1.0, tokens=0, peak_memory_bytes=0)  # fmt: skip


def in_bits(run: Run) -> Run:
    """The same run, scored in bits per byte: every document that it has right takes a tenth less."""
    scores = (
        replace(score, metric="bits_per_byte", unit="bits per byte", higher_is_better=False,
                values=tuple((1.053 - 0.1 * x,) for (x,) in score.values))
        for score in run.scores
    )  # fmt: skip
    return replace(run, scores=tuple(scores))


def play(study: Study, truth: Any) -> list[Run]:
    """Run a study to its end against `truth(objective, learning_rate) -> accuracy by temperature`."""
    runs: list[Run] = []
    while specs := next_runs(study, runs):
        assert not {spec.id for spec in specs} & {run.spec.id for run in runs}, "nothing runs twice"
        runs += [run_of(spec, truth(spec.arm.method, spec.arm.learning_rate)) for spec in specs]
    return runs


def row_of(verdict: Verdict, arm: str, baseline: str) -> Row:
    """The row of an arm against a baseline, by their texts."""
    [found] = [r for r in verdict.rows if (r.arm.label, r.baseline.label) == (arm, baseline)]
    return found


def flat(accuracy: float) -> dict[float, float]:
    return {0.0: accuracy, 0.5: accuracy, 1.0: accuracy}


def prior_leaning_wins(objective: str, rate: float | None) -> dict[float, float]:
    if objective == "base":
        return flat(0.3)
    if objective == "nll":
        return flat(0.55 if rate == 1e-4 else 0.5)
    return flat(0.8 if rate == 1e-3 else 0.6) if objective == "neg_p" else flat(0.2)


PLAN = Plan(runs=20, finished=0, seconds=0.0, documents=1, detectable=1.0)
PROBLEM: Any = SimpleNamespace(teachers=None)


def result_of(spec: RunSpec) -> Run:
    return run_of(spec, prior_leaning_wins(spec.arm.method, spec.arm.learning_rate))


STEPS = (
    Step(method="p_pow(0.5)", learning_rate=1e-3),
    Step(method="cadft(1)", learning_rate=3e-4),
    Step(method="nll", learning_rate=1e-3, below=95.0),
)
ACCURACY = {"base": 0.3, "p_pow(0.5)": 0.6, "cadft(1)": 0.8, "nll": 0.5}


def plan_of(**changes: Any) -> Study:
    settings: dict[str, Any] = {
        "steps": STEPS, "plan": "three", "objectives": tuple(step.method for step in STEPS),
        "learning_rates": (1e-3, 3e-4), "seeds": (0,),
    }  # fmt: skip
    return study_of(**{**settings, **changes})


def truth_of_the_plan(method: str, rate: float | None) -> dict[float, float]:
    return flat(ACCURACY[method])
