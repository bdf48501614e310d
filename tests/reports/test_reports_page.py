import base64
import io
from html.parser import HTMLParser

import pytest
from PIL import Image
from report_cases import make_results, make_run

from decoupled_nets.reports.figures.style import THEMES
from decoupled_nets.reports.page import render
from decoupled_nets.reports.report import write_report
from decoupled_nets.reports.results import Score
from decoupled_nets.reports.summary import summarise

VOID = {"meta", "img", "source", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects what the checks need, and fails on a tag closed out of order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.images, self.text = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.links += [
            attributes[k] for k in ("src", "srcset", "href", "action", "poster") if k in attributes
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def written(results, folder):
    paths = write_report(results, folder)
    assert all(path.stat().st_size > 0 for path in paths)
    assert sorted(folder.iterdir()) == sorted(paths)
    text = paths[0].read_text(encoding="utf-8")
    return Page(text), text, [path.name for path in paths]


def test_page_is_well_formed_self_contained_and_accessible(results, tmp_path):
    page, text, names = written(results, tmp_path)
    figures = ["score", "differences", "curves", "attacks", "features", "functions", "geometry"]
    assert names == ["report.html", *(f"{name}.png" for name in figures)]
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "url(" not in text
    assert "@import" not in text
    assert page.all("script") == []
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert len(page.all("figure")) == len(page.all("figcaption")) == len(figures)
    assert all(len(image["alt"]) > 30 for image in page.all("img"))
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    assert "a first look, not a claim of robustness" in text.lower()
    assert "8/255" in text
    assert "$" not in text.replace("$dollar$", "")


def test_text_from_the_results_is_escaped(tmp_path):
    results = make_results(seeds=(0,), operators=["conv"])
    results.data["name"] = '<script>alert("x")</script>'
    results.config["note"] = "</code><b>"
    results.environment["machine"] = "<i>"
    page, text, _ = written(results, tmp_path)
    assert page.all("script") == page.all("b") == page.all("i") == []
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"runs": []}, "No run has finished yet."),
        ({"runs": [make_run("conv", 0, [800, 810])]}, "No other operator has finished yet."),
        ({"runs": [make_run("tanh-cos", 1, [800])]}, "The baseline conv has not finished"),
        (
            {"runs": [make_run("conv", 0, [1], losses=[float("nan")]), make_run("tanh-cos", 0, [0])]},
            "conv (diverged)",
        ),
        (
            {"operators": ["conv"], "runs": [make_run("conv", 0, [800])]},
            "No other operator has finished yet.",
        ),
        (
            {"operators": ["root-cos"], "runs": [make_run("root-cos", 0, [800])]},
            "root-cos reached 80.0 % test accuracy (one seed)",
        ),
        ({"data": {}, "config": {}, "environment": {}}, "Operators conv and tanh-cos on unnamed data"),
    ],
)
def test_partial_results(changes, said, tmp_path):
    two = {"operators": ["conv", "tanh-cos"], "costs": [], "features": []}
    page, _, names = written(make_results(seeds=(0,), **{**two, **changes}), tmp_path)
    assert said in "".join(page.text)
    assert ("curves.png" in names) == (changes.get("runs") != [])


@pytest.mark.parametrize(
    ("names", "config", "title"),
    [
        (["conv", "dw", "ddf"], {}, "Operators conv, dw and ddf on sample"),
        (["conv"], {}, "Operator conv on sample"),
        (["nearest", "ddf"], {"upsamplers": "nearest,ddf"}, "Upsamplers nearest and ddf on sample"),
        (["a", "b"], {"variants": "a: lr=1; b: lr=2"}, "Variants a and b on sample"),
        (list("abcdefg"), {"upsamplers": "a,b,c,d,e,f,g"}, "7 upsamplers on sample"),
    ],
)
def test_the_title_names_what_is_compared(names, config, title):
    results = make_results(seeds=(0,), operators=names, runs=[], config=config, costs=[], features=[])
    page = Page(render(results, summarise(results), {}))
    assert page.text.count(title) == 2  # of the window, and above the page


def test_incomplete_comparison_says_so():
    results = make_results(seeds=(0,), runs=[make_run("conv", 0, [800])])
    text = render(results, summarise(results), {})
    assert "Incomplete: 1 of 4 runs finished." in text


def test_an_epochless_run_and_a_rewrite(tmp_path):
    run = make_run("conv", 0, [800])
    run.history, run.test = [], Score(float("nan"), 0)
    results = make_results(seeds=(0,), operators=["conv"], runs=[run], costs=[], features=[])
    written(results, tmp_path)
    written(results, tmp_path)


def test_facts_name_the_network_and_the_command_is_word_for_word():
    results = make_results()
    results.config.update(command="decoupled compare --epochs 3 --data 'a b'", batch_norm=False, relu=True)
    page = render(results, summarise(results), {})
    assert "without BatchNorm, with ReLU" in page
    assert "decoupled compare --epochs 3 --data &#x27;a b&#x27;" in page


def test_each_theme_has_its_own_picture(results, tmp_path):
    page, _, _ = written(results, tmp_path)
    pictures = {"dark": page.all("source"), "light": page.all("img")}
    assert len(pictures["dark"]) == len(pictures["light"]) == 7
    for theme, found in pictures.items():
        for attributes in found:
            data = base64.b64decode(attributes.get("src", attributes.get("srcset")).partition(",")[2])
            corner = Image.open(io.BytesIO(data)).convert("RGB").getpixel((0, 0))
            assert "#{:02x}{:02x}{:02x}".format(*corner) == THEMES[theme].background
