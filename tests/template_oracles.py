"""Scores of templates, image by image in plain loops, and templates to score."""

import numpy as np

from ifr.datasets.index import Templates


def cosine(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float((a * b).sum() / np.sqrt((a * a).sum()) / np.sqrt((b * b).sum()))


def templates_of(images, subjects, media=None, occluded=None):
    """Build templates from a list of lists of rows."""
    rows = np.array([row for template in images for row in template], np.int64)

    def flat(given, default):
        return default if given is None else np.array([x for one in given for x in one])

    return Templates(
        ids=np.arange(len(images)) + 1000,
        subjects=np.array(subjects),
        rows=rows,
        media=flat(media, np.arange(len(rows))),
        starts=np.concatenate([[0], np.cumsum([len(one) for one in images])]).astype(np.int64),
        occluded=flat(occluded, np.zeros(len(rows), bool)),
    )


def random_templates(count, images, subjects, rng):
    """Build templates of 1 to 6 images with interleaved media and random occlusion."""
    sizes = rng.integers(1, 7, count)
    return templates_of(
        [rng.integers(0, images, size).tolist() for size in sizes],
        rng.integers(0, subjects, count),
        [rng.integers(0, 3, size).tolist() for size in sizes],
        [(rng.random(size) < 0.4).tolist() for size in sizes],
    )


def images_of(templates, t):
    return range(templates.starts[t], templates.starts[t + 1])


def slow_pool(features, templates, t, score):
    """Return the feature of one template, image by image."""
    features = features.astype(np.float64)
    if score == "mean_cosine":
        total = sum(features[templates.rows[i]] for i in images_of(templates, t))
    else:
        total = 0
        for medium in {templates.media[i] for i in images_of(templates, t)}:
            own = [i for i in images_of(templates, t) if templates.media[i] == medium]
            total = total + sum(features[templates.rows[i]] for i in own) / len(own)
    return total / np.sqrt((total**2).sum())


def slow_directional(features, one, a, two, b):
    """Return less the mean of the two mean smallest cosine distances."""
    mine = [features[one.rows[i]] for i in images_of(one, a)]
    theirs = [features[two.rows[i]] for i in images_of(two, b)]
    there = sum(min(1 - cosine(p, q) for q in theirs) for p in mine) / len(mine)
    back = sum(min(1 - cosine(p, q) for p in mine) for q in theirs) / len(theirs)
    return -(there + back) / 2


def slow_rank(similarity, probe_subjects, gallery_subjects, k):
    """Return the share of probes with a mate whose mate is among the k best, ties behind."""
    found = []
    for row, who in zip(similarity, probe_subjects, strict=True):
        mates = [s for s, g in zip(row, gallery_subjects, strict=True) if g == who]
        if mates:
            others = [s for s, g in zip(row, gallery_subjects, strict=True) if g != who]
            found.append(sum(s >= max(mates) for s in others) < k)
    return sum(found) / len(found)


def slow_open_set(similarity, probe_subjects, gallery_subjects, fpir):
    """Return the highest share of mated probes found, of any threshold with few false positives.

    A mate is found when it is above everybody else and at least at the threshold; a probe without
    a mate is a false positive when anybody is.
    """
    mates, strangers = [], []
    for row, who in zip(similarity, probe_subjects, strict=True):
        own = [s for s, g in zip(row, gallery_subjects, strict=True) if g == who]
        others = [s for s, g in zip(row, gallery_subjects, strict=True) if g != who]
        if own:
            mates.append((max(own), all(max(own) > s for s in others)))
        else:
            strangers.append(max(others))
    best = 0.0
    for threshold in {*strangers, *(score for score, _ in mates), np.inf}:
        if sum(score >= threshold for score in strangers) <= fpir * len(strangers) + 1e-9:
            found = sum(first and score >= threshold for score, first in mates)
            best = max(best, found / len(mates))
    return best


def slow_tar(scores, same, far):
    """Return the highest true accept rate of a threshold whose false accept rate is allowed."""
    best = 0.0
    for threshold in sorted(set(scores.tolist())):
        if np.mean(scores[~same] >= threshold) <= far:
            best = max(best, float(np.mean(scores[same] >= threshold)))
    return best
