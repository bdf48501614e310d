import pytest

from decoupled_nets._metric import Metric
from decoupled_nets._statistics import Interval, Spread
from decoupled_nets.reports import format as fmt

ACCURACY = Metric("accuracy", "accuracy")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (fmt.value(0.8613, ACCURACY), "86.1"),
        (fmt.value(float("nan"), ACCURACY), "–"),
        (fmt.spread(Spread(0.861, 0.004, 3), ACCURACY), "86.1 ± 0.4"),
        (fmt.interval(Interval(0.8, 0.9), ACCURACY), "80.0–90.0"),
        (fmt.difference(Spread(-0.00001, None, 1), ACCURACY), "+0.0"),
        (fmt.difference(Spread(-0.012, 0.01, 4), ACCURACY), "−1.2 ± 0.5"),
        (fmt.epochs(4.0), "4"),
        (fmt.epochs(4.5), "4.5"),
        (fmt.epochs(None), "–"),
        (fmt.seconds(8.418), "8.42"),
        (fmt.seconds(84.18), "84.2"),
        (fmt.seconds(841.8), "842"),
        (fmt.seconds(float("nan")), "–"),
        (fmt.ratio(1.0, 1.0, 1.0), "1.00×"),
        (fmt.ratio(1.08, 1.06, 1.11), "1.08× (1.06–1.11)"),
        (fmt.ratio(float("nan"), 1.0, 1.0), "–"),
        (fmt.count(1234567), "1,234,567"),
        (fmt.megabytes(45_600_000), "45.6"),
        (fmt.attack("pgd10"), "PGD-10"),
        (fmt.attack("fgsm"), "FGSM"),
        (fmt.attack("other"), "other"),
        (fmt.attack("quick"), "quick attacks"),
        (fmt.attack("pgd"), "PGD-10"),
        (fmt.threat("linf:8/255"), "L∞ 8/255"),
        (fmt.threat(f"linf:{8 / 255}"), "L∞ 8/255"),
        (fmt.threat("linf:0.1"), "L∞ 0.1"),
        (fmt.threat("l2:0.5"), "L2 0.5"),
        (fmt.listed(["a", "b", "c"]), "a, b and c"),
        (fmt.listed([]), ""),
        (fmt.plural(1, "seed"), "1 seed"),
    ],
)
def test_written(text, expected):
    assert text == expected
