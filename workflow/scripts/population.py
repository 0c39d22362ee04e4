"""Compute the true energies of one synthetic model."""

from abspos.job import job
from abspos.population import write_energies

with job(snakemake):
    write_energies(
        snakemake.output.table,
        **snakemake.params.config,
        model=snakemake.wildcards.model,
        revision=snakemake.wildcards.revision,
        threads=snakemake.threads,
    )
