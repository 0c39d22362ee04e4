"""Get a data set of the hub as a corpus."""

from abspos.corpora import fetch
from abspos.job import job

with job(snakemake):
    fetch(snakemake.output.folder, snakemake.output.manifest, **snakemake.params.config)
