"""UniFusion-X: losses."""
