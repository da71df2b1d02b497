"""Where the targets of an arm come from: the table of target sources, and how each is written.

An arm is an objective on targets. A source that goes with objectives of the table stands after @, as in
`nll@own(8)`; one with a loss of its own is written by its name, as in `dpo(0.5)`. Reading, writing, early
refusals, the arms that are run by default and `advisor ls targets` follow from the rows here. What a source
does before and in a training is bound to its name in `harness/study/target_effects.py`.

Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from advisor.errors import InputError
from advisor.objectives.objective import Parameter

DPO, SIMPO, OPD, FIRE, SDFT = "dpo", "simpo", "opd", "fire", "sdft"
OWN, CASCADE, RESAMPLED = "own", "cascade", "resampled"
DEMONSTRATIONS, PAIRS, ROLLOUTS = "demonstrations", "pairs", "rollouts"
ANSWERS, TEACHER, UNWEIGHTED = "answers", "teacher", "unweighted"
"""What a source may need beside `PAIRS`: final answers of a known form, a model to learn from, demonstrations
whose targets the data do not weigh, since it trains on others."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What may stand between the parentheses of a source: a number, or a word that is there or not."""

    name: str
    """The word, or what is written before the number."""
    meaning: str
    """What it says, for a reader."""
    number: Parameter | None = None
    """Default and range of a number; None: a word, left out by default."""
    whole: bool = False
    """Whether the number has no fraction."""

    @property
    def default(self) -> float:
        """Value where nothing is written; 0 and 1 are a word that is absent and there."""
        return self.number.default if self.number else 0

    @property
    def form(self) -> str:
        """As it is written."""
        return f"{self.name}=NUMBER" if self.number else self.name

    @property
    def range(self) -> str:
        """The numbers accepted, for a refusal."""
        if self.number is None:
            return ""
        low, high = self.number.low, self.number.high
        least = f"above {low:g}" if self.number.exclusive_low else f"of {low:g} or more"
        most = "" if high == float("inf") else f", at most {high:g}"
        return f"a {'whole ' if self.whole else ''}number {least}{most}"

    def read(self, text: str, value: str) -> float:
        """The number that `value` is; InputError, naming the method `text`, where it is none or too large."""
        try:
            found = float(value) + 0.0  # -0 is 0
        except ValueError:
            raise InputError(f"objective {text}: {value!r} is not a number") from None
        try:
            if self.number is not None:
                self.number.check(text, self.name, found)
            if self.whole and not found.is_integer():
                raise InputError(text)
        except InputError:
            raise InputError(
                f"objective {text}: {self.name} = {found:g} lies outside its range, {self.range}"
            ) from None
        return found


