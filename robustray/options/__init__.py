"""Options as people write them: YAML with places, mistakes in plain words, words about options."""
