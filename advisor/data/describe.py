"""An example as text, with its targets marked."""

import itertools

from advisor.chat.template import common_prefix_length
from advisor.data.dataset import SFTDataset


def describe_example(dataset: SFTDataset, index: int) -> list[tuple[str, float]]:
    """The example's text in pieces, each with the weight of its tokens; 0 where they are no targets."""
    example = dataset[index]
    weights = example.weights or [1.0] * len(example.labels)
    scored = [
        0.0,
        *(w * (label != -100) for w, label in zip(weights[1:], example.labels[1:], strict=True)),
    ]
    pieces: list[tuple[str, float]] = []
    done = 0
    text = ""
    for flag, group in itertools.groupby(scored):
        done += len(list(group))
        # The beginning is decoded anew: a token's text may depend on what precedes it.
        longer = str(
            dataset.tokenizer.decode(
                example.input_ids[:done],
                skip_special_tokens=False,
                clean_up_tokenization_spaces=False,
            )
        )
        shared = common_prefix_length(text, longer)
        pieces.append((longer[shared:], flag))
        text = longer
    return pieces
