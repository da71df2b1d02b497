"""What a call says while it works: what the command line says, on stderr, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

from advisor.data.dataset import SFTDataset
from advisor.progress import Progress, Stages, untold, untold_stages
from harness.cli import display


class Told:
    """Tells the user, unless it is quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet

    def notes(self, lines: Iterable[str]) -> None:
        """What was chosen or assumed, a sentence each."""
        if not self.quiet:
            display.notes(lines)

    @contextmanager
    def bars(self) -> Iterator[None]:
        """Whether transformers shows bars of its own."""
        shown = transformers_logging.is_progress_bar_enabled()
        if self.quiet:
            transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            if shown:
                transformers_logging.enable_progress_bar()

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:
        """How far some work is."""
        if self.quiet:
            yield untold
            return
        with display.Shown(title) as shown:
            yield shown

    @property
    def stages(self) -> Stages:
        """How far each stage of some work is."""
        return untold_stages if self.quiet else display.Shown

    def tokenise(self, dataset: SFTDataset, rows: Sequence[int]) -> None:
        """Tokenise rows, and say what of them is lost."""
        if self.quiet:
            dataset.tokenize(rows)
        else:
            display.tokenise(dataset, rows)
        self.notes(dataset.losses())
