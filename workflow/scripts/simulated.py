"""Simulate studies with planted components."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.calibration.simulation import calibrate

    calibrate(
        snakemake.output.table,
        **snakemake.params.config,
        threads=snakemake.threads,
    )
