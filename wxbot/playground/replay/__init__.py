"""Record what happens in the playground, and play it again."""
