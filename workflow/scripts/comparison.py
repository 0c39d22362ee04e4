"""Put estimates, intervals and claims beside the truth of synthetic models."""

from abspos.comparison import compare
from abspos.job import job

with job(snakemake):
    compare(
        snakemake.input.populations,
        snakemake.input.energies,
        snakemake.input.layers,
        snakemake.input.summary,
        snakemake.input.claims,
        snakemake.input.stores,
        snakemake.input.manifests,
        snakemake.output.table,
        snakemake.output.numbers,
        **snakemake.params.config,
    )
