"""Rows of the catalogue with few channels, which are quick to compute."""

import dataclasses

from backbones.resnet import ResidualNet


def narrow(spec, num_classes=3):
    """The row with a sixteenth of its channels: what matters here is how the parts are joined."""
    return ResidualNet(
        dataclasses.replace(
            spec,
            widths=tuple(max(w // 16, 4) for w in spec.widths),
            inner_widths=tuple(max(w // 16 // spec.groups, 2) * spec.groups for w in spec.inner_widths),
            stem_width=4,
        ),
        num_classes,
    )
