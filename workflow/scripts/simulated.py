"""Simulate studies with planted components."""

from abspos.calibration import calibrate
from abspos.job import job

with job(snakemake):
    calibrate(
        snakemake.output.table,
        **snakemake.params.config,
        threads=snakemake.threads,
    )
