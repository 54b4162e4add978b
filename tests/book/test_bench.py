import json

import torch
from helpers import gpu
from helpers.pretended import pretended

from lthnb import __main__


def test_bench_prints_each_figure_beside_the_plain_way_and_keeps_them(tmp_path, capsys):
    assert __main__.main(["bench", "--images", "200", "--json", str(tmp_path / "speed.json")]) == 0
    rows = {row["what"]: row for row in json.loads((tmp_path / "speed.json").read_text())}
    said = capsys.readouterr().out

    assert all(what in said for what in rows)
    assert torch.get_num_threads() == 1
    assert {row["ratio"] > 0 for row in rows.values() if row["ratio"]} == {True}
    assert rows["random augmentation, 32 px images/s, beside Pillow"]["ratio"] > 1
    assert rows["95 sets of corruptions, 32 px images/s"]["ratio"] > 2  # of 200 images; 5 of more
    assert sum("demo epoch" in what for what in rows) == 4


def test_bench_of_a_gpu_needs_one(capsys):
    assert __main__.main(["bench", "--gpu"]) == 1
    assert "bench --gpu needs a GPU, and torch finds none" in capsys.readouterr().err


def test_bench_of_a_gpu_runs_on_a_pretended_one(monkeypatch, capsys):
    monkeypatch.setattr(gpu.measure, "__defaults__", (2, 50, 100, 2))
    monkeypatch.setattr(gpu.kernels, "__defaults__", (2, 100))
    monkeypatch.setattr(gpu, "ACTIVITIES", gpu.ACTIVITIES[:1])  # there are no kernels to be seen
    with pretended():
        assert __main__.main(["bench", "--gpu"]) == 0
    said = capsys.readouterr().out

    for part in ("step, bf16, captured", "all splits, TF32", "pruning", "checkpoint", "aten::convolution"):
        assert part in said
