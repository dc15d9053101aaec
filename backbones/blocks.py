"""Residual blocks.

Shapes: N images, C channels, H x W pixels; s is the stride of a block. Parameter names are torchvision's: `conv1`,
`bn1`, … in order, `downsample.0` and `downsample.1` for a projection and its norm.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from backbones.interface import Norm
from backbones.spec import ArchSpec

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A padded convolution without bias: (N, inputs, H, W) -> (N, outputs, H/stride, W/stride), sizes rounded up.

    A bias would have no use, since a norm precedes or follows every convolution.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        kernel: side of the kernel, an odd number.
        stride: stride in both directions.
        groups: groups of channels, as of `nn.Conv2d`.
    """
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


class ZeroPad(nn.Module):
    """Shortcut of option A (ResNet, section 3.3): (N, C, H, W) -> (N, C', H/s, W/s); channels past C are zeros.

    Args:
        inputs: C.
        outputs: C'.
        stride: s; every s-th pixel is kept.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.extra = outputs - inputs
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def shortcut(spec: ArchSpec, inputs: int, outputs: int, stride: int, norm: Norm) -> nn.Module | None:
    """The shortcut module of a block (ResNet, Eqn. 2): (N, inputs, H, W) -> (N, outputs, H/s, W/s).

    Args:
        spec: the network of the block; `spec.shortcut` is the shortcut option.
        inputs: channels of the block's input.
        outputs: channels of the block's output.
        stride: s, the stride of the block.
        norm: makes the norm layer after a projection. A pre-activation network has no norm there.

    Returns:
        the module, or None where the shortcut is the identity or the network is plain.
    """
    changes = stride != 1 or inputs != outputs
    if spec.shortcut == "none" or not (changes or spec.shortcut == "C"):
        return None
    if spec.shortcut == "A":
        return ZeroPad(inputs, outputs, stride)
    projection = conv(inputs, outputs, 1, stride)
    return nn.Sequential(projection) if spec.preact else nn.Sequential(projection, norm(outputs))


class Block(nn.Module):
    """relu(x + F(x)), in a plain network relu(F(x)): (N, C, H, W) -> (N, C', H/s, W/s). ResNet, Eqn. 1 and 2.

    F is the convolutions of `spec.kernels`, each followed by its norm, with ReLU (and dropout) between them.

    Args:
        spec: the network of the block.
        inputs: C, the channels of x.
        inner: output channels of every convolution except the last.
        outputs: C', the channels of the result.
        stride: s, the stride of the block.
        norm: makes the norm layer for a number of channels.
        first: whether the block is the first of the network.

    Attributes:
        checkpointed: whether training keeps only x and computes the block again in the backward pass, to save memory.
    """

    def __init__(self, spec: ArchSpec, inputs: int, inner: int, outputs: int, stride: int, norm: Norm, first: bool):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.checkpointed = False
        self.plain = spec.shortcut == "none"
        self.dropout = nn.Dropout(spec.dropout) if spec.dropout else None
        self.downsample = shortcut(spec, inputs, outputs, stride, norm)
        self.size = len(spec.kernels)
        self._build_branch(spec, inputs, inner, outputs, stride, norm, first)

    def _build_branch(self, spec, inputs, inner, outputs, stride, norm, first):
        strided = 0 if spec.stride_in_first else spec.kernels.index(3)
        widths = [inputs, *[inner] * (self.size - 1), outputs]
        for i, kernel in enumerate(spec.kernels):
            groups = spec.groups if kernel == 3 else 1
            convolution = conv(widths[i], widths[i + 1], kernel, stride if i == strided else 1, groups)
            self.add_module(f"conv{i + 1}", convolution)
            if not spec.preact:
                self.add_module(f"bn{i + 1}", norm(widths[i + 1]))
            elif i > 0 or not first:
                self.add_module(f"bn{i + 1}", norm(widths[i]))

    @property
    def layers(self) -> list[tuple[nn.Module, nn.Module | None]]:
        """Pairs of a convolution and its norm, in order.

        The first norm is None in the first block of a pre-activation network.
        """
        return [(getattr(self, f"conv{i}"), getattr(self, f"bn{i}", None)) for i in range(1, self.size + 1)]

    def between(self, x: Tensor) -> Tensor:
        """ReLU, and dropout if the network has dropout: the layers between two convolutions beside the norm."""
        x = self.relu(x)
        return x if self.dropout is None else self.dropout(x)

    def branch(self, x: Tensor) -> Tensor:
        """F(x): (N, C, H, W) -> (N, C', H/s, W/s)."""
        for i, (convolution, norm) in enumerate(self.layers):
            x = norm(convolution(self.between(x) if i else x))
        return x

    def compute(self, x: Tensor) -> Tensor:
        """The block's result, (N, C, H, W) -> (N, C', H/s, W/s); `forward` adds the checkpointing."""
        out = self.branch(x)
        if not self.plain:
            out = out + (x if self.downsample is None else self.downsample(x))
        return self.relu(out)

    def forward(self, x: Tensor) -> Tensor:
        if self.checkpointed and self.training and torch.is_grad_enabled():
            return checkpoint(self.compute, x, use_reentrant=False, context_fn=self._recomputation)
        return self.compute(x)

    def _recomputation(self):
        return contextlib.nullcontext(), _frozen_statistics(self)


class PreActBlock(Block):
    """x + F(x) with norm and ReLU before each convolution of F: (N, C, H, W) -> (N, C', H/s, W/s).

    As Identity Mappings in Deep Residual Networks has it (Fig. 4e and appendix): a projection takes x after the first
    norm and ReLU, as F does; the first block of the network has no first norm and ReLU, since the stem ends with them.
    """

    def compute(self, x: Tensor) -> Tensor:
        first_norm = self.layers[0][1]
        active = x if first_norm is None else self.relu(first_norm(x))
        out = self.branch(active)
        if self.plain:
            return out
        if isinstance(self.downsample, nn.Sequential):
            return out + self.downsample(active)
        return out + (x if self.downsample is None else self.downsample(x))

    def branch(self, x: Tensor) -> Tensor:
        for i, (convolution, norm) in enumerate(self.layers):
            x = convolution(self.between(norm(x)) if i else x)
        return x


@contextlib.contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """A context in which the running statistics of BN stay as they are.

    Checkpointing computes a block twice. The second pass must not count the batch again.
    """
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._NormBase) and m.track_running_stats]
    before = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, batches in before:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)
