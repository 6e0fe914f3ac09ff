"""UniFusion-X: late fusion, one file a way."""
