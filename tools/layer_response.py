"""Measures the standard deviation of each 3x3 layer's response, and draws a curve for each network (ResNet, Fig. 7).

tools/layer_response.py output/cifar_resnet20/model_final.pth output/cifar_plain20/model_final.pth --data CIFAR10
"""

import sys
from pathlib import Path

from residet.cli.arguments import Parser
from residet.cli.exits import exit_code


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser = Parser("layer_response.py", __doc__)
    parser.add_argument("weights", nargs="+", metavar="FILE", help="checkpoints of tools/pretrain.py")
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="folder with the images to measure on, val/CLASS/* or test/CLASS/*"
    )
    parser.add_argument(
        "--output", default="output/layer_response", metavar="DIR", help="folder for the picture and the JSON file"
    )
    return parser.parse_args(argv)


def work(args):
    """Measures the networks, writes the picture and the JSON file, and prints a line for each network."""
    from backbones.whole_files import check_folder, write_json
    from classification.layer_response import draw, measure

    check_folder(args.output, "--output")
    responses = {}
    for path in args.weights:
        name, stds = measure(path, args.data)
        responses[name if name not in responses else path] = stds
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    draw({name: list(stds.values()) for name, stds in responses.items()}, output / "layer_response.png")
    write_json(responses, output / "layer_response.json")
    for name, stds in responses.items():
        strengths = stds.values()
        print(
            f"{name}: {len(stds)} layers, std {sum(strengths) / len(stds):.3f} on average, {max(strengths):.3f} at most"
        )
    print(f"picture and figures: {output}")


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
