"""The arguments of the tools that start from weights: --weights and --list-weights."""

from __future__ import annotations

import argparse

from residet.cli.exits import exit_code


class _ListWeights(argparse.Action):
    """Prints the published weights of a network, or of all networks, and ends the tool."""

    def __call__(self, parser, namespace, values, option_string=None):
        # Within the function: the table needs the catalogue of networks, and with it torch, but --help does not.
        from backbones.weights.published import weights_table

        parser.exit(exit_code(lambda: print(weights_table(values or ""))))


def add_list_weights(parser: argparse.ArgumentParser) -> None:
    """Adds --list-weights."""
    parser.add_argument(
        "--list-weights",
        nargs="?",
        metavar="ARCH",
        action=_ListWeights,
        help="print the published weights of a network, or of all networks, and stop",
    )


def add_weights(parser: argparse._ActionsContainer, purpose: str, several: str = "") -> None:
    """Adds --weights.

    Args:
        parser: the parser, or a group of the parser.
        purpose: what the weights are for, the beginning of the help text.
        several: what several --weights are with --eval-only; "" if --weights may be given once. The attribute `weights`
            is then a list, or None.
    """
    more = f"; several times, with --eval-only: {several}" if several else ""
    parser.add_argument(
        "--weights",
        action="append" if several else "store",
        metavar="FILE|NAME",
        help=f"{purpose}: a file, or a name such as torchvision:resnet50, timm:resnet50.a1_in1k, hf:ORG/REPO, "
        "detectron2:COCO-Detection/faster_rcnn_R_50_FPN_3x, https://…, or auto for the best of the network" + more,
    )
