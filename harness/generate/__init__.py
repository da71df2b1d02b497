"""Answers of a model: decoding, its own verified answers, hinted decoding, rewritten datasets."""
