"""Put every verdict beside those under other choices."""

from abspos.job import job
from abspos.sensitivity import collect

with job(snakemake):
    collect(
        snakemake.input.claims,
        snakemake.input.choices,
        snakemake.input.others,
        snakemake.output.table,
        **snakemake.params.config,
    )
