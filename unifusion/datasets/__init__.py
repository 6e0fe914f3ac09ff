"""UniFusion-X: datasets."""
