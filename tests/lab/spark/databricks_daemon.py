"""Starts Spark's worker daemon with Databricks' `setup_spark_files` instead of Spark's own.

Databricks' Spark sends a worker two more strings than Apache's. This module adds them to the stream.
"""

from __future__ import annotations

import io
from typing import IO

from pyspark import daemon, worker
from pyspark.serializers import write_with_length
from pyspark.worker_util import setup_spark_files


class Preceded:
    """A stream that starts with other bytes."""

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        self.first = io.BytesIO(first)
        self.rest = rest

    def read(self, size: int) -> bytes:
        """Read the first bytes, then the stream. Each call asks for one value, so no call needs both."""
        return self.first.read(size) or self.rest.read(size)


def set_up(stream: IO[bytes]) -> None:
    """Run Databricks' code on what Apache's Spark sends."""
    more = io.BytesIO()
    for text in ("isolated_", "/virtualenv"):
        write_with_length(text.encode(), more)
    setup_spark_files(Preceded(more.getvalue(), stream))


worker.setup_spark_files = set_up
daemon.manager()
