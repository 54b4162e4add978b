import json

import torch

from lthnb import __main__


def test_bench_prints_each_figure_beside_the_plain_way_and_keeps_them(tmp_path, capsys):
    assert __main__.main(["bench", "--images", "200", "--json", str(tmp_path / "speed.json")]) == 0
    rows = {row["what"]: row for row in json.loads((tmp_path / "speed.json").read_text())}
    said = capsys.readouterr().out

    assert all(what in said for what in rows)
    assert torch.get_num_threads() == 1
    assert {row["ratio"] > 0 for row in rows.values() if row["ratio"]} == {True}
    assert rows["random augmentation, 32 px images/s, beside Pillow"]["ratio"] > 1
    assert sum("demo epoch" in what for what in rows) == 4
