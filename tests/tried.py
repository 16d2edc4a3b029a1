"""How many inputs of each kind were tried, for the summary after all tests."""

from collections import Counter

TRIED: Counter[str] = Counter()
