"""The commands of the analysis, one file each; `tandem.cli` gathers them."""
