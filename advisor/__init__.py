"""Which fine-tuning objective for this model and this dataset? Measure the prior, then decide.

    from advisor.data.dataset import load_dataset
    from advisor.model.load import load_model
    from advisor.prior.prior import measure_prior
    from advisor.advice.recommend import recommend
    from advisor.advice.published_rule import is_settled

    loaded = load_model("path/to/model")
    dataset = load_dataset("train.jsonl", loaded.tokenizer)
    prior = measure_prior(loaded, dataset, settled=is_settled)
    print(recommend(prior, temperature=0.0).reason)

Nothing is imported here but the switch that keeps the libraries from reporting home, so that
`advisor --help` stays instant.
"""

from advisor.telemetry import switch_off

__version__ = "0.1.0"

switch_off()
