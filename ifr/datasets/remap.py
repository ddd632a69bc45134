"""A protocol on the faces that are left: from the rows of a reading to those of a prepared set."""

from dataclasses import replace

import numpy as np

from ifr.datasets import FaceSet
from ifr.datasets.pairs import PairList
from ifr.datasets.readers.ijba import IjbaProtocol
from ifr.datasets.readers.ijbc import IjbcProtocol
from ifr.datasets.templates import Templates

ROW = "row"  # attribute of a prepared set: the row of the reading each face comes from


def on_prepared(protocol, faces: FaceSet):
    """Return a protocol whose rows are those of a prepared set, without what is missing there.

    Args:
        protocol: a PairList, an IjbaProtocol or an IjbcProtocol, in the rows of a reading.
        faces: prepared from that reading, with the attribute ``row``.

    Returns:
        The same kind of protocol. Pairs and templates without images are left out, and so is what
        compares them.

    Raises:
        ValueError: if the set does not know the rows, or nothing is left.
    """
    if ROW not in faces.attributes:
        raise ValueError(f"set {faces.name!r} has no attribute {ROW!r}: make it with prepare")
    rows = np.asarray(faces.attributes[ROW])
    place = np.full(int(rows.max(initial=-1)) + 1, -1, np.int64)
    place[rows] = np.arange(len(rows))
    if isinstance(protocol, PairList):
        return _pairs(protocol, place)
    if isinstance(protocol, IjbaProtocol):
        splits = tuple(
            replace(
                split,
                **_verification(split, place),
                gallery=_templates(split.gallery, place)[0],
                probes=_templates(split.probes, place)[0],
            )
            for split in protocol.splits
        )
        return replace(protocol, splits=splits)
    if isinstance(protocol, IjbcProtocol):
        return replace(
            protocol,
            **_verification(protocol, place),
            galleries=tuple(_templates(one, place)[0] for one in protocol.galleries),
            probes=None if protocol.probes is None else _templates(protocol.probes, place)[0],
        )
    raise TypeError(f"no protocol: {type(protocol).__name__}")


def _look_up(rows: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return the new place of each row, -1 for one that is gone."""
    known = rows < len(place)
    return np.where(known, place[np.where(known, rows, 0)], -1) if len(place) else -1 + 0 * rows


def _pairs(pairs: PairList, place: np.ndarray) -> PairList:
    moved = _look_up(pairs.pairs, place)
    keep = (moved >= 0).all(axis=1)
    if not keep.any():
        raise ValueError("none of the pairs has both its images in the prepared set")
    return PairList(moved[keep], pairs.same[keep], pairs.folds[keep])


def _templates(templates: Templates, place: np.ndarray) -> tuple[Templates, np.ndarray]:
    """Return the templates that are left, and (T,) the new index of each old one or -1."""
    moved = _look_up(templates.rows, place)
    keep = moved >= 0
    owner = np.repeat(np.arange(len(templates.ids)), np.diff(templates.starts))[keep]
    sizes = np.bincount(owner, minlength=len(templates.ids))
    left = sizes > 0
    index = np.where(left, np.cumsum(left) - 1, -1)
    starts = np.concatenate([[0], np.cumsum(sizes[left])])
    return replace(
        templates,
        ids=templates.ids[left],
        subjects=templates.subjects[left],
        rows=moved[keep],
        media=templates.media[keep],
        starts=starts,
        occluded=templates.occluded[keep],
    ), index


def _verification(part, place: np.ndarray) -> dict:
    """Return the fields verify, pairs and same of an IJB-A split or IJB-C for the rows left."""
    verify, index = _templates(part.verify, place)
    pairs = part.pairs if (index == np.arange(len(index))).all() else index[part.pairs]
    keep = (pairs >= 0).all(axis=1)
    if not keep.any():
        raise ValueError("none of the comparisons has both its templates in the prepared set")
    if keep.all():
        return dict(verify=verify, pairs=pairs, same=part.same)
    return dict(verify=verify, pairs=pairs[keep].astype(part.pairs.dtype), same=part.same[keep])
