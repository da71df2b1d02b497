"""Settings of a training as records keep them: texts, as they stand on a command line.

Records began with the user's own words, so texts they stay: a study's name in a calibration, its page and
the groups of its runs rest on them. In the program settings are typed (`harness.train.trl_settings.typed`
reads texts back). Two spellings of one value, `1e-2` and `0.01` or `true` and `yes`, are one run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

TRUE, FALSE = ("true", "yes", "t", "y"), ("false", "no", "f", "n")
"""How a switch may be spelt beside 1 and 0."""


def texts_of(training: Mapping[str, Any]) -> dict[str, Any]:
    """Typed settings as texts, or lists of texts; what is a text stays as it is."""
    return {name: _text(value) for name, value in training.items()}


def settled(training: Mapping[str, Any]) -> dict[str, Any]:
    """Texts with one spelling for each value, for telling whether two trainings are the same."""
    return {name: _settled(value) for name, value in training.items()}


def _text(value: Any) -> Any:
    if isinstance(value, list | tuple):
        texts = [_text(one) for one in value]
        return texts[0] if len(texts) == 1 else texts
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _shortest(value)
    return json.dumps(value, sort_keys=True) if isinstance(value, Mapping) else str(value)


def _settled(value: Any) -> Any:
    if isinstance(value, list):
        return [_settled(one) for one in value]
    if not isinstance(value, str):
        return value
    if value.lower() in (*TRUE, *FALSE):
        return "1" if value.lower() in TRUE else "0"
    try:
        return _shortest(float(value))
    except ValueError:
        return value


def _shortest(number: float) -> str:
    """The shortest digits that are read back as the same number."""
    if math.isfinite(number) and number.is_integer() and abs(number) < 2**53:
        return str(int(number))
    return repr(number)
