"""Tests of editable installs on a real workspace mount."""
