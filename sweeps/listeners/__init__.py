"""Who is told of what happens in a sweep, besides its views."""
