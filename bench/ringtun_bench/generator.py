# SPDX-License-Identifier: MPL-2.0
"""Datagrams by ringtun-bench-gen: see gen/PROTOCOL.md for what it takes and prints."""

MIN_SIZE = 32
OVERHEAD_SEC = 0.8  # start, drain and end of a trial
MAX_SEGMENTS, MAX_BYTES = 64, 65000


def n_segments(size):
    """Datagrams per call with UDP_SEGMENT."""
    return max(1, min(MAX_SEGMENTS, MAX_BYTES // size))
