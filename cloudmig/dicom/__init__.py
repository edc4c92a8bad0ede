"""DICOM without a network. `part10`, `header` and `digest` use the standard library only."""
