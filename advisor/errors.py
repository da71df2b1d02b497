"""What a user is told: the one exception that becomes a refusal, and text made safe to print."""


def printable(text: str) -> str:
    """Text with everything but line breaks spelt out that a terminal could obey."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


class InputError(ValueError):
    """An input that the user can mend; its message is one line: what is wrong, where, how to mend it."""

    def __init__(self, message: str) -> None:
        """A line break, as a name in the data may have, is spelt out."""
        super().__init__(message.replace("\n", "\\n"))


class TrainingDiverged(RuntimeError):
    """A training whose loss, gradient or weights are no longer finite; its message is one line."""
