"""Goes the whole way on data that it draws: pretrains, transfers into Faster R-CNN, compares with random weights.

tools/demo.py --output output/demo
tools/demo.py --output output/demo --resume
"""

import os
import signal
import sys
import time
from pathlib import Path

from backbones.errors import InputError
from residet.cli.arguments import Parser, command_to_resume, whole
from residet.cli.configs import configs_folder
from residet.cli.exits import exit_code

CONFIGS = configs_folder() / "demo"
TRAIN_IMAGES, TEST_IMAGES = 800, 100
OBJECTS = (3, 6)  # fewest and most in an image
PRECISIONS = ("", "bfloat16")  # in which the demo may train; "" is float32
OTHER_WORK = 1.15  # time of the whole demo, in times of its training steps: evaluation, checkpoints, pictures
TERMINATED = 128 + signal.SIGTERM  # exit code

NEXT = """\
pictures, truth left and prediction right: {output}/pretrained/pictures
backbone: {output}/pretrain/model_final.pth
detector: {output}/pretrained/model_final.pth

Next, with detection data of your own in VOC, COCO or YOLO layout, DIR, and pictures to pretrain on,
IMAGES/train/CLASS/*.jpg and IMAGES/val/CLASS/*.jpg:
    {python} -m residet inspect DIR
    {python} -m residet pretrain --arch resnet18 --data IMAGES OUTPUT_DIR output/pretrain
    {python} -m residet train --config-file faster_rcnn_resnet18_fpn --data DIR \\
        --weights output/pretrain/model_final.pth
"""


def precision_options(precision):
    """KEY, VALUE, … pairs for a name in `PRECISIONS`."""
    return ["SOLVER.AMP.ENABLED", bool(precision), "SOLVER.AMP.DTYPE", precision or PRECISIONS[-1]]


def plan_pretraining(args, precision):
    """The plan of the classifier's run, from its last checkpoint where it has one."""
    from classification.config import default_config
    from classification.prepare import prepare
    from residet.config import merge_config
    from residet.launch import resolve_device
    from residet.output import is_resumable

    cfg = default_config()
    folder = Path(args.output, "pretrain")
    opts = ["SEED", args.seed, "OUTPUT_DIR", str(folder), *precision_options(precision)]
    merge_config(cfg, str(CONFIGS / "pretrain_resnet18.yaml"), opts)
    cfg.CLASSIFICATION.DATA = str(Path(args.output, "data", "crops"))
    resolve_device(cfg)
    plan = prepare(cfg, eval_only=False, resume=is_resumable(folder))
    plan.command = command_to_resume(args)
    return plan


def plan_detection(args, precision, name, weights=""):
    """The plan of a detector's run in the folder `name`, from its last checkpoint where it has one."""
    from detection.config import default_config
    from detection.prepare import prepare
    from residet.config import merge_config
    from residet.launch import resolve_device
    from residet.output import is_resumable

    cfg = default_config()
    folder, annotations = Path(args.output, name), Path(args.output, "data", "annotations")
    opts = ["SEED", args.seed, "OUTPUT_DIR", str(folder), "MODEL.WEIGHTS", str(weights)]
    opts += precision_options(precision)
    merge_config(cfg, str(CONFIGS / "faster_rcnn_resnet18_fpn.yaml"), opts)
    cfg.DATASETS.TRAIN = (str(annotations / "train.json"),)
    cfg.DATASETS.TEST = (str(annotations / "val.json"),)
    resolve_device(cfg)
    plan = prepare(cfg, eval_only=False, resume=is_resumable(folder))
    plan.command = command_to_resume(args)
    return plan


def pretrain(args, precision):
    """Trains the classifier on the crops of the drawn objects. Ends the process where SIGTERM stopped the training."""
    from classification.trainer import train
    from residet.launch import start_log

    plan = plan_pretraining(args, precision)
    start_log(plan, "1/3 pretrain resnet18 on the crops")
    if train(plan) is None:
        sys.exit(TERMINATED)  # the trainer has said how to go on


def detect(args, precision, title, name, weights=""):
    """Trains a detector and returns its AP and seconds. Ends the process where SIGTERM stopped the training."""
    from detection.trainer import train
    from residet.launch import start_log

    plan = plan_detection(args, precision, name, weights)
    start_log(plan, title)
    rows = train(plan)
    if rows is None:
        sys.exit(TERMINATED)
    (row,) = rows.values()
    return row


