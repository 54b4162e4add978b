"""What goes in: data sets by name, and how they are split."""
