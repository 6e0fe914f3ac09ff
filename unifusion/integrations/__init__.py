"""Other projects' interfaces over this one."""
