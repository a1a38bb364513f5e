"""What a worker says about its time."""

from workers.times import LEDGER, NETWORKS, Times, told


def test_seconds_are_added_up_by_what_they_were_spent_on() -> None:
    now = iter([0.0, 2.0, 10.0, 11.0, 20.0, 24.0])
    times = Times(clock=lambda: next(now))
    for what in (NETWORKS, LEDGER, NETWORKS):
        with times.spent(what):
            pass
    times.page()
    assert times.take() == (1, {"networks": 6.0, "ledger": 1.0})
    assert times.take() == (0, {})


def test_a_line_says_what_the_threads_wait_for() -> None:
    line = told(30, {"networks": 36.0, "scans": 60.0}, n_threads=2, seconds=60.0, busy_s=15.0)
    assert line == ("0.50 stages/s; 2 threads: scans 50%, networks 30%, no page 20%; device at work 25%")
