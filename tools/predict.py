"""Detects objects in images, a video or a camera's pictures: draws the detections and writes them as COCO JSON and CSV.

If the tool was stopped, the same command goes on: images that are done are passed over.

tools/predict.py model_final.pth photo.jpg
tools/predict.py model_final.pth IMAGES 'more/**/*.png' --score 0.3 --classes car person --output output/cars
tools/predict.py model_final.pth street.mp4 --output output/street
tools/predict.py model_final.pth camera:0 --frames 200 --output output/camera
"""

import sys

from residet.cli.arguments import Parser, real, whole
from residet.cli.exits import exit_code


def work(args):
    """Predicts and prints a line of counts."""
    from backbones.whole_files import file_digest
    from detection import Predictor
    from detection.prediction.folder import PredictionFolder
    from detection.prediction.runs import check_output, predict_images, predict_video
    from detection.prediction.sources import Images, find_source

    source = find_source(args.input)
    if isinstance(source, Images):
        check_output(args.output, source)
    files = [args.config_file, args.model] if args.config_file else [args.model]
    detector = Predictor(
        *files,
        backend=args.backend,
        device=args.device,
        score_threshold=args.score,
        classes=args.classes,
        tiles=args.tiles,
        augmentation=args.augment,
        batch_size=args.batch,
    )
    options = ("score", "classes", "tiles", "augment", "pictures")
    settings = {"predictor": [file_digest(file) for file in files]}
    settings |= {"input": source.place} | {option: getattr(args, option) for option in options}
    results = PredictionFolder(args.output, settings, detector.classes)
    try:
        if isinstance(source, Images):
            print(predict_images(detector, source, results, pictures=args.pictures))
        else:
            print(predict_video(detector, source, results, pictures=args.pictures, frames=args.frames))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on") from None
    finally:
        results.close()


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser = Parser("predict.py", __doc__)
    parser.add_argument("model", metavar="MODEL", help="checkpoint of tools/train_net.py, or a file of tools/export.py")
    parser.add_argument(
        "input",
        nargs="+",
        metavar="INPUT",
        help="image files, folders (with subfolders) and patterns in quotes; or one video file; or camera:0",
    )
    found = parser.add_argument_group("detections")
    found.add_argument(
        "--score", type=real(0.0, 1.0), default=0.5, metavar="S", help="leave out detections with this score or less"
    )
    found.add_argument("--classes", nargs="+", metavar="NAME", help="classes to report; all by default")
    found.add_argument(
        "--tiles", type=whole(), default=0, metavar="PIXELS", help="look at large images in tiles of this side, too"
    )
    found.add_argument("--augment", action="store_true", help="look at flipped and resized copies, too")
    found.add_argument(
        "--frames", type=whole(), default=0, metavar="N", help="number of frames to take of a video or a camera; 0: all"
    )
    run = parser.add_argument_group("run")
    run.add_argument("--batch", type=whole(1), default=4, metavar="N", help="most images of one size at a time")
    run.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:1; by default the GPU where there is one")
    run.add_argument(
        "--backend",
        choices=("torch", "onnxruntime", "openvino"),
        help="what runs the network; by default what fits MODEL",
    )
    run.add_argument(
        "--config-file", metavar="FILE", help="config of a checkpoint that does not say how its detector is built"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--output", default="output/predict", metavar="DIR", help="folder of the results")
    output.add_argument("--no-pictures", dest="pictures", action="store_false", help="write JSON and CSV alone")
    return parser.parse_args(argv)


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
