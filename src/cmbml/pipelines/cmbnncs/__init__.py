"""CMBNNCS: a U-Net on the sphere laid out as a plane."""
