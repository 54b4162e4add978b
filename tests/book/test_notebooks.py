"""The bones of every notebook, and each one run once in this process with smoke parameters."""

import ast
import json
import re
import sys

import pytest

from lthnb.config import ROOT
from lthnb.pages import parameters

PAGES = sorted((ROOT / "notebooks").glob("*.ipynb"))
HEADINGS = [
    "## The claim",
    "## The experiment",
    "## What we see",
    "## Is it a fair test?",
    "## Verdict",
    "## Try it",
]
# roles and other markup of MyST: raw text in JupyterLab and in GitHub's view
RAW = re.compile(r"\{[a-z][\w:-]*\}`|^\([\w-]+\)=|^(```|:::)\{", re.MULTILINE)
PLOTS = re.compile(r"figures\.(?!use_style|panels)\w+\(")
SHARED = {"profile", "seeds", "train", "device", "runs"}  # parameters of every page
SMOKE = {"profile": "smoke", "seeds": 2, "device": "cpu", "train": True, "dataset": "glyphs", "fraction": 60}


def cells(path, kind=None):
    stored = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in stored if kind in (None, cell["cell_type"])]


def source(cell):
    return "".join(cell["source"])


def tags(cell):
    return cell["metadata"].get("tags", [])


def words(path):
    """Number of words that a reader meets: prose, and the sentences that code prints."""
    sentences = [part for cell in cells(path, "code") for part in source(cell).split('"""')[1::2]]
    prose = [source(cell) for cell in cells(path, "markdown")]
    return len(" ".join(prose + sentences).split())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
class TestBones:
    def test_cells_are_few_short_and_without_outputs_or_functions(self, path):
        assert len(cells(path)) <= 22
        for cell in cells(path, "code"):
            assert cell["outputs"] == [] and cell["execution_count"] is None
            assert len(source(cell).splitlines()) <= (15 if "parameters" not in tags(cell) else 20)
            nodes = ast.walk(ast.parse(source(cell)))
            assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in nodes)

    def test_headings_stand_in_their_order_below_a_title(self, path):
        text = "\n".join(source(cell) for cell in cells(path, "markdown"))

        assert [line for line in text.splitlines() if line.startswith("## ")] == HEADINGS
        assert re.match(r"# [^\n]+\n", text)
        assert 600 <= words(path) <= 1300

    def test_no_cell_holds_a_raw_role(self, path):
        for cell in cells(path):
            assert not RAW.search(source(cell)), source(cell)

    def test_the_one_sentence_stands_right_after_the_records(self, path):
        code = [source(cell) for cell in cells(path, "code")]
        boxes = [index for index, text in enumerate(code) if "box=True" in text]

        assert len(boxes) == 1
        assert "study.obtain(plan)" in code[boxes[0] - 1]

    def test_numbers_are_glued_in_one_hidden_cell(self, path):
        glued = [cell for cell in cells(path, "code") if "glue(" in source(cell)]

        assert [tags(cell) for cell in glued] == [["remove-cell"]]
        assert sum("remove-cell" in tags(cell) for cell in cells(path)) == 1

    def test_sentences_are_printed_from_hidden_code(self, path):
        for cell in cells(path, "code"):
            if "say.say(" in source(cell):
                assert tags(cell) == ["hide-input"]

    def test_the_first_code_cell_holds_literal_parameters_that_have_rules(self, path):
        first = cells(path, "code")[0]
        declared = parameters.assigned(source(first))

        assert tags(first) == ["hide-input", "parameters"]
        assert declared.keys() >= SHARED
        assert ... not in declared.values()
        assert declared.keys() <= parameters.PAGE_RULES.keys()

    def test_only_runs_of_the_page_s_own_scale_and_images_are_shown(self, path):
        code = "\n".join(source(cell) for cell in cells(path, "code"))

        assert not re.search(r"load_all|lthnb\.runs", code)  # every record comes through its study

    def test_papermill_finds_every_parameter(self, path):
        import papermill

        declared = parameters.assigned(source(cells(path, "code")[0]))
        assert papermill.inspect_notebook(str(path)).keys() == declared.keys()

    def test_figures_have_a_name_a_caption_and_a_text_for_the_blind(self, path):
        plots = [cell for cell in cells(path, "code") if PLOTS.search(source(cell))]

        assert plots
        for cell in plots:
            about = cell["metadata"]["mystnb"]
            assert about["figure"]["name"].startswith("fig-") and len(about["figure"]["caption"]) > 60
            assert about["image"]["alt"] and "hide-input" in tags(cell)


@pytest.mark.parametrize(
    "raw", ["{glue:text}`gain`", "see {cite}`varma`", "(imp)=\n# A", "```{note}\n", ":::{tip}"]
)
def test_every_kind_of_raw_markup_is_caught(raw):
    assert RAW.search(raw)


def test_a_title_is_a_question_or_a_claim_that_no_verdict_opposes():
    claims = [path.stem for path in PAGES if not source(cells(path)[0]).strip().endswith("?")]

    assert claims == ["layers"]  # its verdict says that the direction agrees


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
