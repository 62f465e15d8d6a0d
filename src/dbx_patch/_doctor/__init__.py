"""Finds out why an import fails, and which command fixes it."""

from dbx_patch._doctor._checks import doctor
from dbx_patch._doctor._report import Cause, Diagnosis, Report, Step

__all__ = ["Cause", "Diagnosis", "Report", "Step", "doctor"]
