"""Writes the weights of a classifier, or of a detector's backbone, as a file for another library.

torchvision and timm get a state dict, detectron2 and residet a checkpoint.

tools/export.py output/pretrain/model_final.pth --to timm --output resnext101_32x4d.safetensors
tools/export.py R-50.pkl --to residet --output resnet50_caffe.pth
"""

import sys

from backbones.weights import FORMATS
from residet.cli.arguments import Parser
from residet.cli.exits import exit_code


def work(args):
    """Writes the file and prints what the file holds."""
    from backbones.weights.export import export

    print(export(args.weights, args.output, args.to, args.arch))


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser = Parser("export.py", __doc__)
    parser.add_argument(
        "weights",
        metavar="FILE",
        help="weights of residet, torchvision, timm or detectron2: .pth, .safetensors or .pkl",
    )
    parser.add_argument("--to", required=True, choices=FORMATS, help="library that is to load the file")
    parser.add_argument(
        "--output", required=True, metavar="FILE", help="file to write: .pth, or .safetensors (not for detectron2)"
    )
    parser.add_argument("--arch", default="", help="name of the network, if the file does not name it")
    return parser.parse_args(argv)


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
