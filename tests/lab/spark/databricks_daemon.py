"""Starts Spark's worker daemon with Databricks' `setup_spark_files` in the place of Spark's own.

It reads what Databricks' Spark sends to a worker, which is two strings more than Spark's own does. They come from here.
"""

from __future__ import annotations

import io
from typing import IO

from pyspark import daemon, worker
from pyspark.serializers import write_with_length
from pyspark.worker_util import setup_spark_files


class Preceded:
    """A stream with something before it."""

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        self.first = io.BytesIO(first)
        self.rest = rest

    def read(self, size: int) -> bytes:
        """Read from the first, and then from the rest; a reader asks for no more than one value at once."""
        return self.first.read(size) or self.rest.read(size)


def set_up(stream: IO[bytes]) -> None:
    """Run Databricks' code on what Spark sends."""
    more = io.BytesIO()
    for text in ("isolated_", "/virtualenv"):
        write_with_length(text.encode(), more)
    setup_spark_files(Preceded(more.getvalue(), stream))


worker.setup_spark_files = set_up
daemon.manager()
