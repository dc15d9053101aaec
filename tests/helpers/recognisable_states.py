"""Weights of large networks in small files."""

import torch


def recognisable(state):
    """Entries of the same names, shapes and types, each of one number all over, which no other has."""
    numbers = enumerate(state.items(), 1)
    return {k: torch.tensor(i, dtype=v.dtype, device="cpu").expand(v.shape) for i, (k, v) in numbers}
