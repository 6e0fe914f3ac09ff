"""UniFusion-X: encoders."""
