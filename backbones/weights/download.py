"""Downloads files of weights into the caches of the libraries that publish them.

A file appears in a cache only after the toolkit has read it: a broken transfer, an HTML page or a file with a wrong
checksum never stays there. Of several processes on a machine, one downloads, and the others wait for the file.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

from backbones.errors import InputError
from backbones.weights.files import read_checkpoint
from backbones.whole_files import file_digest

import torch.hub
from iopath.common.file_io import file_lock

# Seconds without an answer after which a server counts as out of reach.
TIMEOUT = 15

Checksum = tuple[str, str]
"""Name of a hash function in hashlib, and what the file's digest begins with, in hexadecimal digits."""


def download(name: str, url: str, target: Path, checksum: Checksum | None = None) -> None:
    """Makes sure that `target` holds the file of a URL. A file that is there already is not downloaded again.

    Args:
        name: the user's name for the weights, for messages.
        url: the address.
        target: the place of the file in a cache.
        checksum: the file's checksum, if the publisher tells one.

    Raises:
        InputError: the server cannot be reached or lacks the file, what it sends is no checkpoint, the checksum is
            wrong, or the cache cannot be written.
    """
    if not target.is_file():
        try:
            with file_lock(str(target)):
                if not target.is_file():  # else another process has downloaded the file meanwhile
                    _download(name, url, target, checksum)
        except (OSError, http.client.HTTPException, UnicodeError) as e:
            raise _failed(name, url, f"put the file at {target}", e) from e
    elif checksum and not _matches(target, checksum):
        raise InputError(
            f"{name}: {target} is damaged or another file, its {checksum[0]} does not begin with {checksum[1]}; remove "
            "the file, and the tool will download it again"
        )


def _download(name: str, url: str, target: Path, checksum: Checksum | None) -> None:
    partial = target.with_name(f"partial-{target.name}")  # with the suffix, by which `read_checkpoint` goes
    print(f"downloading {url} → {target}", file=sys.stderr)
    try:
        with _timeout():
            torch.hub.download_url_to_file(url, str(partial), progress=sys.stderr.isatty())
        if checksum and not _matches(partial, checksum):
            raise InputError(
                f"{_label(name, url)}: the server has sent a damaged file or another one: its {checksum[0]} does not "
                f"begin with {checksum[1]}; try again"
            )
        try:
            read_checkpoint(partial)
        except InputError as e:
            kind = "an HTML page" if _is_page(partial) else f"no whole checkpoint ({_size(partial)})"
            raise InputError(
                f"{_label(name, url)}: the server has sent {kind}; try again, or save the file with a browser and give "
                f"its path in the place of {name}"
            ) from e
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _timeout() -> Iterator[None]:
    """A context in which a connection without an answer fails after TIMEOUT seconds; torch.hub sets no limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _matches(path: Path, checksum: Checksum) -> bool:
    algorithm, beginning = checksum
    return file_digest(path, algorithm).startswith(beginning)


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(200).lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml"))


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def download_from_hub(name: str, repository: str, files: tuple[str, ...]) -> Path:
    """Makes sure that huggingface_hub's cache has one of a repository's files.

    Args:
        name: the user's name for the weights, for messages.
        repository: ORG/NAME on huggingface.co.
        files: paths in the repository; the first that the repository has counts.

    Returns:
        the file in the cache.

    Raises:
        InputError: the server cannot be reached, or the repository does not exist, is closed, or has none of the files.
    """
    import huggingface_hub
    from huggingface_hub import constants, errors

    for file in files:
        if cached := in_hub_cache(repository, file):
            return cached
    folder = f"models--{repository.replace('/', '--')}"
    place = f"copy the folder {folder} of that machine's cache into {constants.HF_HUB_CACHE}"
    for file in files:
        url = huggingface_hub.hf_hub_url(repository, file)
        try:
            # `hf_hub_download` alone would try for minutes to reach a server that is out of reach.
            huggingface_hub.get_hf_file_metadata(url, timeout=TIMEOUT)
            with contextlib.suppress(errors.EntryNotFoundError):  # what timm says about the weights
                huggingface_hub.hf_hub_download(repository, "config.json")
            return Path(huggingface_hub.hf_hub_download(repository, file))
        except errors.GatedRepoError as e:
            page = url.partition("/resolve/")[0]
            raise InputError(f"{name}: accept the terms of use at {page}, then run `hf auth login`") from e
        except errors.RemoteEntryNotFoundError:
            continue
        except Exception as e:  # the library's HTTP client, and with it the exceptions, differ from version to version
            raise _failed(name, url, place, e) from e
    raise InputError(f"{name}: the repository has no file {' or '.join(files)}; name its file: hf:{repository}/FILE")


def in_hub_cache(repository: str, file: str) -> Path | None:
    """A file of a repository in huggingface_hub's cache; None if the cache lacks the file."""
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(repository, file)
    return Path(cached) if isinstance(cached, str) else None


def _failed(name: str, url: str, place: str, error: Exception) -> InputError:
    """The error of a download, with what the user can do.

    Args:
        name: the user's name for the weights.
        url: the address.
        place: what to do with a file that the user has downloaded elsewhere.
        error: what the library has raised.
    """
    response = getattr(error, "response", None)
    status = error.code if isinstance(error, urllib.error.HTTPError) else getattr(response, "status_code", None)
    if status in (401, 404, 410):
        return InputError(f"{_label(name, url)}: the server has no such file (HTTP {status}); check the name")
    return InputError(
        f"{_label(name, url)}: cannot be downloaded ({_reason(error)}); download the file on another machine, then "
        f"give its path in the place of {name}, or {place}"
    )


def _label(name: str, url: str) -> str:
    return name if name == url else f"{name} ({url})"


def _reason(error: BaseException) -> str:
    """The reason in short, of the innermost error."""
    while True:
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        if isinstance(error, urllib.error.HTTPError) or not isinstance(inner, BaseException):
            break
        error = inner
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[0]
