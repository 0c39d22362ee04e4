"""Join each table over all models."""

from abspos.job import job
from abspos.tables import join

with job(snakemake):
    join(snakemake.input, snakemake.output)
