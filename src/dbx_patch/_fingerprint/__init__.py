"""Describes this runtime as JSON, without anything about the people who use it."""

from dbx_patch._fingerprint._facts import fingerprint

__all__ = ["fingerprint"]
