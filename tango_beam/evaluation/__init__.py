"""How good and how fast a cascade is on labelled rows: metrics, curves, baselines, report.

`evaluate` is the command. `answers` scores the rows, `costs` times the tiers, and `results` makes
the report of both, with the pure NumPy of `metrics`, `curves`, `heldout` and `corrections`.
`tables`, `figures` and `page` show it.
"""
