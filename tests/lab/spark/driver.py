"""The driver: starts Spark, and runs a job for each line of JSON on stdin. A job imports a package in workers.

A node's interpreter runs this file as a script, so its functions are sent to workers by value, as from a notebook.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import lit, pandas_udf, udf


def look(name: str) -> str:
    """Import a package here. Return what its `function1` returns, the interpreter, and the executor's folder."""
    try:
        outcome = __import__(name).function1()
    except ModuleNotFoundError as error:
        outcome = str(error)
    return json.dumps([outcome, sys.executable, str(Path.cwd())])


def look_for_series(names: pd.Series) -> pd.Series:
    """Import the package that each row names."""
    return names.map(look)


def look_for_frames(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Import the package that each row names."""
    for frame in frames:
        yield pd.DataFrame({"answer": frame["name"].map(look)})


def with_udf(names: DataFrame) -> DataFrame:
    """Import in a UDF."""
    return names.select(udf(look, "string")("name"))


def with_pandas_udf(names: DataFrame) -> DataFrame:
    """Import in a pandas UDF."""
    return names.select(pandas_udf(look_for_series, "string")("name"))


def with_map_in_pandas(names: DataFrame) -> DataFrame:
    """Import in `mapInPandas`."""
    return names.mapInPandas(look_for_frames, "answer string")


WAYS = {"udf": with_udf, "pandas_udf": with_pandas_udf, "mapInPandas": with_map_in_pandas}


def serve() -> None:
    """Start Spark, and run jobs until the end of the input."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # stdout carries answers only
    spark = SparkSession.builder.getOrCreate()
    context = spark.sparkContext
    answers.write("ready\n")
    for line in sys.stdin:
        job = json.loads(line)
        # Spark starts a Python process for each interpreter and environment.
        context.pythonExec = job["python"]
        context.environment.update(job["environ"])
        names = spark.range(2, numPartitions=2).select(lit(job["name"]).alias("name"))
        rows = WAYS[job["way"]](names).collect()
        for name in job["environ"]:
            del context.environment[name]
        answers.write(json.dumps([json.loads(row[0]) for row in rows]) + "\n")
    spark.stop()


serve()
