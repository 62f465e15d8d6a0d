"""A table of the pipeline."""

from orders.prices import TAX
from pyspark import pipelines as dp
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col


@dp.table
def orders_with_tax() -> DataFrame:
    """Each order with the price that the customer pays."""
    spark = SparkSession.getActiveSession()
    orders = spark.read.table("samples.tpch.orders")
    return orders.withColumn("price_with_tax", col("o_totalprice") * (1 + TAX))
