"""The experiments of the journal, one file each."""
