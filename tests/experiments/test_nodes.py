"""Records of a cluster against those of one process: what differs is found, and times are no difference."""

import json
from pathlib import Path
from typing import Any

from harness.experiments.nodes import RUNS, differing, records, right
from harness.records.runs import Results
from tests.helpers.records import make

PLANNED = {"at": 1.0, "objectives": ["nll"], "learning_rates": [1e-3], "seeds": [0]}


def written(folder: Path, **changes: Any) -> dict[str, Any]:
    Results(folder).write(make())
    Results(folder).write(make(seed=1, **{"planned": PLANNED, **changes}))
    return records(folder)


def test_times_are_no_difference_and_all_else_is(tmp_path: Path) -> None:
    own = written(tmp_path / "own")
    assert len(own) == 2
    later = {"seconds": 9.0, "peak_memory_bytes": 1, "planned": {**PLANNED, "at": 2.0}}
    assert differing(own, written(tmp_path / "later", **later)) == []
    for number, change in enumerate(({"tokens": 1}, {"steps": ()}, {"scores": ()})):
        [name] = differing(own, written(tmp_path / str(number), **change))
        assert json.loads((tmp_path / str(number) / "runs" / f"{name}.json").read_text())
    [first, _] = sorted(own)
    assert differing(own, {name: own[name] for name in own if name != first}) == [first]


def test_what_was_to_be_killed_has_to_be_killed() -> None:
    whole = {"runs": RUNS, "failed": 0, "differ": [], "same_answer": True, "killed_at": 12}
    assert right({"killed": None, "runs": RUNS, "failed": 0})
    assert right({"killed": "a node", **whole})
    assert right({"killed": "nothing", **whole, "killed_at": None})
    for change in (
        {"runs": RUNS - 1}, {"failed": 1}, {"differ": ["a"]}, {"same_answer": False}, {"killed_at": None},
    ):  # fmt: skip
        assert not right({"killed": "a node", **whole, **change})
