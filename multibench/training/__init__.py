"""Fine-tuning one model on one task: a plain loop that wastes no padding."""
