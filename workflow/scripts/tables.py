"""Join each table over all models."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.statistics.tables import join

    join(snakemake.input, snakemake.output)
