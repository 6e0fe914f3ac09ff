"""Data before it is trained on: what is in it, what is wrong with it, other spellings of it, its splits, a small sample.

`unifusion data inspect | validate | convert | split | sample` call this.
"""
