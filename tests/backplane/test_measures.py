"""What a backplane measures of itself."""

from __future__ import annotations

from jupyter_wshandler.backplane.measures import STATES, Histogram
from jupyter_wshandler.backplane.memory import MemoryBackplane


def test_a_histogram_counts_each_value_in_every_bucket_that_it_fits_into():
    times = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 1.0, 7.0):
        times.add(value)
    assert times.buckets() == [("0.1", 2.0), ("1.0", 4.0), ("+Inf", 5.0)]
    assert times.sum == 8.65


def test_a_node_alone_has_a_state_and_measures_nothing():
    node = MemoryBackplane()
    assert node.state == STATES[0] == "single"
    assert node.publish_times is None
    assert node.counts() == {}
