"""What is known about checkpoints: the facts (``families/*.toml``), the records they become, and finding one."""
