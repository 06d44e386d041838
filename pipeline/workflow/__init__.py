"""The steps from recordings to a served model, and the loop that runs them."""
