import pytest

from ifr.common.seeding import stream, stream_seed


def test_a_stream_depends_on_seed_name_and_indices_and_on_nothing_else():
    first = stream(3, "pose", 1).random(4)
    stream(3, "light", 1).random(100)
    assert (stream(3, "pose", 1).random(4) == first).all()
    for other in (stream(4, "pose", 1), stream(3, "light", 1), stream(3, "pose", 2)):
        assert (other.random(4) != first).all()


def test_the_numbers_are_the_same_on_every_machine():
    assert stream(0, "pose").integers(0, 1000, 3).tolist() == [29, 935, 106]
    assert 0 <= stream_seed(0, "dropout", 5) < 2**63


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed=-1"):
        stream(-1, "pose")
