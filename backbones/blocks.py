"""Stem and residual blocks.

Shapes: N images, C channels, H x W pixels; s is the stride of a block. Parameter names are torchvision's.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
"""Makes the normalisation of that many channels, e.g. `nn.BatchNorm2d`."""


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1, without bias: a norm follows it."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


class _Residual(nn.Module):
    """relu(shortcut(x) + branch(x)): (N, C, H, W) -> (N, C', H/s, W/s). ResNet, Eqn. 1 and 2.

    The shortcut is the identity where the shape stays, else a 1x1 projection (option B).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride), norm(outputs))

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.branch(x) + shortcut)


class BasicBlock(_Residual):
    """Two 3x3 convolutions: ResNet, Fig. 5 left; widened, Wide ResNet's B(3,3)."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int, groups: int, norm: Norm):
        super().__init__(inputs, outputs, stride, norm)
        self.conv1 = conv(inputs, inner, 3, stride, groups)
        self.bn1 = norm(inner)
        self.conv2 = conv(inner, outputs, 3, 1, groups)
        self.bn2 = norm(outputs)

    def branch(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))


class Bottleneck(_Residual):
    """1x1, grouped 3x3 with the stride, 1x1: ResNet, Fig. 5 right; in groups, ResNeXt's Fig. 3(c)."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int, groups: int, norm: Norm):
        super().__init__(inputs, outputs, stride, norm)
        self.conv1 = conv(inputs, inner, 1)
        self.bn1 = norm(inner)
        self.conv2 = conv(inner, inner, 3, stride, groups)
        self.bn2 = norm(inner)
        self.conv3 = conv(inner, outputs, 1)
        self.bn3 = norm(outputs)

    def branch(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}
