"""UniFusion-X: tasks."""
