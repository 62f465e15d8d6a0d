"""Describes this runtime, and nothing of the people who use it."""

from dbx_patch._fingerprint._facts import fingerprint

__all__ = ["fingerprint"]
