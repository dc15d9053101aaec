"""Groups the images of one source: copies that Roboflow has augmented, frames of a video, and identical files.

Images of one source look alike. If some of them are trained on and others tested on, AP says little about new images.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from backbones.whole_files import file_digest

# Roboflow names the copies of a.jpg a_jpg.rf.HASH.jpg.
_ROBOFLOW = re.compile(r"(?P<source>.+)\.rf\.[0-9A-Za-z]{8,}")
_NUMBERED = re.compile(r"(?P<prefix>.*?)[\W_]*(?P<number>\d+)(_(?:jpe?g|png|bmp|tiff?|webp))?")
# Only names with such a word are frames of a video: most cameras and data sets number their single photographs, too.
_VIDEO_WORDS = {"frame", "frames", "frm", "video", "videos", "vid", "clip", "scene", "seq", "sequence"}
_VIDEO_WORDS |= {"mp", "avi", "mov", "mkv", "webm"}  # name_mp4-12_jpg: the words of a name have no digits


def source_groups(paths: Sequence[Path], longest: int) -> tuple[list[int], list[str]]:
    """The group of each image: images of one group are of one source.

    Args:
        paths: paths of the image files.
        longest: number of images of the longest group. A video with more frames is cut into runs of consecutive frames.

    Returns:
        the number of the group of each image, and lines for the log on what was grouped.
    """
    sources = [_source(path) for path in paths]
    copies = Counter(source for source in sources if source.startswith("copy "))
    keys, videos, cut = _frames(paths, sources, longest)
    joined = _join(keys, identical_files(paths))
    lines = []
    if any(count > 1 for count in copies.values()):
        several = [count for count in copies.values() if count > 1]
        lines.append(f"{sum(several)} copies of {len(several)} images, by Roboflow's names")
    if videos:
        runs = f"; {cut} of them cut into runs of consecutive frames" if cut else ""
        lines.append(f"the frames of {videos} videos, by names such as video_0001{runs}")
    if identical := len(set(keys)) - len(set(joined)):
        lines.append(f"{identical} files with the content of another one")
    numbers = {key: i for i, key in enumerate(dict.fromkeys(joined))}
    return [numbers[key] for key in joined], lines


def _source(path: Path) -> str:
    """Roboflow's name of the image that a file is a copy of; the path itself for other files."""
    match = _ROBOFLOW.fullmatch(path.stem)
    return f"copy {match['source'].casefold()}" if match else str(path)


def _frames(paths: Sequence[Path], sources: Sequence[str], longest: int) -> tuple[list[str], int, int]:
    """The sources, with those of the frames of one video replaced by one name for each run of frames.

    Returns:
        the sources, the number of videos, and the number of videos that were cut into runs.
    """
    videos: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for i, (path, source) in enumerate(zip(paths, sources, strict=True)):
        name = source.removeprefix("copy ") if source.startswith("copy ") else path.stem
        match = _NUMBERED.fullmatch(name)
        prefix = match and (match["prefix"] or path.parent.name)
        if match and _VIDEO_WORDS & set(re.split(r"[^a-z]+", prefix.lower())):
            # Digits beyond these are no number of a frame, and huge numbers of digits cannot be read.
            videos[f"{path.parent}/{match['prefix']}"].append((int(match["number"][-15:]), i))
    keys, cut = list(sources), 0
    videos = {video: frames for video, frames in videos.items() if len(frames) > 1}
    for video, frames in videos.items():
        frames.sort()
        run, start = 0, 0
        for place, (number, i) in enumerate(frames):
            # Copies of one frame have one number, and stay together.
            if place - start >= longest and number != frames[place - 1][0]:
                run, start = run + 1, place
            keys[i] = f"video {video} {run}"
        cut += run > 0
    return keys, len(videos), cut


def _join(keys: Sequence[str], identical: Iterable[Sequence[int]]) -> list[str]:
    """The keys, with the keys of images of the same content made equal."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while key in parent:
            key = parent[key]
        return key

    for first, *others in identical:
        for other in others:
            a, b = root(keys[first]), root(keys[other])
            if a != b:
                parent[b] = a
    return [root(key) for key in keys]


def identical_files(paths: Sequence[Path]) -> list[list[int]]:
    """Groups of two or more files with the same content, as indices into `paths`. Only files of equal size are read."""
    by_size = defaultdict(list)
    for i, path in enumerate(paths):
        if path.is_file():
            by_size[path.stat().st_size].append(i)
    by_content = defaultdict(list)
    for size, indices in by_size.items():
        for i in indices if len(indices) > 1 else ():
            by_content[size, file_digest(paths[i], "md5")].append(i)
    return [indices for indices in by_content.values() if len(indices) > 1]
