"""`advisor env`: versions and devices, for a bug report."""

from __future__ import annotations

import argparse
import json
import os

from advisor.errors import printable
from harness.cli.flags import add_json

DESCRIPTION = "Print versions and devices, for a bug report."
EXAMPLE = "advisor env --json"


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    add_json(parser)


def versions() -> dict[str, str]:
    """Version of Python, and of the libraries that matter."""
    import platform

    from harness.runtime.versions import versions as installed

    return {"python": platform.python_version(), **installed()}


def run(args: argparse.Namespace) -> None:
    """Print what is installed and what the machine has."""
    import platform

    import torch

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    facts = {
        **versions(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpus": devices,
    }
    if args.json:
        print(json.dumps(facts))
    else:
        for name, value in facts.items():
            print(printable(f"{name:20} {value}"))