@dataclass(frozen=True, kw_only=True)
class TargetSource:
    """One row of the table."""

    name: str
    """How it is called everywhere."""
    written: str
    """As `--objectives` takes it."""
    does: str
    """What is trained on, and how, in one sentence."""
    source: str
    """Paper and equation."""
    targets: str | None = None
    """What `Arm.targets` says; None: what stands after @."""
    settings: tuple[Setting, ...] = ()
    """What may stand between parentheses, in the order in which it is written."""
    needs: tuple[str, ...] = ()
    """What a problem must have: `PAIRS`, `ANSWERS`, `TEACHER`, `UNWEIGHTED`."""
    objective: str | None = None
    """The only objective that it goes with; None: any, or none where it has a loss of its own."""
    by_default: bool = False
    """Whether `advisor confirm` runs it without being asked, where its needs are met."""

    @property
    def after_at(self) -> bool:
        """Whether it stands after an objective and @."""
        return self.targets is None

    @property
    def own_loss(self) -> bool:
        """Whether it is written by its name, without an objective."""
        return self.targets not in (None, DEMONSTRATIONS)

    def read(self, text: str, inside: str) -> dict[str, float]:
        """The value of every setting, from what stands between the parentheses.

        Args:
            text: the whole method, for a refusal.
            inside: words and numbers with commas between them; a source's only number needs no name.

        Raises:
            InputError: a word that the source does not take, or a number outside its range.
        """
        known = {setting.name: setting for setting in self.settings}
        found: dict[str, float] = {}
        for word in (part.strip() for part in inside.split(",") if part.strip()):
            name, equals, value = (part.strip() for part in word.partition("="))
            if not equals and name not in known and (only := self._only_number) is not None:
                name, equals, value = only.name, "=", word
            setting = known.get(name)
            if setting is None or name in found or bool(equals) != bool(setting.number):
                forms = ", ".join(setting.form for setting in self.settings) or "nothing"
                raise InputError(f"objective {text}: {word!r}: {self.name} takes {forms}")
            found[name] = self._number(setting, text, value) if setting.number else 1
        return {name: found.get(name, setting.default) for name, setting in known.items()}

    def _number(self, setting: Setting, text: str, value: str) -> float:
        try:
            return setting.read(text, value)
        except InputError as error:
            raise InputError(f"{error}: write {self.written}") from None

    @property
    def _only_number(self) -> Setting | None:
        numbers = [setting for setting in self.settings if setting.number]
        return numbers[0] if len(numbers) == 1 else None

    def parentheses(self, values: Mapping[str, float]) -> str:
        """The settings that are not at their defaults, as `read` takes them, within parentheses."""
        changed = [(s, values[s.name]) for s in self.settings if values[s.name] != s.default]
        inside = [
            s.name if s.number is None
            else _shortest(value) if s is self._only_number
            else f"{s.name}={_shortest(value)}"
            for s, value in changed
        ]  # fmt: skip
        return f"({', '.join(inside)})" if inside else ""


def _shortest(number: float) -> str:
    """The shortest digits that are read back as the same number."""
    return repr(float(number)).removesuffix(".0")


def split(text: str) -> tuple[TargetSource | None, str]:
    """`own(8)` -> its row and `8`; no row where the word before the parentheses is no source's."""
    match = re.fullmatch(r"([^()]*?)\s*(?:\((.*)\))?", text.strip().lower())
    if match is None:
        return None, ""
    return TARGET_SOURCES.get(match[1]), match[2] or ""


_SAMPLED = Setting(
    name="sampled",
    meaning="the loss of the drawn token alone, as published, instead of the whole vocabulary's",
)


def _factor(name: str, meaning: str) -> Setting:
    return Setting(name=name, meaning=meaning, number=Parameter(default=1.0, low=0.0))


def _samples(meaning: str) -> Setting:
    number = Parameter(default=4, low=1)
    return Setting(name="samples", meaning=meaning, number=number, whole=True)


