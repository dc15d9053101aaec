"""Writes weights for another library: a state dict for torchvision or timm, a checkpoint for detectron2 or for residet.

tools/export.py output/pretrain/model_final.pth --to timm --output resnext101_32x4d.safetensors
tools/export.py R-50.pkl --to residet --output resnet50_caffe.pth
"""

import argparse
import sys

from backbones.weights.export import FORMATS, export
from residet.launch import exit_code


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", metavar="FILE", help=".pth, .safetensors or .pkl: ours, torchvision's, timm's, …")
    parser.add_argument("--to", required=True, choices=FORMATS)
    parser.add_argument("--output", required=True, metavar="FILE", help=".pth or .safetensors")
    parser.add_argument("--arch", default="", help="network, where the file does not tell")
    args = parser.parse_args(argv)
    return exit_code(lambda: print(export(args.weights, args.output, args.to, args.arch)))


if __name__ == "__main__":
    sys.exit(main())
