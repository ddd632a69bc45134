from dataclasses import FrozenInstanceError

import pytest

from ifr.common.errors import UserError
from ifr.profiles import PROFILES, RENAMED, VARIANTS, Network, get_profile, get_variant


def test_the_papers_sizes():
    network = PROFILES["paper"].network
    assert (network.input_size, network.filters, network.width) == (96, 320, 1.0)
    assert [VARIANTS[n].keep(320) for n in ("full", "full_t130", "full_t320")] == [260, 130, 320]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_the_lmf_share_is_the_papers_at_every_size(profile):
    cells = (profile.network.input_size // 4) ** 2
    kept = round((1 - VARIANTS["full"].lmf_rate) * cells)
    assert kept / cells == pytest.approx(24 / 576, abs=0.5 / cells)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_every_variant_is_known_and_t_fits(profile):
    for name in profile.variants:
        assert 0 < get_variant(name).keep(profile.network.filters) <= profile.network.filters


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"'laptop'.*smoke, classroom, second_backbone, .*full_size_brief, paper"
    ):
        get_profile("laptop")
    with pytest.raises(ValueError, match=r"'sda'.*base, augmented, sad"):
        get_variant("sda")
    with pytest.raises(ValueError, match="got 50"):
        Network(input_size=50)


@pytest.mark.parametrize("name", RENAMED)
def test_a_former_name_is_refused_with_the_new_one(name):
    with pytest.raises(UserError, match=f"'{name}' is now called '{RENAMED[name]}'"):
        get_profile(name)
    assert name not in PROFILES and RENAMED[name] in PROFILES


def test_profiles_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        PROFILES["smoke"].name = "other"
