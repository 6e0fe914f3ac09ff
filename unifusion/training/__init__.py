"""UniFusion-X: training."""
