"""The steps around the training: data in, shards out; no networks."""

import logging

# Beam warns at every import that its BigQuery client, which nothing here
# needs, is not installed.
logging.getLogger().addFilter(
    lambda record: "apitools not found" not in record.getMessage()
)
