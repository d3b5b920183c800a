"""Where a checkpoint is, and how it gets onto this machine: from the Hub, by address, into a folder to take along."""
