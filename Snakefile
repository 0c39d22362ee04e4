# Where does absolute position come from in decoder-only transformers? The workflow is workflow/Snakefile.
# `snakemake --cores all` runs it here, `snakemake -s path/to/this/file --cores all` in any other folder.


include: "workflow/Snakefile"


# A file that includes another does not take over its default target.
workflow.default_target = "all"
