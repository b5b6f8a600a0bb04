"""What this package and its peers can do: facts as data, some of them probed, and their tables.

`docs/comparison.toml` holds the facts that were read in source and documentation. `probe` runs the
released packages in virtual environments of their own and writes what they did to
`docs/comparison_probed.json`. `write_tables` makes the tables of README.md and docs/comparison.md.
"""
