"""What runs the experiments: studies, trained models, reports, the results page."""
