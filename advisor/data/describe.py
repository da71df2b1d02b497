"""An example as text, with its targets marked."""

import itertools

from advisor.chat.template import common_prefix_length
from advisor.data.dataset import SFTDataset


def describe_example(dataset: SFTDataset, index: int) -> list[tuple[str, bool]]:
    """The example's text in pieces, each with whether its tokens are scored as targets."""
    example = dataset[index]
    scored = [False, *(label != -100 for label in example.labels[1:])]
    pieces: list[tuple[str, bool]] = []
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
