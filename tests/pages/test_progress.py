"""How far a job is, in sparse lines."""

from lthnb.config import RunConfig
from lthnb.pages import progress
from lthnb.runs.machine import Settings
from lthnb.runs.sweep import Job, News

JOB = Job(RunConfig.of("smoke", name="glyphs", rounds=0), "glyphs", Settings())


def test_progress_prints_lines_with_the_share_done_and_time_left(monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    news = [News(JOB, "epoch", 1), News(JOB, "epoch", 2), News(JOB, "finished", 2, 1.0)]

    assert list(progress.followed(news, 4)) == news
    lines = capsys.readouterr().out.splitlines()
    assert "25%" in lines[0] and "1/4" in lines[0]
    assert "50%" in lines[1] and "<" in lines[1]
    assert len(lines) == 2


def test_lines_are_sparse(capsys):
    list(progress.followed([News(JOB, "epoch", 1)], 4))

    assert capsys.readouterr().out == ""


def test_clock_reads_as_minutes_then_hours():
    assert [progress.clock(seconds) for seconds in (5, 83, 7500)] == ["00:05", "01:23", "2:05:00"]
