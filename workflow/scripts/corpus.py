"""Get a data set of the hub as a corpus."""

from abspos.job import job, loading

with job(snakemake):
    with loading():
        from abspos.corpora import fetch

    fetch(snakemake.output.folder, snakemake.output.manifest, **snakemake.params.config)
