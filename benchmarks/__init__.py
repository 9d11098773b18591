"""Benchmarks of Tidegate: `python -m benchmarks [NAME...] [--quick] [--write]`.

Each module answers figures; `figures.py` says what a figure is, `report.py` writes them down. Figures are compared within one
run, as ratios where they can be, since machines drift by tens of percent within an hour.
"""
