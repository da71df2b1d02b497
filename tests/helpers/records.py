"""A small record of a run."""

from dataclasses import replace
from typing import Any

from harness.records.arm import Arm, arm_of
from harness.records.runs import Environment, Run, RunSpec, Score

SPEC = RunSpec(
    model="m",
    model_fingerprint="f",
    dataset="d",
    dataset_fingerprint="g",
    split=None,
    arm=Arm(objective="threshold(10%)", learning_rate=1e-5),
    seed=0,
    training={"max_steps": 3, "warmup_ratio": 0.1},
    tasks=("a", "b"),
    evaluation={"temperatures": [0.0, 1.0], "limit": None},
)
SCORE = Score(
    task="a",
    metric="exact_match",
    temperature=1.0,
    part="test",
    documents=("x", "y"),
    values=((1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0)),
)


def make(**changes: Any) -> Run:
    """A small run; changes go to its specification where they are fields of it, else to the run."""
    of_arm = {name: changes.pop(name) for name in ("objective", "learning_rate") if name in changes}
    if of_arm:
        own = {"method": SPEC.arm.method, "learning_rate": SPEC.arm.learning_rate} | of_arm
        changes["arm"] = arm_of(own.pop("objective", own.pop("method")), **own)
    of_spec = {name: changes.pop(name) for name in list(changes) if hasattr(SPEC, name)}
    run = Run(
        spec=replace(SPEC, **of_spec),
        environment=Environment.here(device="cpu", dtype="float32"),
        domain="ladder",
        prior={"mean_p": 0.5, "interval": [0.25, 0.75]},
        steps=({"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.0, "grad_norm": 0.125}),
        held_out={"nll": 1.5},
        scores=(SCORE,),
        seconds=12.5,
        tokens=1000,
        peak_memory_bytes=2**30,
    )
    return replace(run, **changes)
