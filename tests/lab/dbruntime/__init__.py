"""Stand-ins for Databricks' own modules that are published nowhere, written from what is known of them.

A node serves this folder as the package `dbruntime`, with `sys_path_init` and `builtins_import_patcher` beside it. Each
module says what it stands on and what it can't tell. Where a real one is published, the tests run that instead.
WSFS_TEST_DIR is, as in `pyspark.worker_util` (databricks-connect), the folder that `/Workspace` lies in.
"""
