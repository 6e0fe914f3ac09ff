"""Models: the chat model, its configuration, and how one is put together."""
