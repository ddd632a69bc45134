"""The IJB-A protocol: verification and open-set identification of templates, ten splits."""

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.readers.ijba import IjbaProtocol, IjbaSplit
from ifr.evaluation.metrics import four_measures
from ifr.evaluation.templates import identification_scores, occluded_pairs, verification_scores


def ijba_protocol(
    features: np.ndarray,
    protocol: IjbaProtocol,
    *,
    natural: bool = False,
    score: str = "directional_min",
    interpolate: str = "none",
) -> pd.DataFrame:
    """Return the four figures of each split; the paper reports mean and standard deviation.

    Identification is open-set: a probe whose person is not in the gallery does not count, and a
    mate tied with another person is behind it. The paper names neither the score of two templates
    nor the way the curve is read; the defaults are the released score and the strict reading, see
    ``tar_at_far``; pass ``interpolate="nearest"`` to match the released code.

    With ``natural`` verification and probe templates keep their occluded images alone, those with
    "at least one occluded area"; templates left empty are dropped; the gallery stays whole.
    """
    rows = []
    for split in protocol.splits:
        try:
            rows.append(_one_split(features, split, natural, score, interpolate))
        except UserError as error:
            raise UserError(f"IJB-A split {split.number}: {error}") from error
    return pd.DataFrame(rows)


def _one_split(
    features: np.ndarray, split: IjbaSplit, natural: bool, score: str, interpolate: str
) -> dict[str, float]:
    verify, pairs, same, probes = split.verify, split.pairs, split.same, split.probes
    if natural:
        verify, pairs, same = occluded_pairs(verify, pairs, same)
        probes = probes.subset(probes.occluded)[0]
    enrolled = split.gallery.subjects
    scores = verification_scores(features, verify, pairs, score=score)
    similarity = identification_scores(features, probes, split.gallery, score=score)
    search = (similarity, probes.subjects, enrolled)
    measures = four_measures(scores, same, *search, interpolate=interpolate)
    counts = dict(genuine=int(same.sum()), impostor=int((~same).sum()), probes=len(probes))
    mates = int(np.isin(probes.subjects, enrolled).sum())
    return dict(split=split.number) | measures | counts | dict(probes_with_mate=mates)
