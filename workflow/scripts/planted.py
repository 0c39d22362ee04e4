"""Write the activations of one run of a synthetic model."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.calibration.planted_store import Planting, plant
        from abspos.stores import Stored

    plant(
        Stored(snakemake.input.checkpoint, snakemake.input.checkpoint_manifest),
        Stored(snakemake.input.inputs, snakemake.input.inputs_manifest),
        Stored(*snakemake.output),
        Planting(**snakemake.params.config),
        threads=snakemake.threads,
        label="/".join(snakemake.wildcards),
    )
