"""What a notebook calls: parameters, studies, frames, figures, tables, sentences."""
