"""The clockwork of the benchmark on made-up machines, and what is shown of its times."""

from math import comb

import pytest
import torch

from introspect.analysis import bench, bench_ways
from introspect.analysis.bench_timing import (
    Group,
    bound_median,
    compare,
    find_noise,
    measure_differences,
    name_cpu,
    time_rounds,
)
from introspect.fields import Refused
from tests.cases import each


class Machine:
    """A machine whose every call is slower than the one before, and whose clock we set."""

    def __init__(self, slowing=0.0, waits=1.0, jumps=()):
        self.cpu = self.wall = 0.0
        self.speed, self.slowing, self.waits, self.jumps = 1.0, slowing, waits, list(jumps)

    def clock(self):
        return self.cpu, self.wall

    def run(self, seconds):
        self.cpu += seconds * self.speed
        self.wall += seconds * self.speed * self.waits
        self.speed += self.slowing

    def way(self, seconds):
        return lambda: self.run(seconds)

    def probe(self):
        jump = self.jumps.pop(0) if self.jumps else 1.0
        self.cpu, self.wall = self.cpu + jump, self.wall + jump * self.waits

    def time(self, rounds=8, **ways):
        ways = {name: self.way(seconds) for name, seconds in ways.items()}
        return time_rounds(ways, rounds, self.clock, self.probe)


def test_ratios_are_exact_on_a_machine_that_slows_down_steadily():
    timed = Machine(slowing=0.5).time(ours=2.0, slow=6.0, slower=8.0)
    ours = timed.seconds["ours"]
    assert len(ours) == 8 and ours[-1] > 5 * ours[0]
    for way, expected in (("slow", 3.0), ("slower", 4.0)):
        assert compare(timed, way, "ours") == pytest.approx((expected,) * 3, abs=1e-12)


@each("n", [6, 7, 10, 20, 31])
def test_the_interval_is_the_narrowest_of_order_statistics_that_covers_95_percent(n):
    ratio = bound_median([float(i) for i in range(1, n + 1)][::-1])
    k = int(ratio.low)

    def coverage(k):
        return 1 - 2 * sum(comb(n, i) for i in range(k)) / 2**n

    assert bound_median(range(20)) == (9.5, 5, 14)  # five are left out on each side
    assert ratio.middle == (n + 1) / 2 and ratio.high == n + 1 - k
    assert coverage(k) >= 0.95 > coverage(k + 1)


@each("machine, busy", [
    (dict(), ""),
    (dict(waits=1.1), ""),
    (dict(waits=1.3), "a matrix product takes 1.30 x its CPU time"),
    (dict(jumps=[1.0, 1.0, 9.0]), ""),  # the first warms up; one slow product of eight
    (dict(jumps=[1.0, *[1.0, 1.5] * 4]), "CPU times of a matrix product spread by 1.50 x"),
])
def test_a_busy_machine_is_told_from_a_quiet_one(machine, busy):
    assert find_noise(Machine(**machine).time(a=1.0, b=2.0).probes) == busy


@each("machine, shown", [(dict(), True), (dict(waits=1.3), False)])
def test_no_ratio_and_no_share_is_shown_of_a_busy_machine(machine, shown):
    timed = Machine(**machine).time(packed=1.0, **{bench.AT_END: 2.0, bench.ONE_BY_ONE: 3.0})
    a = torch.rand(10, 20)
    group = Group("title", dict.fromkeys(timed.seconds, lambda: a @ a.T), count=5, unit="things")
    table = bench.show_group(group, dict.fromkeys(timed.seconds, 1e-7), timed, rate=16000.0)
    assert ("2.00 [2.00, 2.00]" in table) == ("3.00 [3.00, 3.00]" in table) == shown
    assert (bench.BUSY in table) == (not shown)
    row = table.splitlines()[-2].removeprefix(bench.AT_END).split()
    assert row[:5] == ["2000.00", "250.00", "12%" if shown else "-", "1e-07", "2"]  # 5 in 2 s
    curve = bench.show_curve("size", [(group, timed)], rate=16000.0)
    assert ("2.00 [2.00, 2.00]; 3.00 [3.00, 3.00]" in curve) == shown


@each("numbers, share", [
    ([1.0, -2.0], 0.0),
    ([1.0, -2.0001], 5e-5),
    ([1.001, -2.0], None),
    ([float("nan"), -2.0], None),
])
def test_ways_that_compute_other_numbers_are_refused(numbers, share):
    slow = [torch.tensor([x]) for x in numbers]
    group = Group("t", {"ours": lambda: torch.tensor([1.0, -2.0]), "slow": lambda: slow})
    if share is None:
        with pytest.raises(Refused, match="t: slow: differs by .*, and at most 1e-04 is allowed"):
            measure_differences(group)
    else:
        assert measure_differences(group) == pytest.approx({"ours": 0.0, "slow": share}, abs=1e-6)


def test_of_classes_the_share_that_differs_counts():
    ways = {"a": lambda: torch.tensor([1, 2, 3, 9]), "b": lambda: torch.tensor([1, 2, 3, 0])}
    assert measure_differences(Group("t", ways, 0.25)) == {"a": 0.0, "b": 0.25}
    with pytest.raises(Refused):
        measure_differences(Group("t", ways, 0.2))
    exact = torch.tensor([1.0, 2.0, 3.0, 0.0])  # given, so that the first way is measured too
    assert measure_differences(Group("t", ways, 3.0, exact)) == {"a": 3.0, "b": 0.0}


def test_the_fastest_number_of_perturbations_is_found():
    machine = Machine()
    took = {1: 3.0, 2: 2.0, 4: 1.0, 6: 2.0}
    assert bench_ways.find_best(lambda m: machine.run(took[m]), 6, machine.clock) == 4


def test_a_cpu_is_named_with_its_numbers(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: Some CPU\ncpu family\t: 6\nmodel\t\t: 85\n\nmodel name\t: B\n")
    assert name_cpu(info) == "Some CPU (family 6 model 85)"
    assert name_cpu(tmp_path / "none")
