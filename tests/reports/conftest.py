import pytest
from report_cases import make_results

from decoupled_nets.reports.figures import style


@pytest.fixture
def results():
    return make_results()


@pytest.fixture(autouse=True)
def coarse_pictures(monkeypatch):
    """Draw a ninth of the pixels: what is checked does not depend on them."""
    monkeypatch.setattr(style, "DPI", style.DPI // 3)
