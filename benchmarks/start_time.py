"""How long does a training on 100,000 images take from the command to its first iteration?

The detector is Faster R-CNN on ResNet-50 with a feature pyramid; the peer is detectron2's DefaultTrainer with its stock
config. Both read the same COCO file, whose images are links to a JPEG. Wall time of a process of one thread each: the
time includes the imports.

benchmarks/start_time.py --images 100000
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Nothing else of ours is imported where the peer runs: its time must not hold our imports.
from backbones._detectron2 import provide_detectron2

# The config of both: an iteration of one image, one process.
KEYS = ["SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", 1, "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu"]
KEYS += ["INPUT.MIN_SIZE_TRAIN", (64,), "MODEL.WEIGHTS", "", "SOLVER.CHECKPOINT_PERIOD", 10]
KEYS += ["MODEL.BACKBONE.FREEZE_AT", 0, "MODEL.RESNETS.NORM", "BN"]


def make_data(folder, images):
    """Writes folder/train.json of `images` images, folder/val.json of one, and the images."""
    import numpy as np
    from made_up import SIZE, made_up
    from PIL import Image

    truth, _ = made_up(images, np.random.default_rng(0), detections=0)
    (folder / "train.json").write_text(json.dumps(truth))
    truth["images"], truth["annotations"] = truth["images"][:1], truth["annotations"][:7]
    (folder / "val.json").write_text(json.dumps(truth))
    source = folder / "source.jpg"
    Image.new("RGB", (SIZE, SIZE)).save(source)
    for i in range(images):
        path = folder / f"{i}.jpg"
        if i % 50_000 == 0:  # a file system allows a file some 65,000 links
            shutil.copy(source, path)
            source = path
        else:
            path.hardlink_to(source)


def ours(folder):
    """Starts our command; the number of training images that its log names."""
    output = folder / "ours"
    shutil.rmtree(output, ignore_errors=True)
    command = ["tools/train_net.py", "--config-file", "faster_rcnn_resnet50_fpn", "--train", folder / "train.json"]
    command += ["--val", folder / "val.json", *KEYS, "OUTPUT_DIR", output]
    return images_at_start(command, "parameters: ", r"train.json: (\d+) images")


def theirs(folder):
    """Starts this script as detectron2's training; the number of training images that its log names."""
    return images_at_start([__file__, "--peer", folder], "Starting training", r"(\d+) images left")


def images_at_start(command, start, pattern):
    """Runs a Python file in one thread until it prints `start`, and ends it there.

    Returns:
        what the pattern matches in its output.
    """
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    args = [sys.executable, *map(str, command)]
    with subprocess.Popen(args, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if start in line:
                process.kill()
                return int(re.search(pattern, "".join(lines))[1])
    raise AssertionError("".join(lines))


def peer(folder):
    """detectron2's trainer, as its tools/train_net.py starts it."""
    provide_detectron2()
    from detectron2 import model_zoo
    from detectron2.data.datasets import register_coco_instances
    from detectron2.engine import DefaultTrainer
    from detectron2.utils.logger import setup_logger

    register_coco_instances("big", {}, str(folder / "train.json"), str(folder))
    cfg = model_zoo.get_config("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")
    cfg.merge_from_list([*KEYS, "DATASETS.TRAIN", ("big",), "DATASETS.TEST", (), "OUTPUT_DIR", str(folder / "theirs")])
    (folder / "theirs").mkdir(exist_ok=True)
    setup_logger(name="detectron2")
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()


def agree(a, b):
    """Both train on the same number of images."""
    assert a == b, (a, b)


def main():
    """Measures and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return peer(args.peer)
    from harness import Job, compare, write

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder, args.images)
        name = f"start on {args.images} images"
        job = Job(
            *[name, lambda: ours(folder), lambda: theirs(folder), "detectron2's DefaultTrainer, R_50_FPN", agree],
            *["both train on all images", 2.0, 3, "wall"],
        )
        write(__doc__.splitlines()[0], [compare(job)])


if __name__ == "__main__":
    main()
