"""The protocols of IJB-A and IJB-C against plain loops and cases worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from template_oracles import (
    cosine,
    images_of,
    random_templates,
    slow_directional,
    slow_open_set,
    slow_pool,
    slow_rank,
    slow_tar,
    templates_of,
)

from ifr.datasets.index import TemplateTest, on_rows
from ifr.evaluation import MEASURES, ijba_protocol, ijbc_protocol
from ifr.evaluation.protocols.ijb import present, template_counts


def angles(*degrees):
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


@pytest.fixture
def small_split():
    """Three enrolled people at 0, 90 and 180 degrees, and six single-image probes.

    The mate of probe 2 is second, probe 5 is a stranger; rows 4, 6 and 8 are occluded.
    """
    features = angles(0, 90, 180, 10, 80, 100, 150, 30, 60)
    gallery = templates_of([[0], [1], [2]], [1, 2, 3])
    probes = templates_of(
        [[3], [4], [5], [6], [7], [8]],
        [1, 2, 3, 3, 9, 1],
        None,
        [[False], [True], [False], [True], [False], [True]],
    )
    verify = templates_of(
        [[0], [1], [2], [3], [4, 5], [6]],
        [1, 2, 3, 1, 2, 3],
        None,
        [[True], [True], [False], [False], [True, False], [True]],
    )
    pairs = np.array([[0, 3], [1, 4], [2, 5], [0, 4], [1, 5], [2, 3], [1, 3]])
    same = np.array([True, True, True, False, False, False, False])
    return features, TemplateTest(verify, pairs, same, ((probes, gallery),), split=4)


def test_ijba_by_hand(small_split):
    features, split = small_split
    row = ijba_protocol(features, (split,), score="mean_cosine").iloc[0]
    # Genuine pairs are 10, 0 and 30 degrees apart, impostors 90, 60, 170 and 80.
    assert row["tar_01_percent"] == 100 and row["tar_001_percent"] == 100
    # With a mate: 10 (right), 80 (right), 100 of person 3 (second), 150 (right), 60 of person 1
    # (second); 30 is a stranger.
    assert row["rank_1_percent"] == pytest.approx(60) and row["rank_5_percent"] == 100
    assert row[["split", "genuine", "impostor", "probes", "probes_with_mate"]].tolist() == [
        4,
        3,
        4,
        6,
        5,
    ]


def test_ijba_natural_keeps_occluded_images_and_a_whole_gallery(small_split):
    features, split = small_split
    protocol = (split,)
    row = ijba_protocol(features, protocol, natural=True, score="mean_cosine").iloc[0]
    # Left to verify are templates 0, 1, 4 (its first image, at 80 degrees) and 5; of the pairs
    # 1-4 (10 degrees, genuine), 0-4 (80 degrees) and 1-5 (60 degrees).
    assert row[["genuine", "impostor", "probes", "probes_with_mate"]].tolist() == [1, 2, 3, 3]
    assert row["tar_001_percent"] == 100
    assert row["rank_1_percent"] == pytest.approx(200 / 3)  # the gallery has no occluded image


def test_a_mate_tied_with_a_stranger_is_behind_it(small_split):
    features, split = small_split
    features[3] = features[4] = [0.5**0.5, 0.5**0.5]
    features[0], features[1] = [1, 0], [0, 1]
    probes = templates_of([[3], [4]], [1, 2])
    split = replace(split, searches=((probes, split.searches[0][1]),))
    row = ijba_protocol(features, (split,), score="media").iloc[0]
    assert row["rank_1_percent"] == 0 and row["rank_5_percent"] == 100


def listed_and_used(counts):
    return {(row.part, row.kind): (row.listed, row.used) for row in counts.itertuples()}


def test_what_lost_images_cost_a_split(small_split):
    _, split = small_split
    # Lost are templates 0 and 1, one of the two images of template 4, two of three people
    # enrolled, and probe 2.
    split = on_rows(replace(split, unknown=2), np.array([-1, -1, 2, 3, 4, -1, 6, 7, 8]))
    counts = template_counts(split)
    assert listed_and_used(counts) == {
        ("split 4", "same pairs"): (3, 1),
        ("split 4", "different pairs"): (4, 1),
        ("split 4", "templates"): (6, 4),
        ("split 4", "images"): (7 + 6 + 3, 4 + 2 + 1),
        ("split 4", "probes with a mate"): (5, 1),
        ("split 4", "probes without a mate"): (1, 1),
        ("split 4", "gallery entries"): (3, 1),
        ("split 4", "pairs of unknown templates"): (2, 0),
    }
    assert (counts["lost"] == counts["listed"] - counts["used"]).all()
    # Probes 0, 1 and 5 lost their mates: they are neither searched nor taken for strangers.
    [(probes, gallery)] = present(split).searches
    assert probes.ids.tolist() == [1003, 1004] and gallery.ids.tolist() == [1002]


def test_a_natural_subset_loses_only_what_it_lists(small_split):
    _, split = small_split
    gone = np.arange(9)
    gone[[3, 5, 8]] = -1  # of which 8, a probe, is occluded
    counts = listed_and_used(template_counts(on_rows(split, gone), natural=True))
    assert counts["split 4", "templates"] == (4, 4)
    assert counts["split 4", "images"] == (4 + 3 + 3, 4 + 2 + 3)
    assert counts["split 4", "probes with a mate"] == (3, 2)
    assert counts["split 4", "gallery entries"] == (3, 3)
    gone[4] = -1
    with pytest.raises(ValueError, match="0 genuine and 1 impostor comparisons of naturally"):
        present(on_rows(split, gone), natural=True)


def test_a_mate_lost_in_one_gallery_leaves_the_search_of_the_other(small_ijbc):
    features, protocol = small_ijbc
    lost = protocol.searches[0][1]
    rows = np.arange(80)
    rows[lost.rows[lost.starts[1] : lost.starts[2]]] = -1  # person 1 of gallery 1
    left = on_rows(protocol, rows)
    searches = [probes.subjects for probes, _ in present(left).searches]
    assert 1 not in searches[0] and 1 in searches[1]
    counts = listed_and_used(template_counts(left))
    listed, used = counts["gallery 1", "gallery entries"]
    assert (listed, used) == (4, 3)
    assert counts["gallery 2", "gallery entries"] == (3, 3)
    found = ijbc_protocol(features, left)
    assert np.isfinite(found["gallery_1_tpir_1_percent"])


@pytest.mark.parametrize("natural", [False, True])
@pytest.mark.parametrize("score", ["media", "mean_cosine", "directional_min"])
def test_ijba_equals_loops_on_random_splits(score, natural):
    rng = np.random.default_rng(8)
    features = rng.normal(size=(80, 6)).astype(np.float32)
    splits = []
    for number in (1, 2):
        verify, probes = (random_templates(n, 80, 8, rng) for n in (30, 40))
        gallery = random_templates(5, 80, 8, rng)
        gallery = replace(gallery, subjects=rng.permutation(8)[:5])
        pairs = rng.integers(0, 30, (150, 2))
        same = verify.subjects[pairs[:, 0]] == verify.subjects[pairs[:, 1]]
        splits.append(TemplateTest(verify, pairs, same, ((probes, gallery),), number))
    table = ijba_protocol(features, splits, natural=natural, score=score)
    assert table["split"].tolist() == [1, 2]
    assert list(table.columns) == [
        "split",
        *MEASURES,
        "tpir_1_percent",
        "tpir_01_percent",
        "genuine",
        "impostor",
        "probes",
        "probes_with_mate",
    ]
    for (_, row), split in zip(table.iterrows(), splits, strict=True):

        def kept(templates, t, only):
            own = [i for i in images_of(templates, t) if templates.occluded[i] or not only]
            return templates_of([templates.rows[own].tolist()], [0], [templates.media[own]])

        def slow(one, two):
            if score == "directional_min":
                return slow_directional(features, one, 0, two, 0)
            return cosine(slow_pool(features, one, 0, score), slow_pool(features, two, 0, score))

        scores, same = [], []
        for (a, b), truth in zip(split.pairs, split.same, strict=True):
            one, two = (kept(split.verify, t, natural) for t in (a, b))
            if len(one.rows) and len(two.rows):
                scores.append(slow(one, two))
                same.append(truth)
        scores, same = np.array(scores).round(5), np.array(same)
        assert row["genuine"] == same.sum() and row["impostor"] == (~same).sum()
        assert row["tar_01_percent"] == pytest.approx(100 * slow_tar(scores, same, 0.01))
        [(probes, gallery)] = split.searches
        searchers = [(kept(probes, t, natural), probes.subjects[t]) for t in range(40)]
        searchers = [(one, who) for one, who in searchers if len(one.rows)]
        enrolled = [kept(gallery, t, False) for t in range(5)]
        similarity = [[slow(one, two) for two in enrolled] for one, _ in searchers]
        who = [subject for _, subject in searchers]
        assert row["probes"] == len(who) < 41
        assert row["probes_with_mate"] == sum(s in gallery.subjects for s in who)
        for k in (1, 5):
            expected = 100 * slow_rank(similarity, who, gallery.subjects, k)
            assert row[f"rank_{k}_percent"] == pytest.approx(expected)
        for name, fpir in (("1", 0.1), ("01", 0.01)):
            rounded = np.round(similarity, 5)
            expected = 100 * slow_open_set(rounded, who, gallery.subjects, fpir)
            assert row[f"tpir_{name}_percent"] == pytest.approx(expected)


def test_ijba_refuses_what_is_left_of_nothing(small_split):
    features, split = small_split
    bare = replace(split, verify=replace(split.verify, occluded=np.zeros(7, bool)))
    with pytest.raises(ValueError, match=r"split 4: 0 genuine and 0 impostor .* occluded"):
        ijba_protocol(features, (bare,), natural=True)
    [(probes, gallery)] = split.searches
    nobody = replace(probes, subjects=np.full(6, 9))
    strangers = replace(split, searches=((nobody, gallery),))
    with pytest.raises(ValueError, match=r"split 4: no probe has a mate"):
        ijba_protocol(features, (strangers,))
    features[8] = np.nan
    with pytest.raises(ValueError, match=r"split 4: 1 features are not finite, the first is row 8"):
        ijba_protocol(features, (split,))


@pytest.fixture
def small_ijbc():
    rng = np.random.default_rng(11)
    centres = rng.normal(size=(10, 16))
    who = np.repeat(np.arange(10), 8)
    features = (centres[who] + rng.normal(0, 1.2, (80, 16))).astype(np.float32)

    def own(subject, count):
        return rng.choice(np.flatnonzero(who == subject), count).tolist()

    def make(subjects):
        images = [own(s, rng.integers(1, 5)) for s in subjects]
        return templates_of(
            images,
            subjects,
            [[0] + [1] * (len(i) - 1) for i in images],
            [(rng.random(len(i)) < 0.5).tolist() for i in images],
        )

    verify = make(np.repeat(np.arange(10), 4))
    pairs = np.array([(a, b) for a in range(40) for b in range(a)], np.int32)
    same = verify.subjects[pairs[:, 0]] == verify.subjects[pairs[:, 1]]
    galleries = make([0, 1, 2, 3]), make([4, 5, 6])
    probes = make(np.repeat(np.arange(8), 6))
    return features, TemplateTest(verify, pairs, same, tuple((probes, one) for one in galleries))


@pytest.mark.parametrize("natural", [False, True])
@pytest.mark.parametrize("score", ["media", "mean_cosine"])
def test_ijbc_equals_loops(small_ijbc, score, natural):
    features, protocol = small_ijbc
    found = ijbc_protocol(features, protocol, natural=natural, score=score, fars=(0.1, 0.01, 1e-4))
    verify, pairs, same = protocol.verify, protocol.pairs, protocol.same
    probes = protocol.searches[0][0]
    if natural:
        verify, index = verify.subset(verify.occluded)
        keep = [(index[a] >= 0) and (index[b] >= 0) for a, b in pairs]
        pairs, same = index[pairs[keep]], same[keep]
        probes = probes.subset(probes.occluded)[0]
    pooled = [slow_pool(features, verify, t, score) for t in range(len(verify.ids))]
    scores = np.array([cosine(pooled[a], pooled[b]) for a, b in pairs])
    for name, far in (("tar_1", 0.1), ("tar_01", 0.01), ("tar_0001", 1e-4)):
        expected = 100 * slow_tar(scores.round(6), same, far)
        assert found[f"{name}_percent"] == pytest.approx(expected)
    mine = [slow_pool(features, probes, t, score) for t in range(len(probes.ids))]
    shares = []
    for number, gallery in enumerate((one for _, one in protocol.searches), start=1):
        theirs = [slow_pool(features, gallery, t, score) for t in range(len(gallery.ids))]
        search = [[cosine(a, b) for b in theirs] for a in mine], probes.subjects, gallery.subjects
        own = {f"rank_{k}_percent": 100 * slow_rank(*search, k) for k in (1, 5)}
        own["tpir_1_percent"] = 100 * slow_open_set(*search, 0.1)
        own["tpir_01_percent"] = 100 * slow_open_set(*search, 0.01)
        for name, value in own.items():
            assert found[f"gallery_{number}_{name}"] == pytest.approx(value)
        shares.append(own)
    for name in shares[0]:
        assert found[name] == pytest.approx(np.mean([own[name] for own in shares]))
    assert found["rank_1_percent"] < 100 and found["genuine"] == same.sum()
    assert found["probes_with_mate"] == (probes.subjects < 7).sum() < found["probes"]


def test_ijbc_without_galleries_has_no_rank(small_ijbc):
    features, protocol = small_ijbc
    found = ijbc_protocol(features, replace(protocol, searches=()))
    assert np.isnan(found["rank_1_percent"]) and found["probes"] == 0
    assert list(found.index)[:4] == [
        "tar_01_percent",
        "tar_001_percent",
        "tar_0001_percent",
        "tar_00001_percent",
    ]


def test_ijbc_refuses_bad_input(small_ijbc):
    features, protocol = small_ijbc
    with pytest.raises(ValueError, match="'directional_min'"):
        ijbc_protocol(features, protocol, score="directional_min")
    bare = replace(protocol.verify, occluded=np.zeros(len(protocol.verify.rows), bool))
    with pytest.raises(ValueError, match="0 genuine and 0 impostor comparisons of naturally"):
        ijbc_protocol(features, replace(protocol, verify=bare), natural=True)
    (probes, _), (_, second) = protocol.searches
    only = replace(probes, subjects=np.zeros(48, int))
    with pytest.raises(ValueError, match="no probe has a mate in the gallery"):
        ijbc_protocol(features, replace(protocol, searches=((only, second),)))
    with pytest.raises(ValueError, match="not finite"):
        ijbc_protocol(np.full_like(features, np.nan), protocol)
