"""Planted bugs: whether the proofs find them, which of them does, and after how much."""
