"""A short check of one GPU: at most 520 seconds, what matters most first; ``__main__`` says how it is used."""
