"""`python -m harness.experiments.gpu --minutes 9`: everything that only a GPU can tell, most needed first.

python -m harness.experiments.gpu --minutes 9 --output_path results/gpu/h100.json
python -m harness.experiments.gpu --rehearse      # in small on the CPU: its figures mean nothing

Every part has its own limit and is saved as it goes; one that fails, hangs or dies loses no other's result.
"""

import argparse
import sys
from pathlib import Path

from advisor.errors import InputError
from harness.experiments.gpu.supervise import Settings, supervise

REHEARSED = "outputs/gpu-rehearsal.json"


def main() -> None:
    """Parses the command line and runs the parts; exits with 1 where one of them failed."""
    arguments = _parser().parse_args()
    output = arguments.output_path or Path(REHEARSED if arguments.rehearse else "outputs/gpu.json")
    settings = Settings(
        device="cpu" if arguments.rehearse else arguments.device,
        minutes=arguments.minutes,
        small=arguments.rehearse or arguments.device == "cpu",
        only=tuple(arguments.parts or ()),
    )
    try:
        record = supervise(settings, output, say=_say)
    except InputError as error:
        _say(f"harness.experiments.gpu: error: {error}")
        sys.exit(2)
    bad = [name for name, part in record["parts"].items() if part["state"] in ("failed", "died")]
    sys.exit(1 if bad else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness.experiments.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="in all (default: %(default)s)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--rehearse", action="store_true", help="in small, on the CPU")
    parser.add_argument("--parts", nargs="+", metavar="PART", help="these alone, in their order")
    parser.add_argument(
        "--output_path", type=Path, help="a new JSON file (default: outputs/gpu.json)"
    )
    return parser


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
