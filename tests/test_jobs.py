"""How far all jobs are, said once a minute where stderr is no terminal."""

from introspect.runs.jobs import Meter


def test_a_meter_says_a_line_a_minute_where_stderr_is_no_terminal(capsys):
    now = [0.0]
    meter = Meter("anchor", 1000, clock=lambda: now[0])
    for second in (59, 60, 61, 119, 120):
        now[0] = second
        meter("reg of seed 0", 100)
    assert capsys.readouterr().err.splitlines() == [
        "anchor: 20% after 1 min, about 4 min to go; now reg of seed 0",
        "anchor: 50% after 2 min, about 2 min to go; now reg of seed 0",
    ]
    meter("reg of seed 0", -400)  # so many were on disk
    now[0] = 180
    meter("reg of seed 0", 0)
    assert "anchor: 83% after 3 min, about 1 min to go" in capsys.readouterr().err
