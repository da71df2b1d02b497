"""The one exception the command line turns into a refusal: one line on stderr, exit code 2."""


class InputError(ValueError):
    """An input that the user can mend; its message is one line: what is wrong, where, how to mend it."""
