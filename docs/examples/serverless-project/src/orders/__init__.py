"""What the notebook, the tasks and the pipeline share."""
