"""A protocol on the faces that are left: from the rows of an index to those of a prepared set."""

from dataclasses import replace
from typing import Any

import numpy as np

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.index import PairList, Templates
from ifr.datasets.readers.ijba import IjbaProtocol, IjbaSplit
from ifr.datasets.readers.ijbc import IjbcProtocol

ROW = "row"  # attribute of a prepared set: the row of the index each face comes from


def on_prepared(protocol: PairList | IjbaProtocol | IjbcProtocol, faces: FaceSet) -> Any:
    """Return a protocol for the faces prepared, less the pairs and templates without images."""
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
        return replace(protocol, splits=tuple(_left(split, new_row) for split in protocol.splits))
    return _left(protocol, new_row)


def _look_up(rows: np.ndarray, new_row: np.ndarray) -> np.ndarray:
    """Return the new row of each, -1 for one that is gone."""
    return np.append(new_row, -1)[np.minimum(rows, len(new_row))]


def _templates(templates: Templates, new_row: np.ndarray) -> tuple[Templates, np.ndarray]:
    """Return the templates that are left, and (T,) the new index of each old one or -1."""
    rows = _look_up(templates.rows, new_row)
    left, index = templates.subset(rows >= 0)
    return replace(left, rows=rows[rows >= 0]), index


def _left(part: IjbaSplit | IjbcProtocol, new_row: np.ndarray) -> Any:
    """Return what is left of one split, or of the whole of IJB-C."""
    verify, index = _templates(part.verify, new_row)
    pairs = index[part.pairs]
    keep = (pairs >= 0).all(axis=1)
    if not keep.any():
        raise UserError("none of the comparisons has both its templates in the prepared set")
    searches: dict[str, Any]
    if isinstance(part, IjbaSplit):
        searches = dict(gallery=_templates(part.gallery, new_row)[0])
    else:
        searches = dict(galleries=tuple(_templates(one, new_row)[0] for one in part.galleries))
    if part.probes is not None:
        searches["probes"] = _templates(part.probes, new_row)[0]
    return replace(part, verify=verify, pairs=pairs[keep], same=part.same[keep], **searches)
