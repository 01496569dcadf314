"""The commands of the serving side, by what they are about; `tandem.cli` gathers them."""
