"""Writes a network as a file for another library, or as a file that runs without this project.

torchvision and timm get a state dict, detectron2 and residet a checkpoint. ONNX, OpenVINO and torch.export get a whole
detector with its postprocessing, a classifier, or a backbone; what the file gives for the images of --images is
compared with the network, and without agreement there is no file. What float16 and int8 cost is measured on --data.

tools/export.py output/detection/model_final.pth --to onnx --images DIR --output detector.onnx
tools/export.py output/detection/model_final.pth --to openvino --images DIR --output detector.xml
tools/export.py model_final.pth --to onnx --precision int8 --images DIR --data DIR:val --output detector.onnx
tools/export.py output/pretrain/model_final.pth --to timm --output resnext101_32x4d.safetensors
tools/export.py R-50.pkl --to residet --output resnet50_caffe.pth
"""

import sys

from backbones.portable import PARTS, PRECISIONS, SUFFIXES
from backbones.weights import FORMATS
from residet.cli.arguments import Parser
from residet.cli.exits import exit_code


def work(args):
    """Writes the file and prints what the file holds."""
    if args.to in SUFFIXES:
        from detection.export import export_portable

        def measure_classifier():
            from classification.export_score import measure_classifier

            return measure_classifier(args.weights, args.arch, args.data)

        chosen = (args.weights, args.output, args.to, args.part, args.images, args.arch, args.config_file)
        print(export_portable(*chosen, args.precision, args.data, args.max_loss, measure_classifier))
    else:
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
    parser.add_argument("--to", required=True, choices=(*FORMATS, *SUFFIXES), help="what is to load the file")
    parser.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help="file to write: .pth, or .safetensors (not for detectron2); .onnx; .xml for openvino, with a .bin beside "
        "it; .pt2 for torch-export",
    )
    parser.add_argument("--arch", default="", help="name of the network, if the file does not name it")
    portable = parser.add_argument_group("onnx, openvino and torch-export")
    portable.add_argument(
        "--images", nargs="+", default=[], metavar="FILE|DIR", help="images to check the file with, at most 8 are taken"
    )
    portable.add_argument(
        "--part", choices=PARTS, help="what to export; by default all that the weights hold, a detector or a classifier"
    )
    portable.add_argument(
        "--config-file", metavar="FILE", help="config of a detector that does not say how it is built"
    )
    bits = parser.add_argument_group("fewer bits, for onnx and openvino")
    bits.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="what the file computes in; int8 takes its ranges from up to 64 of --images, best training images",
    )
    bits.add_argument(
        "--data",
        default="",
        metavar="DIR[:SPLIT]",
        help="annotated data, or for a classifier a folder with val/CLASS, on which cost and speed are measured",
    )
    bits.add_argument(
        "--max-loss",
        type=float,
        default=1.0,
        metavar="POINTS",
        help="largest loss of AP, or of top-1 accuracy, in points of %% with which the file stays",
    )
    return parser.parse_args(argv)


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
