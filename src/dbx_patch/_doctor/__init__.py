"""Finds out why an import fails, and which command fixes it."""

from dbx_patch._doctor._checks import doctor
from dbx_patch._doctor._elsewhere import doctor_for_notebooks
from dbx_patch._doctor._report import Cause, Check, Diagnosis, Report, Step

__all__ = ["Cause", "Check", "Diagnosis", "Report", "Step", "doctor", "doctor_for_notebooks"]
