"""UniFusion-X: metrics."""
