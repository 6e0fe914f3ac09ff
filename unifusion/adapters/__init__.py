"""UniFusion-X: adapters."""
