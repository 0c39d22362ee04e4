"""Compute the true energies of one synthetic model."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.calibration.population import write_energies

    write_energies(
        snakemake.output.table,
        **snakemake.params.config,
        model=snakemake.wildcards.model,
        revision=snakemake.wildcards.revision,
        threads=snakemake.threads,
    )
