"""Any fine-tuning dataset to examples of token ids and labels, each row accounted for."""
