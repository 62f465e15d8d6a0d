"""Tests of what is pure: no interpreter is started, and nothing is built."""
