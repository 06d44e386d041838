"""`--config auto`: surveys recordings and chooses a config for them."""

# The value of `--config` that asks for a survey.
NAME = "auto"
