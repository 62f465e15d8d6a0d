"""Editable Python installs that work in Databricks notebooks."""

from dbx_patch.sitecustomize_template.sitecustomize import VERSION as __version__

__all__ = ["__version__"]
