"""The bones of every notebook, and each one run once in this process with smoke parameters."""

import ast
import json
import sys

import pytest

from lthnb import parameters
from lthnb.config import ROOT

PAGES = sorted((ROOT / "notebooks").glob("*.ipynb"))
HEADINGS = [
    "## The claim",
    "## The experiment",
    "## What we see",
    "## Is it a fair test?",
    "## Verdict",
    "## Try it",
]
SMOKE = {"profile": "smoke", "seeds": 2, "device": "cpu", "train": True, "dataset": "glyphs", "fraction": 60}


def cells(path, kind=None):
    found = json.loads(path.read_text())["cells"]
    return [cell for cell in found if kind in (None, cell["cell_type"])]


def source(cell):
    return "".join(cell["source"])


def tags(cell):
    return cell["metadata"].get("tags", [])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
class TestBones:
    def test_cells_are_few_short_and_without_outputs_or_functions(self, path):
        assert len(cells(path)) <= 22
        for cell in cells(path, "code"):
            assert cell["outputs"] == [] and cell["execution_count"] is None
            assert len(source(cell).splitlines()) <= 15
            assert not any(
                isinstance(n, ast.FunctionDef | ast.ClassDef) for n in ast.walk(ast.parse(source(cell)))
            )

    def test_headings_stand_in_their_order(self, path):
        text = "\n".join(source(cell) for cell in cells(path, "markdown"))
        found = [line for line in text.splitlines() if line.startswith("## ")]

        assert found == HEADINGS
        assert text.startswith(f"({path.stem})=\n# ")
        assert "In one sentence" in source(cells(path)[0])
        assert 350 <= len(text.split()) <= 1300

    def test_the_first_code_cell_holds_literal_parameters_that_have_rules(self, path):
        first = cells(path, "code")[0]
        declared = parameters.assigned(source(first))

        assert tags(first) == ["parameters"]
        assert declared.keys() >= parameters.SHARED
        assert ... not in declared.values()
        assert declared.keys() <= parameters.PAGE_RULES.keys()

    def test_papermill_finds_every_parameter(self, path):
        import papermill

        assert (
            papermill.inspect_notebook(str(path)).keys()
            == parameters.assigned(source(cells(path, "code")[0])).keys()
        )

    def test_figures_have_a_name_a_caption_and_a_text_for_the_blind(self, path):
        for cell in cells(path, "code"):
            if "figures." in source(cell) and source(cell).rstrip().endswith(";"):
                about = cell["metadata"]["mystnb"]
                assert about["figure"]["name"].startswith("fig-") and len(about["figure"]["caption"]) > 60
                assert about["image"]["alt"] and "hide-input" in tags(cell)
                assert f"{{numref}}`{about['figure']['name']}`" in path.read_text()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_runs_in_smoke_profile(path, tmp_path, monkeypatch):
    import matplotlib as mpl
    from IPython.core.interactiveshell import InteractiveShell

    mpl.use("Agg")
    monkeypatch.setenv("LTHNB_HOST", "papermill")
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # the shell puts its own there
    shell = InteractiveShell.instance()
    shell.reset()
    for cell in cells(path, "code"):
        shell.run_cell(source(cell), store_history=True).raise_error()
        if "parameters" in tags(cell):
            declared = parameters.assigned(source(cell))
            given = {name: v for name, v in {**SMOKE, "runs": str(tmp_path)}.items() if name in declared}
            shell.run_cell(
                "# Parameters\n" + "\n".join(f"{k} = {v!r}" for k, v in given.items()), store_history=True
            )

    assert len(list(tmp_path.glob("*.json"))) >= 2
