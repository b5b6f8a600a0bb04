"""Other RLMs over the same server, with the same scripted root: `python -m benchmarks`."""
