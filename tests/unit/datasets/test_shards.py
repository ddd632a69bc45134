"""Sets made in blocks: what resumes after which stop, and that bytes do not depend on any of it."""

import errno
import os
import shutil
import signal
import threading
from functools import partial

import numpy as np
import pytest

from ifr.common.errors import Stopped, UserError
from ifr.datasets import load_set, shards
from ifr.datasets.shards import Work, make_set

IMAGES, BLOCK = 11, 3  # four blocks, the last one of two images


def block(number):
    """A block as a worker computes it; odd images are left out."""
    rows = np.arange(number * BLOCK, min(IMAGES, (number + 1) * BLOCK))
    rows = rows[rows % 2 == 0]
    images = np.repeat(rows.astype(np.uint8), 12).reshape(-1, 2, 2, 3)
    return dict(images=images, identity=rows, name=rows.astype("U4"), note=np.array("seen"))


def killed(number):
    os.kill(os.getpid(), signal.SIGKILL)


def work(compute=block, key="key", **options):
    tasks = (partial(compute, number) for number in range(-(-IMAGES // BLOCK)))
    columns = ("images", "identity", "name")
    return Work("things", key, "making things", IMAGES, BLOCK, 40, columns, tasks, **options)


def make(folder, compute=block, workers=1, key="key", **options):
    make_set(folder, work(compute, key, **options), workers, progress=False)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def whole(tmp_path):
    return make(tmp_path / "whole")


class Counted:
    """Computes blocks and keeps their numbers; raises an error at one of its calls."""

    def __init__(self, error=None, at=0):
        self.error, self.at, self.done = error, at, []

    def __call__(self, number):
        if self.error and len(self.done) == self.at:
            raise self.error
        self.done.append(number)
        return block(number)


def test_blocks_come_one_after_another_as_numpy_writes_them(whole, tmp_path):
    folder = tmp_path / "whole"
    faces = load_set(folder)
    assert faces.identity.tolist() == [0, 2, 4, 6, 8, 10]
    assert faces.attributes["name"].tolist() == ["0", "2", "4", "6", "8", "10"]
    assert sorted(whole) == ["identity.npy", "images.npy", "name.npy", "set.json"]
    for name in ("identity", "images", "name"):
        np.save(tmp_path / "again.npy", np.load(folder / f"{name}.npy"))
        assert (tmp_path / "again.npy").read_bytes() == whole[f"{name}.npy"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("whole")] == ["whole"]


def test_two_workers_write_the_same_bytes(whole, tmp_path):
    assert make(tmp_path / "two", workers=2) == whole


def test_a_stop_keeps_what_is_done(whole, tmp_path):
    with pytest.raises(Stopped, match="stopped making things: 6 of 11 images are kept; run the"):
        make(tmp_path / "a", Counted(KeyboardInterrupt, 2))
    with pytest.raises(UserError, match="no data set at"):
        load_set(tmp_path / "a")
    rest = Counted()
    assert make(tmp_path / "a", rest) == whole
    assert rest.done == [2, 3]
    assert make(tmp_path / "a", rest) == whole and rest.done == [2, 3]  # it is there


def test_a_fault_of_the_program_is_not_hidden(tmp_path):
    with pytest.raises(ZeroDivisionError):
        make(tmp_path / "a", Counted(ZeroDivisionError(), 1))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("step", ["ascontiguousarray", "write_record", "rename", "rmtree"])
def test_a_stop_while_files_are_written_loses_nothing(whole, tmp_path, monkeypatch, step, error):
    def stops(*_, **__):
        raise error

    owners = dict(ascontiguousarray=np, write_record=shards, rename=type(tmp_path), rmtree=shutil)
    (tmp_path / "a.partial" / "shards").mkdir(parents=True)  # so that only the last rmtree fails
    (tmp_path / "a.partial" / "shards" / "made_for.txt").write_text(f"key {BLOCK}")
    with monkeypatch.context() as patch:
        patch.setattr(owners[step], step, stops)
        with pytest.raises((Stopped, error)) as stopped:
            make(tmp_path / "a")
    assert error is not KeyboardInterrupt or "11 of 11 images are kept" in str(stopped.value)
    again = Counted()
    assert make(tmp_path / "a", again) == whole and again.done == []


def test_a_full_disk_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(900, 100, 800))
    with pytest.raises(
        UserError, match=rf"things needs 875 bytes in {tmp_path}, which has 800 free"
    ):
        make(tmp_path / "a", Counted(AssertionError))


def refuse_to_reserve(monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_space_that_cannot_be_had_is_told_before_the_work(tmp_path, monkeypatch, number):
    """A quota shows only where space is asked for."""
    refuse_to_reserve(monkeypatch, number)
    with pytest.raises(UserError, match="making things needs 875 bytes in"):
        make(tmp_path / "a", Counted(AssertionError))


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EFBIG])
def test_where_space_cannot_be_asked_for_the_work_begins(whole, tmp_path, monkeypatch, number):
    refuse_to_reserve(monkeypatch, number)
    assert make(tmp_path / "a") == whole


@pytest.mark.parametrize(("step", "done"), [("savez", 2), ("ascontiguousarray", 4)])
def test_a_disk_that_fills_up_meanwhile_is_told_and_what_is_done_is_kept(
    whole, tmp_path, monkeypatch, step, done
):
    """While blocks are written, and while they are put together."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    if done < 4:
        with pytest.raises(Stopped):
            make(tmp_path / "a", Counted(KeyboardInterrupt, done))
    with monkeypatch.context() as patch:
        patch.setattr(np, step, full)
        with pytest.raises(UserError, match=r"cannot be written: No space .* finished is kept"):
            make(tmp_path / "a")
    assert not [path for path in tmp_path.rglob("*.*") if path.name.count(".partial") > 1]
    again = Counted()
    assert make(tmp_path / "a", again) == whole and len(again.done) == 4 - done


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_worker_is_told(whole, tmp_path):
    with pytest.raises(UserError, match=r"one of 2 worker processes was killed.*lack of memory"):
        make(tmp_path / "a", killed, workers=2)
    assert make(tmp_path / "a", workers=2) == whole


def test_a_broken_block_is_made_again(whole, tmp_path):
    with pytest.raises(Stopped):
        make(tmp_path / "a", Counted(KeyboardInterrupt, 2))
    (tmp_path / "a.partial" / "shards" / "000001.npz").write_bytes(b"")
    with pytest.raises(UserError, match=r"000001\.npz is broken.*run the same command again"):
        make(tmp_path / "a")
    again = Counted()
    assert make(tmp_path / "a", again) == whole and again.done == [1]


def test_leftovers_of_another_set_are_not_used(whole, tmp_path):
    with pytest.raises(Stopped):
        make(tmp_path / "a", Counted(KeyboardInterrupt, 3), key="other")
    again = Counted()
    assert make(tmp_path / "a", again) == whole and again.done == [0, 1, 2, 3]


def test_what_is_no_set_is_refused_before_the_work(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="holds no complete data set: delete it"):
        make(tmp_path / "a", Counted(AssertionError))


def test_a_second_process_waits_for_the_first_and_loads(whole, tmp_path, capsys):
    begun, go_on, second = threading.Event(), threading.Event(), Counted()

    def slow(number):
        begun.set()
        assert go_on.wait(60)
        return block(number)

    one = threading.Thread(target=make, args=(tmp_path / "a", slow))
    two = threading.Thread(target=make, args=(tmp_path / "a", second))
    one.start()
    assert begun.wait(60)
    two.start()
    two.join(0.5)
    assert two.is_alive() and not (tmp_path / "a").exists()
    go_on.set()
    one.join(60)
    two.join(60)
    assert second.done == [] and "waiting for it" in capsys.readouterr().err
    assert make(tmp_path / "a") == whole


def test_the_finishing_step_sees_every_block(tmp_path):
    def finish(folder, files):
        notes = [shards.read_shard(file)["note"].item() for file in files]
        (folder / "notes.txt").write_text(" ".join(notes))

    assert make(tmp_path / "a", finish=finish)["notes.txt"] == b"seen seen seen seen"
