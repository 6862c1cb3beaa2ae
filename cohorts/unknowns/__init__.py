"""What is not known: parameter vectors, which of them matter, global sensitivity."""
