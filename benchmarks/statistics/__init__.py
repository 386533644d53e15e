"""Statistics: promises that are kept or broken, accuracy, agreement."""
