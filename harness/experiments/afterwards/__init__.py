"""The study of what comes after a fine-tune: pass@16 of starts, and what GRPO makes of them."""
