"""IJB-C in NIST's layout and in that of ArcFace's release."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.index import DatasetIndex, Issue, Templates
from ifr.datasets.readers import ijb
from ifr.datasets.readers.ijb import read_numbers
from ifr.datasets.readers.images import Files, photograph_set

FLAGS = [f"OCC{number}" for number in range(1, 19)]
# The two galleries, the mixed probes, and the comparisons, in protocols/.
TABLES = ("ijbc_1N_gallery_G1.csv", "ijbc_1N_gallery_G2.csv", "ijbc_1N_probe_mixed.csv")
MATCHES = "ijbc_11_G1_G2_matches.csv"
MEDIA, PAIRS = "ijbc_face_tid_mid.txt", "ijbc_template_pair_label.txt"  # in meta/
POINTS = "ijbc_name_5pts_score.txt"
CROPS = "loose_crop"


@dataclass(frozen=True, eq=False)
class IjbcProtocol:
    """IJB-C's 1:1 and 1:N protocols."""

    verify: Templates  # of the 1:1 protocol
    pairs: np.ndarray  # (P, 2) int32 indices of ``verify``
    same: np.ndarray  # (P,) bool
    galleries: tuple[Templates, ...]  # two, of the 1:N protocol; empty where the layout has none
    probes: Templates | None  # that are searched in each gallery
    unknown: int = 0  # comparisons of templates that no table names


def read_ijbc(root: Path) -> DatasetIndex:
    """Read IJB-C in NIST's layout or in ArcFace's, whichever is there, NIST's first.

    NIST's names no medium: frames of one ``SIGHTING_ID`` are taken for a video, a still for its
    own. A face is occluded when any of its 18 OCC flags is set, as in the released code (whose list
    names OCC18 twice and OCC8 never; we take all). ArcFace's names no subjects and no occlusion: no
    galleries, and every template is an identity. Faces have ``image``, ``box`` or ``five_points``;
    ``protocol``: an IjbcProtocol.
    """
    root, issues = Path(root), list[Issue]()
    read_layout = next((read for file, read in LAYOUTS.items() if (root / file).is_file()), None)
    if read_layout is None:
        raise UserError(f"{root} lacks {' and '.join(LAYOUTS)}")
    faces, protocol, subjects, occluded = read_layout(root, issues)
    counts = dict(images=len(np.unique(faces.attributes["image"])), faces=len(faces))
    left, index = protocol.verify.subset(protocol.verify.rows >= 0)
    formed = (index[protocol.pairs] >= 0).all(axis=1).sum()
    counts |= dict(identities=subjects, templates=len(left), comparisons=int(formed))
    return DatasetIndex(faces, counts | dict(occluded=occluded), tuple(issues), protocol)


def _read_nist(root: Path, issues: list[Issue]) -> tuple[FaceSet, IjbcProtocol, int, int]:
    """Return faces, protocol, and the numbers of subjects and of occluded faces."""
    folder = root / "protocols"
    tables = {str(folder / name): folder / name for name in TABLES}
    texts, integers = ("FILENAME", "SIGHTING_ID"), ("TEMPLATE_ID", "SUBJECT_ID")
    numbers = ("FRAME_NUM", *ijb.BOX, *FLAGS)
    lines = ijb.read_lines(tables, texts, integers, numbers).rename(columns={"FILENAME": "FILE"})
    lines["template"] = "template " + lines["TEMPLATE_ID"].astype(str)
    lines, faces = ijb.find_faces(lines, root, issues)
    # A still image is a medium by itself, frames are one by their sighting.
    still, video = "still " + lines["row"].astype(str), "video " + lines["SIGHTING_ID"]
    lines["MEDIA_ID"] = pd.factorize(still.where(lines["FRAME_NUM"].isna(), video))[0]
    lines["occluded"] = (lines[FLAGS] > 0).any(axis=1)
    *galleries, probes = [ijb.group_templates(lines, source) for source in tables]
    # A template may be in several tables: it is verified as the first of them has it.
    first_table = lines.groupby("TEMPLATE_ID")["source"].transform("first")
    first = lines[lines["source"] == first_table].assign(source=str(folder))
    verify = ijb.group_templates(first, str(folder))
    pairs, same, unknown = ijb.read_pairs(folder / MATCHES, verify, root, issues)
    protocol = IjbcProtocol(verify, pairs, same, tuple(galleries), probes, unknown)
    occluded = lines["row"][lines["occluded"] & (lines["row"] >= 0)].nunique()
    return ijb.face_set("ijbc", root, faces), protocol, faces["SUBJECT_ID"].nunique(), occluded


def _read_arcface(root: Path, issues: list[Issue]) -> tuple[FaceSet, IjbcProtocol, int, int]:
    """Return the same; this layout knows neither subjects nor occlusion."""
    folder = root / "meta"
    kinds = dict(name=str, TEMPLATE_ID=np.int64, MEDIA_ID=np.int64)
    lines = read_numbers(folder / MEDIA, kinds, separator=r"\s+")
    known = dict(SUBJECT_ID=-1, occluded=False, source=str(folder / MEDIA))
    lines = lines.assign(FILE=f"{CROPS}/" + lines["name"], **known)
    lines["template"] = "template " + lines["TEMPLATE_ID"].astype(str)
    lines, first = ijb.find_faces(lines, root, issues)
    verify = ijb.group_templates(lines, str(folder / MEDIA))
    pairs, same, unknown = ijb.read_pairs(folder / PAIRS, verify, root, issues, labelled=True)
    image = first["image"].to_numpy(str)
    points = _five_points(folder / POINTS, first["name"].to_numpy(str), issues)
    owners = first["TEMPLATE_ID"].to_numpy()
    faces = photograph_set("ijbc", Files(root, image), owners, image=image, five_points=points)
    impact = "the occluded subset and the galleries need NIST's tables"
    issues.append(Issue("no subjects and no occlusion", "meta/", impact))
    return faces, IjbcProtocol(verify, pairs, same, (), None, unknown), 0, 0


def _five_points(path: Path, names: np.ndarray, issues: list[Issue]) -> np.ndarray:
    """Return (N, 5, 2) points of named crops, NaN where the file has none."""
    points = [f"{axis}{k}" for k in range(5) for axis in "xy"]
    kinds = {"name": str} | dict.fromkeys([*points, "score"], np.float32)
    table = read_numbers(path, kinds, separator=r"\s+").drop_duplicates("name").set_index("name")
    values = table.reindex(names)[points].to_numpy(np.float32)
    unknown = names[np.isnan(values).any(axis=1)].tolist()
    impact = "it cannot be aligned by them"
    issues += [Issue("no five points", f"{path.name}, {name}", impact) for name in unknown]
    return values.reshape(-1, 5, 2)


LAYOUTS = {f"protocols/{MATCHES}": _read_nist, f"meta/{MEDIA}": _read_arcface}
