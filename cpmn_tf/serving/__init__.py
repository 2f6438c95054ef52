"""SavedModel export and what reads it back."""
