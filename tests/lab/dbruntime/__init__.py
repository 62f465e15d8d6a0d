"""Stand-ins for Databricks' modules that are not published, written from public facts about them.

A node serves this folder as the package `dbruntime`, with `sys_path_init` and `builtins_import_patcher` beside it. Each
docstring lists the facts that the stand-in is based on, and what is unknown. If the real module is published, the tests
run that one instead. WSFS_TEST_DIR names the folder that contains `/Workspace`, as in `pyspark.worker_util`
(databricks-connect).
"""
