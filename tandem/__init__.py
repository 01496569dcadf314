"""Tandem: the front door, re-exporting the public names of its three packages."""
