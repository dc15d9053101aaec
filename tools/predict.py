"""Detects objects in images, a video or a camera's pictures: draws the detections and writes them as COCO JSON and CSV.

If the tool was stopped, the same command goes on: images that are done are passed over.

tools/predict.py model_final.pth photo.jpg
tools/predict.py model_final.pth IMAGES 'more/**/*.png' --score 0.3 --classes car person --output output/cars
tools/predict.py model_final.pth street.mp4 --output output/street
tools/predict.py model_final.pth camera:0 --frames 200 --output output/camera
"""

import argparse
import hashlib
import sys
from pathlib import Path


def work(args):
    """Predicts and prints a line of counts."""
    # Imported here, so that --help and mistakes in the arguments need no torch.
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
    settings = {"predictor": [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files]}
    settings |= {"input": source.place} | {option: getattr(args, option) for option in options}
    results = PredictionFolder(args.output, settings, detector.classes)
    try:
        if isinstance(source, Images):
            print(predict_images(detector, source, results, pictures=args.pictures))
        else:
            print(predict_video(detector, source, results, pictures=args.pictures, frames=args.frames))
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)
    finally:
        results.close()


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="checkpoint of tools/train_net.py, or a file of tools/export.py")
    parser.add_argument(
        "input",
        nargs="+",
        metavar="INPUT",
        help="image files, folders (with subfolders) and patterns in quotes; or one video file; or camera:0",
    )
    parser.add_argument("--output", default="output/predict", metavar="DIR", help="folder of the results")
    parser.add_argument(
        "--score", type=float, default=0.5, metavar="S", help="leave out detections with this score or less (0.5)"
    )
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="classes to report; all by default")
    parser.add_argument(
        "--tiles", type=int, default=0, metavar="PIXELS", help="look at large images in tiles of this side, too"
    )
    parser.add_argument("--augment", action="store_true", help="look at flipped and resized copies, too")
    parser.add_argument("--batch", type=int, default=4, metavar="N", help="most images of one size at a time (4)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:1; the GPU where there is one")
    parser.add_argument(
        "--backend", choices=("torch", "onnxruntime", "openvino"), help="what runs the network; follows from MODEL"
    )
    parser.add_argument(
        "--frames", type=int, default=0, metavar="N", help="number of frames to take of a video or a camera"
    )
    parser.add_argument("--no-pictures", dest="pictures", action="store_false", help="write JSON and CSV alone")
    parser.add_argument(
        "--config-file", metavar="FILE", help="config of a checkpoint that does not say how its detector is built"
    )
    return parser.parse_args(argv)


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    from residet.launch import exit_code

    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
