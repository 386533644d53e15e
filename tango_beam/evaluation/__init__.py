"""How good and how fast a cascade is on labelled rows: metrics, curves, baselines, report.

`metrics`, `curves`, `heldout` and `corrections` are pure NumPy and work on labels and confidences;
`costs` times the tiers; `study` puts both together; `figures` and `page` draw what it found.
"""
