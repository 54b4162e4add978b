"""Records with numbers one can check by eye."""

from lthnb import stats
from lthnb.config import RunConfig
from lthnb.record import Record


def record(test, val=None, seed=0, sha256="aa", kept=None, **config):
    """A run of 1,000 test and 100 val images whose accuracies are given; density halves with each round."""
    val = val or test
    config = RunConfig.of(name="glyphs", rounds=len(test) - 1, rate=0.5, seed=seed, **config)
    rows = [
        {
            "round": index,
            "kept": [(kept or [1000 // 2**i for i in range(len(test))])[index]],
            "correct": {"train": 500, "val": round(100 * val[index]), "test": round(1000 * test[index])},
            "total": {"train": 500, "val": 100, "test": 1000},
            "loss": 0.5,
            "seconds": {"train": 1.0, "evaluate": 0.5},
            "curve": {"loss": [1.0, 0.5], "correct": []},
        }
        for index in range(len(test))
    ]
    facts = {
        "name": "glyphs",
        "sha256": sha256,
        "classes": ["0", "1"],
        "channels": 3,
        "side": 32,
        "pool": 50_000,
    }
    facts |= {"counts": {"train": [250, 250]}}
    index = stats.chosen_on_val(rows)
    chosen = {"val": None if index is None else {"round": index}, "test": stats.best_on_test(rows)}
    made = {
        "device": "cpu",
        "precision": "fp32",
        "versions": {"torch": "2"},
        "date": "2026-01-02",
        "seconds": 3.0,
    }
    return Record(config, facts, {"stem.0.weight": 1000}, rows, chosen, made)
