"""What checkpoints look like on disk: one reader each, what they share, and the writers.

``weights``, ``config`` and ``vocabulary`` read a folder of Hugging Face, whose words all others are brought to.
``tensorflow``, ``nemo``, ``megatron`` and ``pytorch`` each read one foreign format into an ``imported.Imported``;
``foreign`` knows which there are, and tells what a path is. ``archives`` and ``pickles`` open containers that
strangers made.
"""
