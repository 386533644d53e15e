"""The paper's experiments with this project's own commands, beside what the paper reports."""
