"""The script task. It has no `__file__` on serverless compute, and needs no `sys.path.append`."""

from orders import prices

print(f"{prices.add_tax(100)} from {prices.__file__}")
