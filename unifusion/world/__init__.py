"""UniFusion-X: world."""
