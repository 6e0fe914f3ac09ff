"""Back ends of the index. A file's stem is its public name: `unifusion list backends`."""
