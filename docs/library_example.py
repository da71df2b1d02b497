"""From a DataFrame to a recommendation to a trained model, on the smallest rung of the embedded ladder."""

import pandas as pd

import advisor
from harness.ladder import resolve

model = "ladder:weak"  # a folder, a hub id, or (model, tokenizer)
frame = pd.read_json(resolve("weak")[1], lines=True, dtype=False)  # columns prompt and completion
answer = advisor.recommend(model, frame, temperature=0.0)
print(answer)
trained = advisor.train(model, frame, objective=answer.recommended, output_dir="out", max_steps=20)
print(trained.output_dir, trained.log[-2])
