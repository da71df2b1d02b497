"""The tokens of prompts and choices by which rows are scored: those that the rows are trained on."""

from typing import Any

import pytest
import torch

from advisor.data.dataset import SFTDataset, load_dataset
from harness.evaluate.lm_eval import evaluate
from harness.evaluate.lm_eval_model import TrainedPrompts
from harness.evaluate.split import own_task
from harness.evaluate.trained_tokens import Answered, TrainedTokens, of_choices
from tests.helpers.byte_tokens import byte_tokenizer
from tests.helpers.tiny import tiny_model

NO_BOS = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def llama_tokenizer() -> Any:
    """A tokenizer of letters as Llama 2 has it: a space becomes a piece, and one is put before every text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = {chr(code): code - 30 for code in range(33, 127)}
    vocabulary = {"<s>": 0, "</s>": 1, "▁": 2, **letters}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in ("<s>", "</s>")]
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", model_max_length=64
    )


def prompts_trained(dataset: SFTDataset) -> list[list[int]]:
    """What precedes the first target of every row."""
    return [
        example.input_ids[: next(i for i, label in enumerate(example.labels) if label != -100)]
        for example in dataset
    ]


def prompts_read(task: Any, tokenizer: Any, batch_size: int) -> list[list[int]]:
    """What the model was given of every prompt, without its padding."""
    model, seen = tiny_model(vocab_size=160), []
    generate = model.generate

    def spy(**given: Any) -> Any:
        pairs = zip(given["input_ids"], given["attention_mask"], strict=True)
        for ids, mask in pairs:
            assert mask.tolist() == sorted(mask.tolist())  # padded on the left
            seen.append(ids[mask.bool()].tolist())
        return generate(**given)

    model.generate = spy
    evaluate(model, tokenizer, [task], temperature=0.0, part="all", batch_size=batch_size)
    return seen


@pytest.mark.parametrize("kind", ["llama", "no bos"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_prompts_are_read_in_the_tokens_that_are_trained_on(kind: str, batch_size: int) -> None:
    """Breaks where a text gets a piece behind every special token, or a beginning that its chat has not."""
    rows: list[dict[str, Any]] = [
        {"prompt": f"{i} plus {'1' * i} is", "completion": f" #### {i}"} for i in range(1, 6)
    ]
    tokenizer = llama_tokenizer() if kind == "llama" else byte_tokenizer(bos=True)
    template = "none" if kind == "llama" else NO_BOS
    dataset = load_dataset(rows, tokenizer, chat_template=template, max_length=48)
    read = prompts_read(own_task(dataset, None), tokenizer, batch_size)
    assert sorted(read) == sorted(prompts_trained(dataset))


def test_choices_are_read_in_the_tokens_that_are_trained_on() -> None:
    model, seen = tiny_model(vocab_size=160), set[tuple[int, ...]]()

    def spy(_: Any, given: tuple[torch.Tensor, ...]) -> None:
        seen.update(tuple(ids[: ids.nonzero().max() + 1].tolist()) for ids in given[0])

    model.register_forward_pre_hook(spy)
    rows = [{"prompt": f"a dog {i}", "completion": f" barks {i} times"} for i in range(4)]
    dataset = load_dataset(rows, llama_tokenizer(), chat_template="none", max_length=48)
    task = own_task(dataset, None)
    evaluate(model, dataset.tokenizer, [task], temperature=0.0, part="all")
    prompts = prompts_trained(dataset)
    answers = [row.input_ids[len(p) : -1] for row, p in zip(dataset, prompts, strict=True)]
    # The last token of a choice is predicted, and not read.
    assert seen == {tuple(p + a[:-1]) for p in prompts for a in answers}


def test_a_text_without_a_prompt_is_split_between_its_tokens() -> None:
    words = {1: "<s>", 2: "It", 3: " rained.", 4: " Tom", 5: " ran", 6: " home.", 7: "It rained. "}

    def found(ids: tuple[int, ...], context: str, choice: str) -> Any:
        row = Answered(
            prompt="", completion="It rained. Tom ran home.", before=(1,), ids=ids, length=9
        )
        tokens = of_choices([row], [(context, choice)], lambda ids: "".join(words[i] for i in ids))
        return tokens.pair(context, choice)

    whole = (2, 3, 4, 5, 6)
    assert found(whole, "It rained. ", "Tom ran") == ([1, 2, 3], [4, 5])
    assert found(whole, "It rained. ", "Tom r") == ([1, 2, 3], [4, 5])  # it ends within a token
    assert found((7, 4, 5, 6), "It rained. ", "Tom") is None  # the context does


def test_prompts_that_are_too_long_lose_their_beginning() -> None:
    model = TrainedPrompts(pretrained=tiny_model(vocab_size=160), tokenizer=llama_tokenizer())
    model.tokens = TrainedTokens(prompts={"long": (5, 6, 7, 8), "short": (9,)})
    ids, mask = model.tok_batch_encode(["long", "short"], left_truncate_len=3)
    assert ids[0].tolist() == [6, 7, 8] and ids[1, -1] == 9
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    other, _ = model.tok_batch_encode(["long", "b"])  # of which one is not known
    assert other[0].tolist() == model.tokenizer("long")["input_ids"]
