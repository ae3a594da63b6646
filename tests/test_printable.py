"""Names and numbers are shown printable, short and distinct."""

import pytest

from lamp.printable import printable, readable, rounded, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Zürich 東京 price_€", "Zürich 東京 price_€"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("abc\u202efdp", r"abc\u202efdp"),
        ("line\u2028line", r"line\u2028line"),
        ("\ud800 \udce6", r"\ud800 \udce6"),
        ("t\udcc3\udca4ble \udce8\udca1\udca8", "täble 表"),  # as Python reads arguments in the locale C
        ("größe t\udcc3\udca4ble \udcff", r"größe täble \udcff"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),  # a joiner that the word needs
        ("[bold] $x$ :fire: \\x1b", "[bold] $x$ :fire: \\x1b"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


def test_lines_of_its_own_stay():
    assert printable("a\x1b\nb", keep="\n") == "a\\x1b\nb"


def test_short_names_stay_and_long_ones_are_each_another():
    assert shortened(["a", "b" * 9], 10) == ["a", "b" * 9]
    alike = [f"{'x' * 30}{k}{'y' * 30}" for k in range(12)]
    short = shortened([*alike, "z", alike[3]], 20)
    assert max(map(len, short)) <= 20
    assert len(set(short[:12])) == 12
    assert short[13] == short[3]
    assert short[12] == "z"


def test_a_name_that_looks_like_a_shortened_one():
    names = ["x" * 30 + "1" + "y" * 30, "x" * 30 + "2" + "y" * 30]
    first = shortened(names, 20)
    assert len(set(shortened([*names, *first], 20))) == 4


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0.0, "0.000"), (0.5123, "0.512"), (-0.5, "-0.500"), (1.23e-5, "1.2e-05"), (0.0042, "0.0042"),
        (9.99949, "9.999"), (9.99951, "10.00"), (45.678, "45.68"), (123.44, "123.4"), (999.94, "999.9"),
        (999.96, "1,000"), (4567.8, "4,568"), (94477, "94,480"), (-94477, "-94,480"), (3.1e18, "3.1e+18"),
        (1.2e14, "120,000,000,000,000"), (float("nan"), "-"), (None, "-"), (float("inf"), "-"),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(number, shown):
    assert readable(number) == shown


@pytest.mark.parametrize(
    ("number", "margin", "shown"),
    [
        (94_477, 3_210, "94,500"), (94_477, 321.0, "94,480"), (0.48213, 0.088, "0.482"), (6.714, 1.03, "6.7"),
        (0.99532, 0.0002, "0.9953"), (0.877, 0.0057, "0.877"), (-0.04, 3.0, "0.0"), (3.0, 40.0, "3"),
        (1.234567e-5, 3e-7, "1.23e-05"), (2e9, 3e-9, "2,000,000,000"), (0.5, 0.0, "0.500"),
        (0.5, 1e-12, "0.500000"), (float("nan"), 1.0, "-"), (3.14159e17, 1e16, "3.142e+17"),
    ],
)  # fmt: skip
def test_as_many_digits_as_the_margin_leaves(number, margin, shown):
    assert rounded(number, margin) == shown
