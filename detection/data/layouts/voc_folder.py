"""Finds PASCAL VOC's XML files, their images and the lists of splits, whatever the names of their folders."""

from __future__ import annotations

import re
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.files import (
    IMAGE_SUFFIXES,
    all_files,
    by_stem,
    head,
    nearest,
    read_text,
    role_of,
    role_of_path,
    stem,
    with_suffix,
)

# Number of files or lines that are looked at to see what a folder or a list holds.
_LOOKED_AT = 20
# Folders of masks: their pictures have the names of the images, and must not stand in for absent images.
_MASKS = re.compile("^segmentation|masks?$|visuali[sz]ation", re.IGNORECASE)


class VOCFolder:
    """The files of a folder of VOC's layout.

    Attributes:
        root: the folder.
        xmls: the XML files; empty if the folder has another layout.
        images: the image files, without masks.
        lists: name of a list of images, such as "train" -> its file.
    """

    def __init__(self, root: Path):
        files = all_files(root)
        self.root = root
        self.xmls = _annotations(with_suffix(files, ".xml"))
        beside = {xml.parent for xml in self.xmls}
        images = with_suffix(files, *IMAGE_SUFFIXES) if self.xmls else []
        self.images = [path for path in images if path.parent in beside or not _MASKS.search(path.parent.name)]
        self._xml_names, self._image_names = by_stem(self.xmls), by_stem(self.images)
        self.lists = self._find_lists(with_suffix(files, ".txt")) if self.xmls else {}

    def splits(self) -> dict[str, str]:
        """Name of a split -> name of its list, or role of its folders of XML files.

        Lists come before folders. If neither lists nor folders state a role, all XML files are the split "all".
        """
        filled = {name: role_of(name) or name for name, path in self.lists.items() if self.names_on(path)}
        if len(filled) == 1 and not role_of(next(iter(filled))):
            return {"all": next(iter(filled))}
        taken = set(filled)
        if filled:
            return {role if role not in taken else name: name for name, role in filled.items()}
        roles = dict.fromkeys(role for xml in self.xmls if (role := self._role(xml)))
        return {role: role for role in roles} or ({"all": "all"} if self.xmls else {})

    def of_role(self, role: str) -> list[Path]:
        """The XML files whose folders state a role: "train", …, "" for no role, or "all" for all XML files."""
        return self.xmls if role == "all" else [xml for xml in self.xmls if self._role(xml) == role]

    def names_on(self, listing: Path) -> list[str]:
        """The names of the images on a list: the whole line, or its first word if only that is the name of a file.

        Raises:
            InputError: the file cannot be read as text.
        """
        lines = [line.strip() for line in read_text(listing).splitlines() if line.strip()]
        return [line if self._is_known(line) else line.split()[0] for line in lines]

    def xml_of(self, name: str, near: Path) -> Path | None:
        """The XML file of an image; None if absent.

        Args:
            name: name of the image, perhaps with folders and an ending, such as a list gives the name.
            near: a file in whose neighbourhood the XML file lies if several XML files have the name.
        """
        return self._find(name, near, self._xml_names)

    def image_of(self, name: str, near: Path) -> Path | None:
        """The image of a name; None if absent. The arguments are those of `xml_of`."""
        return self._find(name, near, self._image_names)

    def images_named(self, name: str) -> list[Path]:
        """The images of a name without folders and ending."""
        return self._image_names.get(name, [])

    def _find(self, name: str, near: Path, names: dict[str, list[Path]]) -> Path | None:
        parts = Path(name.replace("\\", "/")).parts
        candidates = names.get(stem(parts[-1]), [])
        if len(candidates) > 1:  # the folders in the name choose, if there are some
            near = self.root.joinpath(*parts) if len(parts) > 1 else near
            candidates = nearest(near, candidates)
        if len(candidates) > 1:
            raise InputError(
                f"{near}: {name} may mean {candidates[0]} or {candidates[1]}; name the folder of one set, such as "
                f"{candidates[0].parent.parent}"
            )
        return candidates[0] if candidates else None

    def _role(self, xml: Path) -> str:
        return role_of_path(xml.parent.relative_to(self.root))

    def _find_lists(self, texts: list[Path]) -> dict[str, Path]:
        """The lists of images: in a folder ImageSets, or with a role as their name.

        Raises:
            InputError: two folders have a list of the same name, so that the folder holds several sets.
        """
        lists: dict[str, Path] = {}
        listings = [path for path in texts if self._is_list(path)]
        in_main = [path for path in listings if path.parent.name.lower() == "main"]
        for path in in_main or listings:
            if path.stem in lists:
                sets = [str(p.parent.parent.parent if p in in_main else p.parent) for p in (lists[path.stem], path)]
                raise InputError(
                    f"{self.root}: {lists[path.stem]} and {path} are both a list {path.stem}, so that the folder holds "
                    f"two sets; name one of them, such as {sets[0]} or {sets[1]}"
                )
            lists[path.stem] = path
        return lists

    def _is_list(self, path: Path) -> bool:
        """Whether a text file lists images of this folder, and is none of VOC's lists for a single class."""
        in_image_sets = any(part.lower() == "imagesets" for part in path.parts)
        if not in_image_sets and not role_of(path.stem):
            return False
        lines = [line.split() for line in head(path).splitlines()[:_LOOKED_AT] if line.strip()]
        signs = [line for line in lines if len(line) == 2 and line[1] in ("-1", "0", "1")]
        if any(not self._is_known(" ".join(line)) for line in signs):
            return False
        named = sum(self._is_known(line[0]) or self._is_known(" ".join(line)) for line in lines)
        return in_image_sets or 2 * named > len(lines)

    def _is_known(self, name: str) -> bool:
        """Whether a name, perhaps with folders and an ending, is that of an XML file or of an image."""
        last = stem(name.replace("\\", "/").rpartition("/")[2])
        return last in self._xml_names or last in self._image_names


def _annotations(xmls: list[Path]) -> list[Path]:
    """The files of those folders in which one of the first files is an <annotation>."""
    folders: dict[Path, list[Path]] = {}
    for path in xmls:
        folders.setdefault(path.parent, []).append(path)
    return [
        path
        for paths in folders.values()
        if any(re.search(r"<annotation[\s>]", head(path)) for path in paths[:_LOOKED_AT])
        for path in paths
    ]
