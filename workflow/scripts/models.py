"""Get one checkpoint."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.models.sources import fetch

    fetch(
        snakemake.params.config,
        snakemake.wildcards.revision,
        snakemake.output.folder,
        snakemake.output.manifest,
    )
