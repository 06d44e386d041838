"""`--config auto`: surveys recordings and chooses a config for them."""