_ROWS = (
    TargetSource(
        name=DEMONSTRATIONS,
        written="OBJECTIVE",
        does="the dataset's targets as they are",
        source="see `advisor ls objectives`",
        targets=DEMONSTRATIONS,
    ),
    TargetSource(
        name=OWN,
        written="OBJECTIVE@own(K)",
        does="the untouched model's own answers: K are sampled to each prompt before the training, and the "
        "distinct ones whose final answer is the demonstration's are kept",
        source="arXiv:2312.06585 (one round of ReST-EM); arXiv:2308.01825, arXiv:2203.14465",
        settings=(_samples("answers sampled to a prompt"),),
        needs=(ANSWERS, UNWEIGHTED),
    ),
    TargetSource(
        name=CASCADE,
        written="OBJECTIVE@cascade(K)",
        does="the untouched model's own answer where one of K has the demonstration's final answer, else one "
        "of K that it gives with the demonstration in its context, else the demonstration",
        source="arXiv:2509.15157",
        settings=(_samples("answers sampled to a prompt, each way"),),
        needs=(ANSWERS, UNWEIGHTED),
    ),
    TargetSource(
        name=RESAMPLED,
        written="cadft@resampled(SHARE)",
        does="the second stage of cadft: at three times of the training the model samples the targets of the "
        "SHARE of least compatible examples anew; needs more than one epoch",
        source="arXiv:2606.11206",
        settings=(
            Setting(
                name="share",
                meaning="of the examples, chosen at a time",
                number=Parameter(default=0.005, low=0.0, high=1.0, exclusive_low=True),
            ),
        ),
        needs=(UNWEIGHTED,),
        objective="cadft",
    ),
    TargetSource(
        name=DPO,
        written="dpo(BETA)",
        does="pairs of a chosen and a rejected answer: direct preference optimisation",
        source="arXiv:2305.18290 Eq. 7",
        targets=PAIRS,
        settings=(
            Setting(
                name="beta",
                meaning="weight of the reference",
                number=Parameter(default=0.1, low=0.0, exclusive_low=True),
            ),
        ),
        needs=(PAIRS, UNWEIGHTED),
        by_default=True,
    ),
    TargetSource(
        name=SIMPO,
        written="simpo(beta=B, gamma=G)",
        does="the pairs of dpo without a reference: the mean log-probability of the chosen answer's tokens "
        "shall exceed the rejected one's by a margin",
        source="arXiv:2405.14734 Eq. 6; beta and gamma of princeton-nlp/SimPO, README, for Llama3-Base",
        targets=PAIRS,
        settings=(
            Setting(
                name="beta",
                meaning="scale of the mean log-probabilities",
                number=Parameter(default=2.0, low=0.0, exclusive_low=True),
            ),
            Setting(
                name="gamma",
                meaning="margin between the scaled means",
                number=Parameter(default=1.0, low=0.0),
            ),
        ),
        needs=(PAIRS, UNWEIGHTED),
    ),
    TargetSource(
        name=OPD,
        written="opd(sampled)",
        does="the student's answers while it trains, moved towards a teacher's distribution at every token: "
        "on-policy distillation",
        source="arXiv:2306.13649",
        targets=ROLLOUTS,
        settings=(_SAMPLED,),
        needs=(TEACHER, UNWEIGHTED),
        by_default=True,
    ),
    TargetSource(
        name=FIRE,
        written="fire(sampled, alpha=A, beta=B, percentile=P, per_teacher)",
        does="as opd, less the answers that the teacher finds least probable, with weights on the tokens: "
        "FiRe-OPD",
        source="arXiv:2606.02684 Eq. 8",
        targets=ROLLOUTS,
        settings=(
            _SAMPLED,
            _factor("alpha", "weight of tokens that the teacher is sure of"),
            _factor("beta", "weight of tokens that the student is unsure of"),
            Setting(
                name="percentile",
                meaning="percent of the answers left out",
                number=Parameter(default=20.0, low=0.0, high=100.0),
            ),
            Setting(name="per_teacher", meaning="the answers of each teacher ranked by themselves"),
        ),
        needs=(TEACHER, UNWEIGHTED),
        by_default=True,
    ),
    TargetSource(
        name=SDFT,
        written="sdft(reverse, ema=A, skip=N)",
        does="the model's own answers while it trains, moved towards the distribution of the same model with "
        "the demonstration in its context: self-distillation",
        source="arXiv:2601.19897; direction, ema and skip of the authors' code",
        targets=ROLLOUTS,
        settings=(
            Setting(
                name="reverse",
                meaning="the reverse KL, of the student from the teacher; released was the forward one",
            ),
            Setting(
                name="ema",
                meaning="share of the student's weights that the teacher takes over after every step",
                number=Parameter(default=0.01, low=0.0, high=1.0),
            ),
            Setting(
                name="skip",
                meaning="first tokens of an answer that are not trained on",
                number=Parameter(default=3, low=0),
                whole=True,
            ),
        ),
        needs=(UNWEIGHTED,),
    ),
)

TARGET_SOURCES: dict[str, TargetSource] = {row.name: row for row in _ROWS}
"""Every source by name, in the order in which they are listed and run by default."""
