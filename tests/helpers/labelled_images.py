"""Small data sets that tests make."""

import io
import tarfile

from classification.config import default_config

from PIL import Image


def make_cfg(data, *opts):
    cfg = default_config()
    sizes = ["CLASSIFICATION.SIZE", 16, "CLASSIFICATION.RESIZE", 16, "SOLVER.IMS_PER_BATCH", 4]
    cfg.merge_from_list([*sizes, "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu", *opts])
    cfg.CLASSIFICATION.DATA = str(data)
    return cfg


def jpeg(colour, size=(20, 16), kind="JPEG"):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def add(archive, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
