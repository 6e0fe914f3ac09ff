"""UniFusion-X: early fusion, one file a way."""
