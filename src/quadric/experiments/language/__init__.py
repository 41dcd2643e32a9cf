"""Experiments on language models whose MLPs are gated, and the commands that run them."""
