"""A protocol on the faces that are left: from the rows of an index to those of a prepared set."""

from dataclasses import replace
from typing import Any

import numpy as np

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.pairs import PairList
from ifr.datasets.readers.ijba import IjbaProtocol, IjbaSplit
from ifr.datasets.readers.ijbc import IjbcProtocol
from ifr.datasets.templates import Templates

ROW = "row"  # attribute of a prepared set: the row of the index each face comes from


def on_prepared(protocol: PairList | IjbaProtocol | IjbcProtocol, faces: FaceSet) -> Any:
    """Return a protocol whose rows are those of a prepared set, without what is missing there.

    Args:
        protocol: in the rows of an index.
        faces: prepared from that index, with the attribute ``row``.

    Returns:
        The same kind of protocol. Pairs and templates without images are left out, and so is what
        compares them.
    """
    if ROW not in faces.attributes:
        raise UserError(f"set {faces.name!r} has no attribute {ROW!r}: make it with prepare")
    rows = np.asarray(faces.attributes[ROW])
    new_row = np.full(int(rows.max(initial=-1)) + 1, -1, np.int64)
    new_row[rows] = np.arange(len(rows))
    if isinstance(protocol, PairList):
        pairs = _look_up(protocol.pairs, new_row)
        keep = (pairs >= 0).all(axis=1)
        if not keep.any():
            raise UserError("none of the pairs has both its images in the prepared set")
        return PairList(pairs[keep], protocol.same[keep], protocol.folds[keep])
    if isinstance(protocol, IjbaProtocol):
        return replace(protocol, splits=tuple(_split(split, new_row) for split in protocol.splits))
    return replace(
        protocol,
        **_verification(protocol, new_row),
        galleries=tuple(_templates(one, new_row)[0] for one in protocol.galleries),
        probes=None if protocol.probes is None else _templates(protocol.probes, new_row)[0],
    )


def _look_up(rows: np.ndarray, new_row: np.ndarray) -> np.ndarray:
    """Return the new row of each, -1 for one that is gone."""
    return np.append(new_row, -1)[np.minimum(rows, len(new_row))]


def _templates(templates: Templates, new_row: np.ndarray) -> tuple[Templates, np.ndarray]:
    """Return the templates that are left, and (T,) the new index of each old one or -1."""
    rows = _look_up(templates.rows, new_row)
    left, index = templates.subset(rows >= 0)
    return replace(left, rows=rows[rows >= 0]), index


def _split(split: IjbaSplit, new_row: np.ndarray) -> IjbaSplit:
    gallery, probes = (_templates(one, new_row)[0] for one in (split.gallery, split.probes))
    return replace(split, **_verification(split, new_row), gallery=gallery, probes=probes)


def _verification(part: IjbaSplit | IjbcProtocol, new_row: np.ndarray) -> dict[str, Any]:
    """Return the fields verify, pairs and same for the rows left."""
    verify, index = _templates(part.verify, new_row)
    pairs = index[part.pairs]
    keep = (pairs >= 0).all(axis=1)
    if not keep.any():
        raise UserError("none of the comparisons has both its templates in the prepared set")
    return dict(verify=verify, pairs=pairs[keep], same=part.same[keep])
