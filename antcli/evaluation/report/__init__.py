"""The report of a run and the comparison of several: HTML files that need nothing else."""
