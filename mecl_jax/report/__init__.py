"""What people look at: tables, pictures and the page, made of values that other rooms computed."""
