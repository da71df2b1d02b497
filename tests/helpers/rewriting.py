"""A dataset of the ladder rewritten by the ladder's strong model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.model.load import LoadedModel, load_model
from harness.generate.hinted import Sampling
from harness.generate.rewrite import Rewritten, Settings, rewrite
from harness.ladder import resolve

COPY = "{question}{answer}${question}"
"""A hint in the language of the ladder, where $ ends a text."""
SETTINGS = Settings(
    hint=COPY, marker=None, batch_size=5, sampling=Sampling(temperature=1.0, top_p=0.9)
)


def strong() -> LoadedModel:
    return load_model(resolve("strong")[0], dtype="float32", device="cpu")


def demonstrations() -> list[dict[str, Any]]:
    """Thirteen of the ladder's, with columns that are not read: in one, half a surrogate pair."""
    lines = resolve("strong")[1].read_text().splitlines()
    rest = [{"id": number, "meta": "caf\u00e9 \ud83d"} for number in range(13)]
    return [{**json.loads(line), **more} for line, more in zip(lines, rest, strict=False)]


def run(
    loaded: LoadedModel, path: Path, settings: Settings = SETTINGS, **options: Any
) -> Rewritten:
    def read(rows: Sequence[Mapping[str, Any]]) -> SFTDataset:
        return load_dataset([dict(row) for row in rows], loaded.tokenizer, max_length=128)

    return rewrite(loaded, read(demonstrations()), read, path, settings, **options)
