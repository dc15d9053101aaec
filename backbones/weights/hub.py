"""Weights by name: `torchvision:…`, `timm:…`, `hf:…`, `detectron2:…`, `https://…` and `auto` → a file on this machine.

A name is looked up in published.yaml, which says what the publisher's file does not say: the network and its pixels.
docs/weights.md has the names.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from backbones.catalogue import CATALOGUE
from backbones.errors import InputError
from backbones.weights.download import Checksum, download, download_from_hub, in_hub_cache
from backbones.weights.published import PublishedWeights, best, find, for_network, published
from backbones.whole_files import json_or_none

import torch.hub
import torchvision
from iopath.common.file_io import get_cache_dir

AUTO = "auto"
# Where the files of a source lie.
ADDRESSES = {
    "torchvision": "https://download.pytorch.org/models/",
    "detectron2": "https://dl.fbaipublicfiles.com/detectron2/",
}
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class LocatedWeights:
    """A file of weights, and what is known about the file from elsewhere.

    Attributes:
        path: the file.
        name: the user's name for the file, for messages.
        metadata: what the publisher says about the weights, under the keys of a residet checkpoint.
        origin: a line for the log: which weights a name has led to. "" for a file that the user has named.
    """

    path: Path
    name: str
    metadata: dict = field(default_factory=dict)
    origin: str = ""


def is_name(source: str | Path) -> bool:
    """Whether `source` names published weights rather than a file. A file may have a colon in its path."""
    if not isinstance(source, str) or source == AUTO:
        return source == AUTO
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", source)) and not os.path.isfile(source)


def check_source(source: str | Path, arch: str) -> None:
    """Checks, without a network, that `source` is a file or names weights that `locate` can look for.

    Args:
        source: a file, or a name.
        arch: name of the network, for `auto`.

    Raises:
        InputError: the file is missing, or there are no weights of that name.
    """
    if is_name(source):
        _resolve(source, arch)
    elif not Path(source).is_file():
        raise InputError(f"--weights: {source} is missing; pretrain {arch} with tools/pretrain.py --arch {arch}")


def locate(source: str | Path, arch: str = "") -> LocatedWeights:
    """Finds the file of weights, and downloads it if it is not in the cache of its library.

    Args:
        source: a file, or a name.
        arch: name of the network that the weights are for; needed for `auto` alone.

    Raises:
        InputError: there are no weights of that name, or the file cannot be downloaded; the message says where to put
            the file.
    """
    return _resolve(source, arch).locate(arch) if is_name(source) else LocatedWeights(Path(source), str(source))


@dataclass(frozen=True)
class _Remote:
    """Weights that lie on a server: a file at a URL, or in a repository of huggingface.co.

    Attributes:
        name: the name in full, with the tag where the user has left the tag out.
        url: the address; "" for huggingface.co.
        target: the place in a cache, for a URL.
        checksum: the checksum, for a URL.
        repository: ORG/NAME on huggingface.co.
        files: paths in the repository; the first that the repository has counts.
        row: the row of published.yaml, if there is one.
    """

    name: str
    url: str = ""
    target: Path = Path()
    checksum: Checksum | None = None
    repository: str = ""
    files: tuple[str, ...] = ()
    row: PublishedWeights | None = None

    def locate(self, arch: str) -> LocatedWeights:
        """The file in its cache, downloaded if the cache lacks the file. `arch`: the network that the caller wants."""
        if self.repository:
            path = download_from_hub(self.name, self.repository, self.files)
        else:
            download(self.name, self.url, self.target, self.checksum)
            path = self.target
        if self.row is None:
            metadata = _timm_config(self.repository) if self.repository else {}
            return LocatedWeights(path, self.name, metadata, f"weights: {self.name}, {path}")
        accuracy = f"{self.row.top1:.1f} % top-1" if self.row.top1 else f"{self.row.box_ap:.1f} AP"
        about = f"{accuracy}, {self.row.preprocessing}, {self.row.licence}"
        return LocatedWeights(path, self.name, self.row.metadata(arch), f"weights: {self.name} ({about}), {path}")


def _resolve(source: str, arch: str) -> _Remote:
    """The weights of a name; no network is used.

    Raises:
        InputError: there are no weights of that name, or the weights are of another network than `arch`.
    """
    if source == AUTO:
        if not arch:
            raise InputError(f"{AUTO}: the network is not known; name the arch")
        return _of_row(best(arch))
    remote = _resolve_scheme(source)
    if arch and remote.row and remote.row not in for_network(arch):
        raise InputError(
            f"{remote.name}: holds {remote.row.network}, the model is {arch}; --list-weights {arch} prints weights of "
            f"{arch}"
        )
    return remote


def _resolve_scheme(source: str) -> _Remote:
    scheme, _, rest = source.partition(":")
    sources = {
        "torchvision": _torchvision,
        "timm": lambda name: _of_row(find(f"timm:{name}")),
        "hf": _hugging_face,
        "detectron2": _detectron2,
        "https": lambda _: _url(source),
        "http": lambda _: _url(source),
    }
    if scheme not in sources:
        names = ", ".join(f"{name}:…" for name in sources if name != "http")
        raise InputError(f"{source}: {scheme}: is no source of weights; name a file by its path, {AUTO}, or {names}")
    return sources[scheme](rest)


def _of_row(row: PublishedWeights) -> _Remote:
    if row.source == "timm":
        return _Remote(row.full_name, repository=f"timm/{row.name}", files=_HUB_FILES, row=row)
    if row.source == "detectron2":
        return _detectron2_file(row.full_name, row.file or row.name, row)
    target = Path(torch.hub.get_dir(), "checkpoints", row.file)
    url = ADDRESSES[row.source] + row.file
    return _Remote(row.full_name, url, target, _sha256_in(row.file), row=row)


def _torchvision(name: str) -> _Remote:
    if name.partition(".")[0] in torchvision.models.list_models(module=torchvision.models.detection):
        raise InputError(
            f"torchvision:{name}: torchvision's detectors have other anchors, RoIAlign and numbers of classes than "
            "residet's; start from a classifier, torchvision:resnet50, or from detectron2:COCO-Detection/…"
        )
    return _of_row(find(f"torchvision:{name}"))


def _hugging_face(name: str) -> _Remote:
    parts = name.split("/")
    if len(parts) < 2 or not _is_plain(name):
        raise InputError(f"hf:{name}: give the repository, hf:ORG/REPO, or a file of the repository, hf:ORG/REPO/FILE")
    file = "/".join(parts[2:])
    return _Remote(f"hf:{name}", repository="/".join(parts[:2]), files=(file,) if file else _HUB_FILES)


def _detectron2(name: str) -> _Remote:
    path = name.lstrip("/")  # detectron2's own configs write detectron2://
    if not path.endswith(".pkl"):
        return _of_row(find(f"detectron2:{path.removesuffix('.yaml')}"))
    if not _is_plain(path):
        raise InputError(f"detectron2:{name}: is no path of a file, such as ImageNetPretrained/torchvision/R-50.pkl")
    row = next((row for row in published() if path in (row.name, row.file)), None)
    return _of_row(row) if row else _detectron2_file(f"detectron2:{path}", path)


def _detectron2_file(name: str, path: str, row: PublishedWeights | None = None) -> _Remote:
    md5 = re.search(r"model_final_([0-9a-f]{6})\.pkl$", path)  # MODEL_ZOO.md: the name has a prefix of the file's MD5
    target = Path(get_cache_dir(), "detectron2", path)  # where detectron2 itself looks
    return _Remote(name, ADDRESSES["detectron2"] + path, target, ("md5", md5[1]) if md5 else None, row=row)


def _url(url: str) -> _Remote:
    try:
        parts = urlsplit(url)
    except ValueError as e:
        raise InputError(f"{url}: is no address ({e})") from e
    file = re.sub(r"[^\w.+-]", "_", PurePosixPath(parts.path).name, flags=re.ASCII).lstrip(".")[-100:]
    if not parts.hostname or not file:
        raise InputError(f"{url}: names no file; give the address of a .pth, .safetensors or .pkl file")
    if parts.scheme == "http" and parts.hostname not in _LOCAL_HOSTS:
        raise InputError(f"{url}: http can be altered on its way; give an https address, or download the file")
    # Two addresses can end with the same name, so each address has a folder of its own.
    folder = hashlib.sha256(url.encode()).hexdigest()[:16]
    return _Remote(url, url, Path(get_cache_dir(), "residet", folder, file), _sha256_in(file))


def _is_plain(path: str) -> bool:
    """Whether a path has names of letters, digits and . _ - + alone, none of which leads out of its folder."""
    return all(re.fullmatch(r"[\w+-][\w.+-]*", name, re.ASCII) for name in path.split("/"))


def _sha256_in(file: str) -> Checksum | None:
    """The checksum in a file's name, as torch.hub writes it: resnet50-11ad3fa6.pth. Digits alone may be a date."""
    match = re.search(r"-(?=[0-9]*[a-f])([0-9a-f]{8,64})\.\w+$", file)
    return ("sha256", match[1]) if match else None


def _timm_config(repository: str) -> dict:
    """What config.json of a repository says about weights of timm; {} if there is none, or another library's."""
    path = in_hub_cache(repository, "config.json")
    if path is None:
        return {}
    content = json_or_none(path)
    try:
        config = content["pretrained_cfg"]
        metadata = {k: tuple(255 * float(v) for v in config[k]) for k in ("mean", "std") if k in config}
        name = str(content.get("architecture"))
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
    if any(len(values) != 3 for values in metadata.values()):
        return {}
    arch = next(({"arch": row} for row, spec in CATALOGUE.items() if spec.timm == name), {})
    return {**metadata, "channel_order": "RGB", **arch}
