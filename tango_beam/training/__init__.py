"""Fine-tuning a second tier, distilling a first tier from it."""