def training_seconds(trainer, cfg, precision, steps=6):
    """The time that this machine needs for the iterations of a config, from a few steps whose results are dropped."""
    from residet.engine.step import Step

    model = trainer.build_model(cfg)
    optimizer = trainer.build_optimizer(cfg, model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # without a warm-up the loss could overflow
    step = Step(model, optimizer, precision=precision)
    step.data_loader = trainer.build_train_loader(cfg)
    step.train(0, 3)  # these steps are slower than the others: the loader starts
    start = time.perf_counter()
    step.train(0, steps)
    return (time.perf_counter() - start) / steps * cfg.SOLVER.MAX_ITER


def measure(args):
    """Finds out what this machine computes faster in.

    Returns:
        {"precision": …}, and the minutes that the whole demo takes.
    """
    from classification.trainer import ClassificationTrainer
    from detection.trainer import DetectionTrainer

    seconds = {}
    for precision in PRECISIONS:
        seconds[precision] = training_seconds(ClassificationTrainer, plan_pretraining(args, precision).cfg, precision)
        cfg = plan_detection(args, precision, "random").cfg
        seconds[precision] += 2 * training_seconds(DetectionTrainer, cfg, precision)
    fastest = min(PRECISIONS, key=seconds.get)
    return {"precision": fastest}, OTHER_WORK * seconds[fastest] / 60


def work(args):
    """Draws the data, trains the classifier and both detectors, and writes the table and the report."""
    from backbones.whole_files import check_folder, json_or_none, write_json
    from detection.comparison.rows import rows_of
    from detection.data.synthetic import make_shapes
    from detection.evaluation.report import table
    from detection.report.page import write_report
    from residet.output import lock_folder

    output = Path(args.output)
    if output.exists() and not args.resume:
        raise InputError(f"--output: {output} exists; go on with it by --resume, remove it or name another folder")
    check_folder(output, "--output")
    lock_folder(output, "--output")
    start = time.perf_counter()
    data = output / "data"
    if not (data / "annotations" / "val.json").is_file():  # the file that is written last
        print(f"0/3 draw {TRAIN_IMAGES} training and {TEST_IMAGES} held-out images → {data}", flush=True)
        make_shapes(data, TRAIN_IMAGES, TEST_IMAGES, args.seed, OBJECTS)
    machine = json_or_none(output / "machine.json")
    if machine is None:
        machine, minutes = measure(args)
        print(f"about {minutes:.0f} minutes in all on this machine, in {machine['precision'] or 'float32'}", flush=True)
        write_json(machine, output / "machine.json")
    precision = machine["precision"]
    pretrain(args, precision)
    weights = output / "pretrain" / "model_final.pth"
    rows = {
        "pretrained": detect(args, precision, "2/3 Faster R-CNN from that checkpoint", "pretrained", weights),
        "random": detect(args, precision, "3/3 Faster R-CNN from random weights", "random"),
    }
    write_json(rows, output / "results.json")
    print(f"\n{table(rows)}\n")
    page = write_report(rows_of({name: [output / name] for name in rows}), output / "report.html")
    print(f"report, with intervals and the worst images: {page}")
    print(NEXT.format(output=output, python=os.path.relpath(sys.executable)))
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes in all")


def locked(args):
    """Runs `work`, and gives its lock back."""
    from residet.output import release_locks

    try:
        work(args)
    finally:
        release_locks()


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser = Parser("demo.py", __doc__)
    parser.add_argument("--output", default="output/demo", metavar="DIR", help="folder for data, runs and pictures")
    parser.add_argument("--seed", type=whole(), default=0, help="seed of the data and of the runs")
    parser.add_argument("--resume", action="store_true", help="go on with a demo that was stopped")
    return parser.parse_args(argv)


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)

    def stop(*_):  # between two trainings; within a training, the trainer saves its state first
        print(f"stopped by SIGTERM; go on with: {command_to_resume(args)}", file=sys.stderr)
        sys.exit(TERMINATED)

    signal.signal(signal.SIGTERM, stop)
    return exit_code(lambda: locked(args))


if __name__ == "__main__":
    sys.exit(main())
