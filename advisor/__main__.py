"""`python -m advisor`: the command line, as `advisor` is."""

from harness.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
