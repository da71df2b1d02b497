"""Which fine-tuning objective for this model and this dataset? Measure the prior, then decide.

    import advisor

    answer = advisor.recommend("path/to/model", "train.jsonl", temperature=0.0)
    print(answer)

A model is a path, a hub id, `(model, tokenizer)` in memory or what `load_model` gave; a dataset a path, a
hub id, a datasets.Dataset, a list of dictionaries, a pandas DataFrame or what `load_dataset` gave.
docs/api.md has every name.

Nothing is imported here but the switch that keeps the libraries from reporting home, so that `advisor --help`
stays instant: each name is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from advisor.telemetry import switch_off

if TYPE_CHECKING:
    from advisor.data.dataset import load_dataset
    from advisor.model.load import load_model
    from advisor.model.loss_function import objective_loss
    from advisor.model.objective_head import add_objective_head
    from advisor.objectives.table import OBJECTIVES, get_objective
    from harness.library.confirming import confirm
    from harness.library.recommending import measure_prior, recommend
    from harness.library.training import train

__version__ = "0.2.0"

_PLACES = {
    "load_model": "advisor.model.load",
    "load_dataset": "advisor.data.dataset",
    "measure_prior": "harness.library.recommending",
    "recommend": "harness.library.recommending",
    "confirm": "harness.library.confirming",
    "train": "harness.library.training",
    "get_objective": "advisor.objectives.table",
    "OBJECTIVES": "advisor.objectives.table",
    "add_objective_head": "advisor.model.objective_head",
    "objective_loss": "advisor.model.loss_function",
}
"""Where each public name lives, in the order in which a user meets them."""

__all__ = [  # as _PLACES; written out for editors and type checkers
    "OBJECTIVES",
    "add_objective_head",
    "confirm",
    "get_objective",
    "load_dataset",
    "load_model",
    "measure_prior",
    "objective_loss",
    "recommend",
    "train",
]

switch_off()


def __getattr__(name: str) -> Any:
    """A public name, imported now."""
    if name not in _PLACES:
        raise AttributeError(f"module 'advisor' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
