"""Class names in any script."""

import warnings

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager
from report_cases import make_results

from decoupled_nets.reports import figures
from decoupled_nets.reports.figures import scripts

CAT = "\U000105c0"  # a letter of Todhri, which hardly any machine has a font for


@pytest.fixture
def font(tmp_path):
    """A font with one letter, a square, installed for the time of a test."""
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 700), (800, 700), (800, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord(CAT): "cat"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "cat": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (900, 0), "cat": (900, 100)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "One Letter Sans", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    path = tmp_path / "one.ttf"
    builder.save(path)
    before = list(fontManager.ttflist)
    fontManager.addfont(str(path))
    scripts._family_with.cache_clear()
    yield "One Letter Sans"
    fontManager.ttflist[:] = before
    scripts._family_with.cache_clear()


def legend(names):
    results = make_results()
    results.data["classes"] = names
    figure = figures.features(results)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of glyphs it does not find
        figures.png(figure)
    return figure.legends[0].get_texts()


def test_a_name_that_an_installed_font_has_is_drawn_in_it(font):
    texts = legend([CAT, "dog", "$x_1"])
    assert [text.get_text() for text in texts] == [CAT, "dog", "$x_1"]
    assert texts[0].get_fontfamily() == [scripts.FONT, font]
    assert texts[1].get_fontfamily() == [scripts.FONT]


def test_a_name_that_no_font_has_becomes_its_number():
    assert [text.get_text() for text in legend([CAT, "dog", "猫" + CAT])] == ["class 0", "dog", "class 2"]


def test_greek_and_cyrillic_need_no_other_font():
    assert scripts.fonts_for("αθήνα кошка é") == []
