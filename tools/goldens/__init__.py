"""Tiny random checkpoints of each family, as they are published, and what transformers computes of them."""
