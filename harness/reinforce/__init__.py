"""Reinforcement learning on the task's own verifier: what a fine-tune is a start for."""
