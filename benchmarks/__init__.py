"""Commands that measure Tandem: `python -m benchmarks.NAME`, each with `--quick`."""
