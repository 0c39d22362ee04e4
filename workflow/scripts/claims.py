"""Judge the claims."""

from abspos.claims import judge
from abspos.job import job

with job(snakemake):
    judge(
        snakemake.input.stores,
        snakemake.input.manifests,
        snakemake.input.inputs,
        snakemake.output.claims,
        snakemake.output.swaps,
        snakemake.output.changes,
        snakemake.output.guards,
        **snakemake.params.config,
    )
