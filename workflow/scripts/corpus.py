"""Get a data set of the hub as a corpus."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.inputs.datasets import fetch

    fetch(snakemake.output.folder, snakemake.output.manifest, **snakemake.params.config)
