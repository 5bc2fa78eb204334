"""Quantities in answers: `3 h 25 min`, `3 hours and 25 minutes` and `205 minutes` are the same."""

from __future__ import annotations

import re
from fractions import Fraction

Quantity = tuple[str, Fraction]
"""What is measured, and how much of it in its base unit."""

_UNITS: dict[str, tuple[str, str]] = {
    "s sec secs second seconds": ("time", "1"),
    "min mins minute minutes": ("time", "60"),
    "h hr hrs hour hours": ("time", "3600"),
    "d day days": ("time", "86400"),
    "week weeks": ("time", "604800"),
    "mm millimetre millimetres millimeter millimeters": ("length", "1/1000"),
    "cm centimetre centimetres centimeter centimeters": ("length", "1/100"),
    "m metre metres meter meters": ("length", "1"),
    "km kilometre kilometres kilometer kilometers": ("length", "1000"),
    "mg milligram milligrams": ("mass", "1/1000"),
    "g gram grams": ("mass", "1"),
    "kg kilogram kilograms": ("mass", "1000"),
    "ml millilitre millilitres milliliter milliliters": ("volume", "1/1000"),
    "l litre litres liter liters": ("volume", "1"),
}
_BY_NAME = {name: unit for names, unit in _UNITS.items() for name in names.split()}
_AMOUNT = r"(?<![\w.,:/-])(-?\d+(?:,\d{3})*(?:\.\d+)?)\s*([a-z]+)(?![\w/^])"
_PART = re.compile(_AMOUNT)
_RUN = re.compile(rf"{_AMOUNT}(?:(?:\s*,)?(?:\s+and)?\s*{_AMOUNT})*")


def only_quantity(text: str) -> Quantity | None:
    """The one quantity of a lower-case text; None where there is none, or where other numbers are.

    Amounts that follow each other are added if they measure the same, as hours and minutes do.
    """
    runs = [run.group(0) for run in _RUN.finditer(text)]
    if len(runs) != 1 or re.search(r"\d", text.replace(runs[0], "", 1)):
        return None
    parts = [(amount, _BY_NAME.get(unit)) for amount, unit in _PART.findall(runs[0])]
    measured = {unit[0] for _, unit in parts if unit is not None}
    if len(measured) != 1 or any(unit is None for _, unit in parts):
        return None
    total = sum(Fraction(amount.replace(",", "")) * Fraction(unit[1]) for amount, unit in parts if unit)
    return measured.pop(), Fraction(total)
