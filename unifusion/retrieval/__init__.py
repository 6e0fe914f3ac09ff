"""Search over embedded clips: back ends over vectors, the library of a folder's windows, and answers over what was found."""
