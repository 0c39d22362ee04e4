"""Get one checkpoint."""

from abspos.job import job, loading

with job(snakemake):
    with loading():
        from abspos.models import fetch

    fetch(
        snakemake.params.config,
        snakemake.wildcards.revision,
        snakemake.output.folder,
        snakemake.output.manifest,
    )
