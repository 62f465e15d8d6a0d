"""The model as a test: random programs, run by plain Python with the model's path and with the shim, print the same.

`layouts` makes folders with layers and roots, `programs` makes what is run in them, `runner` runs both and compares.
`oracle` says what is right. To try more programs, or one again:

    python -m tests.differential --style finder --seed 7 --programs 1000

A program that differs is printed with its layout, after everything was left out that the difference does not need.
"""
