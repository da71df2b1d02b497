"""The study of a real model, SmolLM2-135M-Instruct: what wins, what was forecast, what is forgotten."""
