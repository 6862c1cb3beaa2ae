"""Many studies of one trial: sample them, analyse each, set them beside the truth, show what comes out."""
