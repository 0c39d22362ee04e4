"""Simulate studies with planted components."""

from abspos.job import job, loading

with job(snakemake):
    with loading():
        from abspos.calibration import calibrate

    calibrate(
        snakemake.output.table,
        **snakemake.params.config,
        threads=snakemake.threads,
    )
