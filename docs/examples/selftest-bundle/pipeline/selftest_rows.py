"""The result of the self-test, as a file and as a table of the pipeline."""

import json
from pathlib import Path

from pyspark import pipelines as dp
from pyspark.sql import DataFrame, SparkSession

import dbx_patch

spark = SparkSession.getActiveSession()
found = dbx_patch.selftest().to_json()
Path(spark.conf.get("selftest.result")).write_text(json.dumps(found, indent=2))


@dp.table
def selftest_of_dbx_patch() -> DataFrame:
    """Each promise with its state."""
    rows = [(row["promise"], row["state"], row["detail"]) for row in found["promises"]]
    return spark.createDataFrame(rows, "promise string, state string, detail string")
