"""A node of a Databricks cluster, rebuilt in a temporary folder from real interpreters, environments and installs."""
