"""The book builds strictly, from records, and fetches nothing from outside."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lthnb.config import ROOT
from lthnb.pages import scoreboard
from lthnb.runs import record


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    target = tmp_path_factory.mktemp("book")
    command = Path(sys.executable).with_name("jupyter-book")
    words = [
        str(command),
        "build",
        str(ROOT),
        "--path-output",
        str(target),
        "-W",
        "-n",
        "--keep-going",
        "--all",
    ]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-4000:]
    assert "index.html" in ended.stdout
    return target / "_build" / "html"


def test_every_page_of_the_contents_is_built(site):
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    for page in [contents["root"], *(chapter["file"] for chapter in contents["chapters"])]:
        assert (site / f"{page}.html").exists()


def test_pages_fetch_nothing_from_outside(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.findall(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//', text), page
        assert not re.findall(r'<link[^>]+rel="stylesheet"[^>]+href="(?:https?:)?//', text), page


def test_the_built_page_shows_real_images_and_their_records(site):
    text = re.sub(r"<[^>]+>", "", (site / "notebooks" / "imp.html").read_text())
    shown = set(re.findall(r"book/runs/([0-9a-f]{16})\.json", text))

    assert "cifar10_exact" in text
    assert len(shown) == 12  # six tickets and six strong dense networks
    assert all((ROOT / "book" / "runs" / f"{key}.json").exists() for key in shown)


def test_nothing_built_names_a_path_of_this_machine(site):
    for page in site.rglob("*.html"):
        assert str(ROOT) not in page.read_text(), page


def test_the_settings_stay_short_and_there_is_one_source_of_published_numbers():
    assert len((ROOT / "_config.yml").read_text().splitlines()) < 45
    assert (
        json.loads((ROOT / "book" / "published.json").read_text())["cifar10-1%-random-init"]["ticket"]
        == 59.66
    )


def test_the_scoreboard_shows_the_filled_rows_and_why_others_are_empty(site):
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (site / "book" / "intro.html").read_text()))
    filled = [row for row in scoreboard.rows(record.load_all("book/runs")) if row.records]

    assert len(filled) >= 2
    for row in filled:
        ours = row.values()
        assert f"{ours['dense']:.1f} → {ours['ticket']:.1f}" in text
        assert ours["gain_spread"] in text
    for reason in ("not yet run", "needs paper scale", "data cannot be had"):
        assert reason in text


ROLE = re.compile(r"\{(?:glue|cite|numref|ref|doc|eq)[^}]*\}`|^\([\w-]+\)=$|^(?:```|:::)\{", re.MULTILINE)


def texts(cell):
    """What a reader in JupyterLab or on GitHub may see of a cell: its source and its outputs."""
    yield "".join(cell["source"])
    for output in cell.get("outputs", []):
        yield "".join(output.get("text", ""))
        for kind, value in output.get("data", {}).items():
            if kind.startswith("text/"):
                yield "".join(value)


def test_no_executed_notebook_holds_a_raw_role(site):
    executed = sorted((site.parent / "jupyter_execute" / "notebooks").glob("*.ipynb"))

    assert {path.stem for path in executed} == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    for path in executed:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            assert not [text for text in texts(cell) if ROLE.search(text)], path.name
    assert ROLE.search("with {glue:text}`gain`") and ROLE.search("(imp)=") and ROLE.search("```{note}")
