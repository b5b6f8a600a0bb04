"""What the library costs, as ratios to stated floors. `python -m benchmarks --help`."""
