"""Extract the activations of one run."""

from abspos.audit.job import job, loading

with job(snakemake):
    with loading():
        from abspos.activations.extract import Extraction, extract
        from abspos.stores import Stored

    extract(
        Stored(snakemake.input.checkpoint, snakemake.input.checkpoint_manifest),
        Stored(snakemake.input.inputs, snakemake.input.inputs_manifest),
        Stored(*snakemake.output),
        Extraction(**snakemake.params.config),
        device=snakemake.params.device,
        threads=snakemake.threads,
        label="/".join(snakemake.wildcards),
        reference=next(
            map(Stored, snakemake.input.reference, snakemake.input.reference_manifest), None
        ),
    )
