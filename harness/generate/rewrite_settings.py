"""How a dataset is rewritten: the settings, and the options of the command line that give them. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from advisor.errors import InputError
from advisor.options import Options, option
from harness.evaluate.final_answers import ANSWER_PATTERNS, compile_pattern
from harness.generate.hint import HINT, MARKER, read_hint

SPLITTERS = {"gsm8k": "####", "line": "####", "boxed": "\\boxed{", "ladder": "#"}
"""What begins the final answer, by the pattern of ANSWER_PATTERNS that finds it."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is drawn; the order is that of the released code, nucleus before temperature."""

    temperature: float = 0.3
    """0 takes the likeliest token."""
    top_p: float = 0.95
    """Probability of the nucleus, taken at temperature 1."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a dataset is rewritten."""

    method: str = "hinted"
    """hinted, or cascade: the answer with the demonstration in context instead of hinted decoding, and the
    demonstration where that is not right either (arXiv:2509.15157)."""
    hint: str = HINT
    """The prompt of the hinted stream; `{question}` and `{answer}` stand for those of the row."""
    marker: str | None = MARKER
    """Ends the analysis that the model writes first; None: no analysis, for a model that cannot write one."""
    answer_regex: str | None = None
    """Finds the final answer; None takes a known pattern that fits every row."""
    splitter: str | None = None
    """Begins the final answer; None takes the one of the known pattern."""
    sampling: Sampling = field(default_factory=Sampling)
    beta: float = 3.0
    """See `Mixing`."""
    tries: int = 1
    """Unaided answers to a prompt, until one is right; 0 hints every row."""
    keep_failed: bool = False
    """Whether rows without a verified answer keep their demonstration; else they are left out."""
    max_new_tokens: int | None = None
    """Longest answer and longest analysis; None is what the dataset's `max_length` leaves to the answer."""
    batch_size: int = 16
    """Rows at a time, fewer where memory does not suffice; changes speed alone."""
    seed: int = 0


DEFAULT = Settings()


@dataclass(frozen=True, kw_only=True)
class RewriteOptions(Options):
    """What `advisor rewrite` can choose."""

    method: str = option(
        Settings.method, choices=("hinted", "cascade"),
        help="cascade: where no unaided answer is right, one with the hint in the prompt, else the "
        "demonstration (default: {default})",
    )  # fmt: skip
    hint: str | None = option(
        None, metavar="FILE",
        help="prompt with {question}, {answer} and, to say how to end, {ending} (default: built in)",
    )  # fmt: skip
    marker: str = option(
        MARKER,
        help="ends the analysis that the hint asks for; none asks for none, by a shorter hint for small "
        "models where none is given (default: {default})",
    )
    answer_regex: str | None = option(None, help="finds the final answer, in one group")
    splitter: str | None = option(
        None,
        help="text that begins the final answer, needed with an --answer_regex of your own",
    )
    beta: float = option(
        Settings.beta, low=0.0,
        help="weight of the model's own distribution per unit of normalised entropy (default: {default})",
    )  # fmt: skip
    temperature: float = option(
        Sampling.temperature, low=0.0, high=10.0, help="of sampling (default: {default})"
    )
    top_p: float = option(
        Sampling.top_p, low=0.0, high=1.0, help="of sampling (default: {default})"
    )
    tries: int = option(
        Settings.tries, low=0,
        help="unaided answers to a prompt before it is hinted (default: {default})",
    )  # fmt: skip
    keep_failed: bool = option(
        Settings.keep_failed,
        help="keep the demonstration where no answer is verified (default: leave the row out)",
    )
    max_new_tokens: int | None = option(
        Settings.max_new_tokens, low=1,
        help="of an answer and of an analysis (default: what --max_length leaves)",
    )  # fmt: skip
    batch_size: int = option(Settings.batch_size, low=1, help="rows at a time (default: {default})")
    seed: int = option(Settings.seed, low=0, help="of sampling (default: {default})")
    output_path: str = option(
        short="-o", metavar="FILE",
        help="the new dataset, a .jsonl file; a .provenance.jsonl is written beside it",
    )  # fmt: skip

    def settings(self) -> Settings:
        """The settings that these give.

        Raises:
            InputError: options that do not go together, or a hint that cannot be read.
        """
        cascading = self.method == "cascade"
        if not self.marker:
            raise InputError("--marker is empty: give the text that ends the analysis, or none")
        if self.answer_regex:
            compile_pattern(self.answer_regex)
            splitter_of(self.answer_regex, self.splitter)
        marker = None if self.marker == "none" or cascading else self.marker
        return Settings(
            method=self.method,
            hint=read_hint(self.hint, analysis=marker is not None),
            marker=marker,
            answer_regex=self.answer_regex,
            splitter=self.splitter,
            sampling=Sampling(temperature=self.temperature, top_p=self.top_p),
            beta=self.beta,
            tries=self.tries,
            keep_failed=self.keep_failed or cascading,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
            seed=self.seed,
        )


def splitter_of(pattern: str, splitter: str | None) -> str:
    """The text that begins the final answer: as given, else that of a known pattern."""
    known = {ANSWER_PATTERNS[name]: text for name, text in SPLITTERS.items()}
    found = splitter or known.get(pattern)
    if found is None:
        raise InputError(
            f"--answer_regex {pattern}: give --splitter, the text that begins the final answer"
        )
    return found
