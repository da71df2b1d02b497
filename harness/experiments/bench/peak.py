"""Peak memory of one variant, in a process of its own, in bytes.

    python -m harness.experiments.bench.peak REQUEST

Started by `measure.peak_in_fresh_process`, so that no other variant has touched the memory before.
"""

import json
import sys

import torch

from harness.experiments.bench import head, probe
from harness.experiments.bench.measure import Conditions


def main() -> None:
    """Reads the request, runs the variant once, writes the number on the last line."""
    request = json.loads(sys.argv[1])
    conditions = Conditions(**request["conditions"])
    torch.set_num_threads(conditions.threads)
    bench = head.peak if request["bench"] == "head" else probe.peak
    sys.stdout.write(f"\n{bench(conditions, **request['what'])}\n")


if __name__ == "__main__":
    main()
