"""What a short NLL run on part of the data shows of improbable targets."""
