"""Get one checkpoint."""

from abspos.job import job
from abspos.models import fetch

with job(snakemake):
    fetch(
        snakemake.params.config,
        snakemake.wildcards.revision,
        snakemake.output.folder,
        snakemake.output.manifest,
    )
