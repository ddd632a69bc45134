"""Progress where nobody watches: lines now and then, and none when it is switched off."""

from ifr.common.progress import progress_bar


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(capsys, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    with progress_bar(10, "counting", "sheep", initial=2) as bar:
        for _ in range(6):
            clock[0] += 11
            bar.update(1)
        bar.set_postfix({"asleep": "no"}, refresh=False)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("counting: 5 of 10 sheep, 33 s, ")
    assert lines[0].endswith(" 0.09 sheep/s, 55 s left")
    assert lines[-1].endswith("asleep=no") and "8 of 10 sheep, 66 s" in lines[-1]
    assert len(lines) == 3


def test_no_line_is_written_when_progress_is_off(capsys):
    with progress_bar(3, "counting", "sheep", False) as bar:
        bar.update(3)
        bar.set_postfix({"asleep": "yes"})
    assert capsys.readouterr().err == ""
