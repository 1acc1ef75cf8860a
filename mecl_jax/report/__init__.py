"""Tables, figures, pictures and pages, made from values that other rooms computed."""
