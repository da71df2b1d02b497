"""rich's console, with every text made safe and a broken pipe left to the program."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from advisor.errors import printable


class SafeConsole(Console):
    """A console that spells out what a terminal would obey, but for rich's own styles and movements."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of a renderable, with safe texts."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Raise again what rich would turn into its own exit code."""
        raise BrokenPipeError
