"""The driver: starts Spark, and does one job for each line of JSON that it reads; a job looks for a package in workers.

It is run by a node's interpreter. What workers run travels by value, as from a notebook.
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
    """Tell what an import of a package comes to in this process, and which process this is."""
    try:
        said = __import__(name).function1()
    except ModuleNotFoundError as error:
        said = str(error)
    return json.dumps([said, sys.executable, str(Path.cwd())])


def look_for_series(names: pd.Series) -> pd.Series:
    """Look for each package."""
    return names.map(look)


def look_for_frames(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Look for each package."""
    for frame in frames:
        yield pd.DataFrame({"answer": frame["name"].map(look)})


def with_udf(names: DataFrame) -> DataFrame:
    """Look by a UDF."""
    return names.select(udf(look, "string")("name"))


def with_pandas_udf(names: DataFrame) -> DataFrame:
    """Look by a pandas UDF."""
    return names.select(pandas_udf(look_for_series, "string")("name"))


def with_map_in_pandas(names: DataFrame) -> DataFrame:
    """Look by `mapInPandas`."""
    return names.mapInPandas(look_for_frames, "answer string")


WAYS = {"udf": with_udf, "pandas_udf": with_pandas_udf, "mapInPandas": with_map_in_pandas}


def serve() -> None:
    """Start Spark, and do the jobs until there are no more."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else is printed is no answer
    spark = SparkSession.builder.getOrCreate()
    context = spark.sparkContext
    answers.write("ready\n")
    for line in sys.stdin:
        job = json.loads(line)
        # Spark starts other Python processes for another interpreter, and for another environment.
        context.pythonExec = job["python"]
        context.environment.update(job["environ"])
        names = spark.range(2, numPartitions=2).select(lit(job["name"]).alias("name"))
        rows = WAYS[job["way"]](names).collect()
        for name in job["environ"]:
            del context.environment[name]
        answers.write(json.dumps([json.loads(row[0]) for row in rows]) + "\n")
    spark.stop()


serve()
